"""Processes below one."""

import os
import subprocess
import sys

from legato.deployments.process_tree import Process, descendants, kill_remaining

SLEEP = "import time; time.sleep(60)"
NEST = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])"


def test_children_and_their_children_are_found_and_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", NEST]) as child:
        while len(found := descendants(child.pid)) < 1:
            assert child.poll() is None
        assert child.pid in {process.pid for process in descendants(os.getpid())}
        assert [process.parent for process in found] == [child.pid]
        kill_remaining([one for one in descendants(os.getpid()) if one.pid == child.pid])
        kill_remaining(found)
        assert child.wait() == -9
    assert descendants(child.pid) == []


def test_a_later_process_of_the_same_id_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as child:
        kill_remaining([Process(child.pid, os.getpid(), started=1)])
        assert child.poll() is None
        child.kill()
