"""Which activation gates a feed-forward layer; without torch, for those who only read configs."""

from enum import Enum


class Activation(Enum):
    """The values are the names that models' config.json files use."""

    SILU = "silu"
    GELU_TANH = "gelu_pytorch_tanh"
