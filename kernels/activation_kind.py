"""Which activation gates a feed-forward layer; without torch, for those who only read configs."""

from dataclasses import dataclass
from enum import Enum


class Activation(Enum):
    """The values are the names that models' config.json files use."""

    SILU = "silu"
    GELU_TANH = "gelu_pytorch_tanh"


@dataclass(frozen=True, slots=True)
class ClampedGate:
    """(up + 1) * gate * sigmoid(slope * gate), of gates <= limit and -limit <= ups <= limit."""

    limit: float
    slope: float
