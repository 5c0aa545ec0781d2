import logging
import stat
from pathlib import Path

import pytest
from triton import knobs

from legato.kernels.gpu.toolchain import choose_assembler


def fake_assembler(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {version}, V{version}.1'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The assembler of an installed package nvidia.cu13."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return fake_assembler(tmp_path / "nvidia" / "cu13" / "bin" / "ptxas", "13.5")


def test_an_installed_assembler_replaces_one_that_miscompiles(
    installed: Path, tmp_path: Path
) -> None:
    with knobs.nvidia.scope():
        knobs.nvidia.ptxas = str(fake_assembler(tmp_path / "ptxas", "12.8"))
        choose_assembler()
        assert Path(knobs.nvidia.ptxas.path) == installed


def test_an_assembler_that_is_new_enough_stays(installed: Path, tmp_path: Path) -> None:
    with knobs.nvidia.scope():
        own = knobs.nvidia.ptxas = str(fake_assembler(tmp_path / "ptxas", "13.3"))
        choose_assembler()
        assert knobs.nvidia.ptxas.path == own


def test_without_a_good_one_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with knobs.nvidia.scope(), caplog.at_level(logging.WARNING):
        knobs.nvidia.ptxas = str(fake_assembler(tmp_path / "ptxas", "12.8"))
        choose_assembler()
        assert knobs.nvidia.ptxas.version == "12.8"
    assert "nvidia-cuda-nvcc" in caplog.text
