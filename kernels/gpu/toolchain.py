"""Which assembler Triton uses.

Assemblers of CUDA before 13.3 miscompile Hopper's asynchronous matrix products with an operand in
registers, which is what attention's second product is, and Triton's wheels bring such a one up to
version 3.8. NVIDIA's package nvidia-cuda-nvcc has newer ones; it is part of the `gpu` extra.
"""

import importlib.util
import logging
from pathlib import Path

from triton import knobs

MIN_VERSION = (13, 3)
_PACKAGE = "nvidia.cu13"

logger = logging.getLogger(__name__)


def choose_assembler() -> None:
    """Makes Triton use an installed assembler that is new enough, where its own is not.

    A path in TRITON_PTXAS_PATH stands. Without any good one, a warning is logged once.
    """
    if _version(knobs.nvidia.ptxas) >= MIN_VERSION:
        return
    for path in _installed():
        tool = knobs.NvidiaTool.from_path(str(path))
        if tool is not None and _version(tool) >= MIN_VERSION:
            knobs.nvidia.ptxas = tool.path
            return
    logger.warning(
        "kernels are assembled by ptxas %s, which is known to miscompile attention on Hopper GPUs:"
        " pip install 'nvidia-cuda-nvcc>=%d.%d'",
        knobs.nvidia.ptxas.version,
        *MIN_VERSION,
    )


def _installed() -> list[Path]:
    try:
        spec = importlib.util.find_spec(_PACKAGE)
    except ModuleNotFoundError:
        return []
    places = (spec.submodule_search_locations or []) if spec is not None else []
    return [path for place in places if (path := Path(place, "bin", "ptxas")).is_file()]


def _version(tool: knobs.NvidiaTool) -> tuple[int, ...]:
    return tuple(int(number) for number in tool.version.split("."))
