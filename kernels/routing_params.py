"""How tokens choose their experts; without torch, for those who only read configs."""

from dataclasses import dataclass
from enum import Enum, auto


class Scoring(Enum):
    """What makes scores of a router's logits."""

    SOFTMAX = auto()  # over all experts
    SIGMOID = auto()


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """Experts are only chosen from the best groups of neighbours.

    Attributes:
        num_groups: of equal sizes
        num_chosen: groups that a token's experts come from
        num_counted: of a group's scores, the highest so many add up to its own
    """

    num_groups: int
    num_chosen: int
    num_counted: int


@dataclass(frozen=True, slots=True)
class RoutingParams:
    """What a router does with its logits.

    Attributes:
        top_k: experts of each token
        renormalizes: the weights of a token's experts are divided by their sum
        weight_scale: what they are multiplied with at the end
        groups: None: all experts are in one
    """

    top_k: int
    scoring: Scoring = Scoring.SOFTMAX
    renormalizes: bool = False
    weight_scale: float = 1.0
    groups: GroupLimit | None = None
