"""Compiles Triton kernels for a Hopper GPU on any machine, and reads what the assembler says.

Run as a program (`python -m legato.tests.kernels.gpu.compiled MODULE`) it compiles the SPECS of a
module and prints one line of JSON for each: in a process of its own, since kernels that were
imported for the interpreter cannot be compiled. Without a module it reads the names of modules, one
a line, and prints after the reports of each whether there are all of them.
"""

import importlib
import io
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from legato.tests.source_tree import SHARED_PATH

MAX_SHARED_BYTES = 232_448
_LOG = "ptxas.log"
_ALL_COMPILED, _FAILED = "all compiled", "failed"


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
    compiled, log = _compile(source, options)
    spills = [int(number) for number in re.findall(r"(\d+) bytes spill", log)]
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", log)]
    return CompileReport(
        name=spec.name,
        num_registers=max(registers),
        spill_bytes=sum(spills),
        shared_bytes=compiled.metadata.shared,
        is_serialized="serialized" in log,
        missing=tuple(word for word in spec.required if word not in compiled.asm["ptx"]),
    )


def _compile(source: Any, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The compiled kernel, and what the assembler said; both are kept in Triton's cache."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.cache import get_cache_manager

    def compile_now() -> tuple[Any, str]:
        with redirect_stdout(io.StringIO()) as said:
            kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        return kernel, said.getvalue()

    with triton.knobs.nvidia.scope(), triton.knobs.compilation.scope():
        triton.knobs.nvidia.dump_ptxas_log = True
        kernel, log = compile_now()
        cache = get_cache_manager(kernel.hash)
        kept = cache.get_file(_LOG)
        if not log and kept:
            return kernel, Path(kept).read_text()
        if not log:  # somebody else compiled it
            triton.knobs.compilation.always_compile = True
            kernel, log = compile_now()
        cache.put(log, _LOG, binary=False)
        return kernel, log


class Compiler:
    """A process without the interpreter, which compiles one module's SPECS after the other."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def compile_module(self, name: str) -> list[CompileReport]:
        """Reports on all SPECS of the module."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(name, file=self._process.stdin, flush=True)
        reports, line = [], _FAILED
        for line in map(str.strip, self._process.stdout):
            if line in (_ALL_COMPILED, _FAILED):
                break
            if line.startswith("{"):
                reports.append(json.loads(line))
        assert line == _ALL_COMPILED, f"{name} does not compile; standard error says why"
        return [CompileReport(**{**one, "missing": tuple(one["missing"])}) for one in reports]


@contextmanager
def running_compiler() -> Iterator[Compiler]:
    paths = [SHARED_PATH, *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {"TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen(
        [sys.executable, "-m", "legato.tests.kernels.gpu.compiled"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **changes},
    ) as process:
        yield Compiler(process)


def _print_reports(name: str) -> None:
    for spec in importlib.import_module(name).SPECS:
        print(json.dumps(asdict(compile_spec(spec))), flush=True)


def _serve() -> None:
    for line in sys.stdin:
        try:
            _print_reports(line.strip())
            print(_ALL_COMPILED, flush=True)
        except Exception:
            traceback.print_exc()  # the next module may be a good one
            print(_FAILED, flush=True)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        _print_reports(given)
    if not sys.argv[1:]:
        _serve()
