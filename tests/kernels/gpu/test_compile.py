"""Every kernel compiles for Hopper without spills, serialized products or too much memory."""

from pathlib import Path

import pytest

from legato.tests.kernels.gpu.compiled import compile_module

SPEC_MODULES = sorted(path.stem for path in Path(__file__).parent.glob("specs_*.py"))


@pytest.mark.parametrize("module", SPEC_MODULES)
def test_every_kernel_compiles_for_hopper_within_its_limits(module: str) -> None:
    reports = compile_module(f"legato.tests.kernels.gpu.{module}")
    assert reports
    assert [report for report in reports if not report.is_good] == []
