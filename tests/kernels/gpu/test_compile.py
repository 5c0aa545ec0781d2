"""Every kernel compiles for Hopper without spills, serialized products or too much memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.tests.kernels.gpu.compiled import Compiler, running_compiler

SPEC_MODULES = sorted(path.stem for path in Path(__file__).parent.glob("specs_*.py"))


@pytest.fixture(scope="module")
def compiler() -> Iterator[Compiler]:
    with running_compiler() as compiler:
        yield compiler


@pytest.mark.parametrize("module", SPEC_MODULES)
def test_every_kernel_compiles_for_hopper_within_its_limits(
    compiler: Compiler, module: str
) -> None:
    reports = compiler.compile_module(f"legato.tests.kernels.gpu.{module}")
    assert reports
    assert [report for report in reports if not report.is_good] == []
