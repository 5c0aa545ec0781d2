"""A model on its device, as the engine's steps call it, whichever code computes it."""

from typing import Protocol

import torch

from legato.engine.models.forward_context import ForwardContext
from legato.kernels.backend import Kernels


class Network(Protocol):
    """Functions of a step's inputs; the only thing that they change is the KV pool.

    Attributes:
        dtype: of weights and hidden states
        is_capturable: `compute_hidden` and `logits` read nothing back from the device, so that
            CUDA graphs can hold them
    """

    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def is_capturable(self) -> bool: ...

    def compute_hidden(
        self, token_ids: torch.Tensor, wanted_rows: torch.Tensor, context: ForwardContext
    ) -> torch.Tensor:
        """Computes the step's tokens and stores their keys and values.

        Args:
            token_ids: [tokens]
            wanted_rows: [rows] the tokens whose hidden states are asked for

        Returns:
            [rows, hidden]
        """
        ...

    def normed(self, hidden: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        """The same rows behind the model's last norm."""
        ...

    def logits(self, hidden: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        """[rows, hidden] as `compute_hidden` gives them -> [rows, vocab]"""
        ...
