"""Processes below one, and their end."""

import subprocess
import sys
import time

from legato.deployments.process_tree import descendants

SLEEP = "import time; time.sleep(60)"
NEST = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])"
# Starts a process that starts another and ends; kills what is below it.
ADOPTER = """
import os, subprocess, sys
from legato.deployments.process_tree import adopt_orphans, descendants, kill_descendants
adopt_orphans()
subprocess.run([sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '60'])"])
print(len(descendants(os.getpid())), flush=True)
kill_descendants()
print(os.wait()[1], flush=True)
"""
# Kills a process that never stops starting others.
SPAWNER = """
import os, subprocess, sys
from legato.deployments.process_tree import adopt_orphans, descendants, kill_descendants
adopt_orphans()
spawn = "import subprocess\\nwhile True: print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
child = subprocess.Popen([sys.executable, "-c", spawn], stdout=subprocess.PIPE)
child.stdout.readline()
kill_descendants()
while True:
    try:
        print(os.wait()[1], flush=True)
    except ChildProcessError:
        break
"""


def run(source: str) -> list[str]:
    """What a process of its own prints, by lines; it has to end soon."""
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, timeout=30)
    assert ended.stderr == b""
    return ended.stdout.decode().split()


def test_children_and_their_children_are_found() -> None:
    with subprocess.Popen([sys.executable, "-c", NEST]) as child:
        while not (found := descendants(child.pid)):
            assert child.poll() is None
            time.sleep(0.01)
        assert [process.parent for process in found] == [child.pid]
        child.kill()


def test_a_process_whose_parent_has_ended_is_killed_too() -> None:
    assert run(ADOPTER) == ["1", "9"]


def test_no_process_escapes_one_that_starts_others_without_end() -> None:
    statuses = run(SPAWNER)
    assert len(statuses) >= 2
    assert set(statuses) == {"9"}
