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


@dataclass(frozen=True, slots=True)
class Parameter:
    """Sources joined along dimension 0.

    Attributes:
        is_float32: it has more digits than weights usually have, and keeps them
        num_stacked: what is joined is cut into so many matrices of the same size; None: it is not
        offset: what is added to the stored values; the sum may have more digits than they have
    """

    name: str
    sources: tuple[SourceTensor, ...]
    offset: float = 0.0
    is_float32: bool = False
    num_stacked: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
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
