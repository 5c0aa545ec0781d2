"""A parameter of a model: which tensors of a checkpoint it is joined of.

Which there are is told by parameters.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A tensor as the checkpoint names it."""

    name: str
    shape: tuple[int, ...]
    is_bytes: bool = False  # instead of numbers that mean something by themselves


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a parameter of experts is made of tensors that are laid out in another way.

    Attributes:
        shape: of the parameter, the experts first
        is_transposed: an expert's matrix is stored as [inputs, outputs]
        is_interleaved: outputs are stored as gate, up, gate, up ...; they become gates before ups
        is_mxfp4: the sources are blocks of numbers of 4 bits and their scales
    """

    shape: tuple[int, ...]
    is_transposed: bool = False
    is_interleaved: bool = False
    is_mxfp4: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """Sources joined along dimension 0, or converted.

    Attributes:
        is_float32: it has more digits than weights usually have, and keeps them
        num_stacked: what is joined is cut into so many matrices of the same size; None: it is not
        offset: what is added to the stored values; the sum may have more digits than they have
        conversion: None: the sources are joined
    """

    name: str
    sources: tuple[SourceTensor, ...]
    offset: float = 0.0
    is_float32: bool = False
    num_stacked: int | None = None
    conversion: Conversion | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        if self.conversion is not None:
            return self.conversion.shape
        num_rows, rest = sum(source.shape[0] for source in self.sources), self.sources[0].shape[1:]
        if self.num_stacked is None:
            return (num_rows, *rest)
        return (self.num_stacked, num_rows // self.num_stacked, *rest)


def single(name: str, source: str, shape: tuple[int, ...]) -> Parameter:
    """One tensor as it is."""
    return Parameter(name, (SourceTensor(source, shape),))


def linear(
    name: str, output_sizes: Mapping[str, int], input_size: int, has_bias: bool
) -> Iterator[Parameter]:
    """A matrix joined of the modules in `output_sizes`, and its bias."""
    sizes = output_sizes.items()
    yield Parameter(
        name, tuple(SourceTensor(f"{module}.weight", (size, input_size)) for module, size in sizes)
    )
    if has_bias:
        yield Parameter(
            f"{name}_bias", tuple(SourceTensor(f"{module}.bias", (size,)) for module, size in sizes)
        )
