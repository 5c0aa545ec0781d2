from legato.engine.count_slots import CountSlots


def test_a_sequence_keeps_its_slot_from_token_to_token() -> None:
    slots = CountSlots(2)
    slot, is_stale = slots.take(7, 0, {7})
    assert is_stale
    assert slots.take(7, 1, {7}) == (slot, False)


def test_a_slot_whose_sequence_missed_a_token_is_built_anew() -> None:
    slots = CountSlots(2)
    slot, _ = slots.take(7, 4, {7})
    assert slots.take(7, 4, {7}) == (slot, True)  # a sample was dropped
    assert slots.take(7, 9, {7}) == (slot, True)


def test_a_batch_that_goes_on_advances_every_slot() -> None:
    slots = CountSlots(2)
    slot, _ = slots.take(7, 0, {7})
    slots.advance()
    assert slots.take(7, 2, {7}) == (slot, False)


def test_slots_of_absent_sequences_are_given_to_others() -> None:
    slots = CountSlots(2)
    first, _ = slots.take(1, 0, {1, 2})
    second, _ = slots.take(2, 0, {1, 2})
    assert {first, second} == {0, 1}
    assert slots.take(3, 0, {2, 3}) == (first, True)
    assert slots.take(2, 1, {2, 3}) == (second, False)
