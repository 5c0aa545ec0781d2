"""What kernels must know of the device that they run on."""

from functools import cache

import torch

# Triton's interpreter runs programs one after the other: a few show all that many would.
_INTERPRETED_MULTIPROCESSORS = 4


@cache
def num_multiprocessors(device: torch.device) -> int:
    """Multiprocessors of a GPU: as many programs as that, times a few, fill it."""
    if device.type == "cpu":
        return _INTERPRETED_MULTIPROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count


@cache
def can_launch_early(device: torch.device) -> bool:
    """Whether a kernel may start while the one before it still runs, and wait for it by itself.

    Programmatic dependent launch: Hopper GPUs and later ones.
    """
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


@cache
def has_warpgroups(device: torch.device) -> bool:
    """Whether this is a Hopper GPU: later ones have other instructions for matrix products."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9
