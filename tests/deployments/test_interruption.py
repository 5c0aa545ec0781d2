"""Signals to a process that starts, serves and stops."""

import signal
import subprocess
import sys

import pytest

# Prints its phase; a signal that comes while a destructor runs must not be lost.
PROCESS = """
import sys, time
from legato.deployments.interruption import Interruption
interruption = Interruption()
interruption.install()

class Busy:
    def __del__(self):
        print("starting", flush=True)
        time.sleep(60)

if sys.argv[1] == "starts":
    del [Busy()][0]
    sys.exit("nobody ended it")
interruption.serving()
assert not interruption.wait(0.01)
print("serving", flush=True)
assert interruption.wait(60)
print("stopping", flush=True)
if sys.argv[1] == "stops":
    time.sleep(60)
"""
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def start(case: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, case],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def expect(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


@SIGNALS
def test_a_signal_during_the_start_ends_the_process_wherever_it_is(number: signal.Signals) -> None:
    with start("starts") as process:
        expect(process, "starting")
        process.send_signal(number)
        assert process.wait(30) == 130
        expect(process, "")


@SIGNALS
def test_the_first_signal_while_serving_is_heard_by_who_waits(number: signal.Signals) -> None:
    with start("serves") as process:
        expect(process, "serving")
        process.send_signal(number)
        expect(process, "stopping")
        assert process.wait(30) == 0


@SIGNALS
def test_a_signal_while_it_stops_ends_it_at_once(number: signal.Signals) -> None:
    with start("stops") as process:
        expect(process, "serving")
        process.send_signal(number)
        expect(process, "stopping")
        process.send_signal(number)
        assert process.wait(30) == 130
