"""Python's settings in serving processes."""

import subprocess
import sys

import pytest

from legato.cluster.interpreter import SWITCH_INTERVAL_S, share_interpreter

SCRIPT = """
import gc
from legato.cluster.interpreter import THRESHOLDS, calm_collector
calm_collector()
print(gc.get_threshold() == THRESHOLDS, gc.get_freeze_count() > 1000, gc.isenabled())
"""


def test_what_is_loaded_is_left_alone_and_full_collections_are_rare() -> None:
    shown = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert shown.stdout.split() == [b"True"] * 3


def test_threads_do_not_wait_for_each_other_for_long() -> None:
    before = sys.getswitchinterval()
    try:
        share_interpreter()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
    finally:
        sys.setswitchinterval(before)
