"""How a layer attends: what is constant for all of its tokens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttentionParams:
    """One layer's attention. With a query at position p and a key at position k:

    score = softcap(query . key * scale), softcap(s) = softcap * tanh(s / softcap)
    visible: k <= p, and k > p - window where there is a window

    Attributes:
        window: tokens that a query sees, itself included; None: all before it
        softcap: bound of the scores; None: none
        key_scale, value_scale: what stored keys and values are multiplied by (pools of 8 bits)
    """

    scale: float
    window: int | None = None
    softcap: float | None = None
    key_scale: float = 1.0
    value_scale: float = 1.0
