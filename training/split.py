"""Which items are trained on and which are held out.

An item is held out by its content, not by chance: a checksum of its parts decides, so an item is on
the same side in every run, whatever the seed, and a generator that asks for the training side can
never hand out a held-out item.

    item (a pair of numbers, a list, a name, a tool's name ...) -> crc32 % 10 == 0 -> held out
    wording (a question's form) -> by its content too, or listed by hand: see `Wordings`

The module knows nothing of what an item is.
"""

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

T = TypeVar("T")

ONE_HELD_OUT_IN = 10
COMPOSED_SHARE = 0.6  # of the forms, where they can be composed


class Split(Enum):
    """The side of the fence that a generator draws from."""

    TRAIN = "train"
    HELD_OUT = "held out"


def split_of(*parts: object) -> Split:
    """The side that an item with these parts lies on; the same for ever."""
    checksum = zlib.crc32(repr(parts).encode())
    return Split.HELD_OUT if checksum % ONE_HELD_OUT_IN == 0 else Split.TRAIN


def draw(rng: random.Random, split: Split, make: Callable[[random.Random], T]) -> T:
    """Draws from `make` until an item lies on the side `split`."""
    while True:
        item = make(rng)
        if split_of(item) is split:
            return item


@dataclass(frozen=True, slots=True)
class Wordings:
    """The forms of one question, those to train on and those kept for the evaluation.

    Two sources. `train` and `held_out` are written by hand. `frames` ("Can you tell me @?") and
    `cores` ("the capital of {x}") make composed forms, of which one in ten is held out as a whole:
    its frame and its core are both seen in training, but never together.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    frames: tuple[str, ...] = ()
    cores: tuple[str, ...] = ()

    def pick(self, rng: random.Random, split: Split) -> str:
        """One form of the side `split`."""
        by_hand, other_side = self.train, self.held_out
        if split is Split.HELD_OUT:
            by_hand, other_side = other_side, by_hand
        if not self.frames or rng.random() >= COMPOSED_SHARE:
            return rng.choice(by_hand)
        taken = {_bare(form) for form in other_side}
        while True:
            form = self._compose(rng)
            if split_of(_bare(form)) is split and _bare(form) not in taken:
                return form

    def _compose(self, rng: random.Random) -> str:
        form = rng.choice(self.frames).replace("@", rng.choice(self.cores))
        return form if form.startswith("{") else form[0].upper() + form[1:]


def _bare(form: str) -> str:
    """A form without what does not make it another wording."""
    return form.lower().rstrip("?.! ")
