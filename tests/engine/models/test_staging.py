import pytest
import torch

from legato.engine.models.staging import Slot, Staging, staged_bytes

CPU = torch.device("cpu")


def test_a_target_on_the_cpu_of_the_same_type_needs_no_copy() -> None:
    target = torch.zeros(4)
    assert Slot(64, None).place(target, torch.float32) is target


def test_another_type_is_converted_when_it_is_copied_out() -> None:
    slot, target = Slot(64, None), torch.zeros(4)
    slot.place(target, torch.bfloat16).fill_(1.5)
    assert not target.any()
    slot.copy_out()
    assert target.tolist() == [1.5] * 4


def test_neighbours_in_a_slot_are_aligned_and_apart() -> None:
    slot = Slot(64, None)
    targets = [torch.zeros(3), torch.zeros(1), torch.zeros(2)]
    dtypes = [torch.float16, torch.float64, torch.bfloat16]
    places = [slot.place(t, d) for t, d in zip(targets, dtypes, strict=True)]
    for value, place in enumerate(places):
        place.fill_(value + 1)
    slot.copy_out()
    assert [target.tolist() for target in targets] == [[1, 1, 1], [2], [3, 3]]
    assert sum(staged_bytes(place.nbytes) for place in places) == 48


def test_slots_take_turns_and_forget_what_they_held() -> None:
    staging = Staging(CPU, slot_bytes=16, num_slots=2)
    first, second = staging.next_slot(), staging.next_slot()
    assert first is not second
    target = torch.zeros(4)
    first.place(target, torch.float16).fill_(1)
    first.copy_out()
    assert staging.next_slot() is first
    first.place(torch.zeros(8), torch.float16).fill_(2)  # as much as a slot holds
    first.copy_out()
    assert target.tolist() == [1] * 4
    assert staging.next_slot() is second
    staging.close()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_reused_slot_does_not_spoil_a_copy_that_still_runs(dtype: torch.dtype) -> None:
    staging = Staging(torch.device("cuda"), slot_bytes=1 << 22, num_slots=2)
    targets = [torch.zeros(1 << 20, device="cuda", dtype=dtype) for _ in range(16)]
    for value, target in enumerate(targets):
        slot = staging.next_slot()
        slot.place(target, torch.float32).fill_(value)
        slot.copy_out()
    staging.close()
    assert all(torch.all(target == value) for value, target in enumerate(targets))
