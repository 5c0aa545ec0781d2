"""The garbage collector of serving processes."""

import subprocess
import sys

SCRIPT = """
import gc
from legato.cluster.collector import THRESHOLDS, calm_collector
calm_collector()
print(gc.get_threshold() == THRESHOLDS, gc.get_freeze_count() > 1000, gc.isenabled())
"""


def test_what_is_loaded_is_left_alone_and_full_collections_are_rare() -> None:
    shown = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert shown.stdout.split() == [b"True"] * 3
