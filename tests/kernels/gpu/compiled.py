"""Compiles Triton kernels for a Hopper GPU on any machine, and reads what the assembler says.

Run as a program (`python -m legato.tests.kernels.gpu.compiled MODULE`) it compiles the SPECS of a
module and prints one line of JSON for each: in a process of its own, since kernels that were
imported for the interpreter cannot be compiled.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from legato.tests.source_tree import SHARED_PATH

MAX_SHARED_BYTES = 232_448


@dataclass(frozen=True, slots=True)
class CompileSpec:
    """One specialization of a kernel, as it is launched.

    Attributes:
        kernel: the @triton.jit function
        signature: type of each runtime argument ("*bf16", "i32", "fp32"); 16-byte aligned pointers
        constants: value of each tl.constexpr argument, and of arguments that are None
        multiples_of_16: integer arguments that launches pass as such
        required: instructions that the machine code must have, for example "wgmma"
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    num_warps: int = 4
    num_stages: int = 3
    multiples_of_16: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompileReport:
    name: str
    num_registers: int
    spill_bytes: int
    shared_bytes: int
    is_serialized: bool  # wgmma instructions wait for each other
    missing: tuple[str, ...]  # of the required instructions

    @property
    def is_good(self) -> bool:
        fits = self.shared_bytes <= MAX_SHARED_BYTES
        return fits and not (self.spill_bytes or self.is_serialized or self.missing)


def compile_spec(spec: CompileSpec) -> CompileReport:
    """Compiles with the installed Triton and its own assembler."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import get_ptxas
    from triton.compiler import ASTSource
    from triton.experimental.gluon._runtime import GluonASTSource, GluonJITFunction

    names = spec.kernel.arg_names
    signature = {n: "constexpr" if n in spec.constants else spec.signature[n] for n in names}
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(names)
        if signature[name].startswith("*") or name in spec.multiples_of_16
    }
    source_type = GluonASTSource if isinstance(spec.kernel, GluonJITFunction) else ASTSource
    source = source_type(spec.kernel, signature, dict(spec.constants), aligned)
    options = {"num_warps": spec.num_warps, "num_stages": spec.num_stages, **spec.options}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    ptx = compiled.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.ptx")
        path.write_text(ptx)
        command = [get_ptxas(90).path, "-v", "--gpu-name=sm_90a", str(path), "-o", f"{path}.cubin"]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills = [int(number) for number in re.findall(r"(\d+) bytes spill", log)]
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", log)]
    return CompileReport(
        name=spec.name,
        num_registers=max(registers),
        spill_bytes=sum(spills),
        shared_bytes=compiled.metadata.shared,
        is_serialized="serialized" in log,
        missing=tuple(word for word in spec.required if word not in ptx),
    )


def compile_module(name: str) -> list[CompileReport]:
    """Reports on all SPECS of a module, compiled in a process without the interpreter."""
    paths = [SHARED_PATH, *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {"TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join(paths)}
    environment = {**os.environ, **changes}
    command = [sys.executable, "-m", "legato.tests.kernels.gpu.compiled", name]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return [CompileReport(**{**line, "missing": tuple(line["missing"])}) for line in lines]


if __name__ == "__main__":
    for given in importlib.import_module(sys.argv[1]).SPECS:
        print(json.dumps(asdict(compile_spec(given))), flush=True)
