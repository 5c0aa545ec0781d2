"""The fence between what is trained on and what is held out."""

import random

from legato.training.split import Split, Wordings, draw, split_of

COMPOSED = Wordings(
    train=("Say {x}.",),
    held_out=("Please name {x}.",),
    frames=("name @.", "please name @!", "tell me @.", "what is @?", "give me @.", "show @."),
    cores=("{x}", "the {x}", "this {x}", "my {x}", "your {x}"),
)


def test_an_item_lies_on_the_same_side_every_time() -> None:
    assert [split_of("pair", a, 7) for a in range(50)] == [
        split_of("pair", a, 7) for a in range(50)
    ]


def test_about_one_item_in_ten_is_held_out() -> None:
    held_out = sum(split_of("pair", a, b) is Split.HELD_OUT for a in range(100) for b in range(100))

    assert 800 < held_out < 1200


def test_a_drawn_item_lies_on_the_side_asked_for() -> None:
    rng = random.Random(1)

    for split in Split:
        assert all(
            split_of(draw(rng, split, lambda r: r.randrange(1000))) is split for _ in range(100)
        )


def test_no_wording_is_on_both_sides() -> None:
    rng = random.Random(2)
    sides = {split: {COMPOSED.pick(rng, split) for _ in range(2000)} for split in Split}

    assert not sides[Split.TRAIN] & sides[Split.HELD_OUT]


def test_a_wording_held_out_by_hand_is_not_composed_for_training_in_other_punctuation() -> None:
    rng = random.Random(3)
    trained = {COMPOSED.pick(rng, Split.TRAIN) for _ in range(2000)}

    assert "Please name {x}!" not in trained
