"""The two halves of a step, as functions of tensors that stay where they are.

    body   tokens -> layers -> the hidden states that are sampled from      sized by tokens
    tail   hidden states -> logits -> samples -> the next step's inputs     sized by samples

Apart, so that each has graphs of its own sizes: a prompt of many tokens samples one.
"""

from dataclasses import dataclass

import torch

from legato.engine.models.forward_context import ForwardContext
from legato.engine.models.network import Network
from legato.engine.step_state import StepState
from legato.kernels.backend import AttentionShape, AttentionStep, Kernels


@dataclass(frozen=True, slots=True)
class BodySize:
    """Rows that a body computes, padding included.

    Attributes:
        num_samples: hidden states that are kept for the tail
        is_decode: no sequence has more than one token
    """

    num_tokens: int
    num_sequences: int
    num_samples: int
    is_decode: bool

    @classmethod
    def of_decode(cls, num_sequences: int) -> "BodySize":
        return cls(num_sequences, num_sequences, num_sequences, True)


class StepHalves:
    """Computes on the tensors of a StepState; owns the hidden states between the halves."""

    def __init__(
        self,
        network: Network,
        hidden_size: int,
        kernels: Kernels,
        state: StepState,
        shape: AttentionShape,
    ) -> None:
        self._network = network
        self._kernels = kernels
        self._state = state
        self._workspace = kernels.allocate_attention(shape, network.device)
        self._hidden = torch.zeros(
            state.limits.max_num_seqs, hidden_size, dtype=network.dtype, device=network.device
        )

    @property
    def are_capturable(self) -> bool:
        """CUDA graphs can hold them."""
        return self._network.is_capturable

    def body(self, size: BodySize, kv_pool: torch.Tensor) -> None:
        """Computes the step's tokens; the tail finds the hidden states that it samples from."""
        rows = self._state.device_tensor("sampling_rows")[: size.num_samples]
        self._hidden[: size.num_samples].copy_(self._compute(size, rows, kv_pool))

    def body_with_hidden(self, size: BodySize, kv_pool: torch.Tensor) -> torch.Tensor:
        """As `body`, but returns the hidden states of all tokens, [num_tokens, hidden]."""
        every_row = torch.arange(size.num_tokens, device=self._hidden.device)
        hidden = self._compute(size, every_row, kv_pool)
        rows = self._state.device_tensor("sampling_rows")[: size.num_samples]
        self._hidden[: size.num_samples].copy_(hidden.index_select(0, rows))
        return hidden

    def normed(self, hidden: torch.Tensor) -> torch.Tensor:
        """The same rows behind the model's last norm."""
        return self._network.normed(hidden, self._kernels)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, hidden] as `body_with_hidden` gives them -> [rows, vocab]"""
        return self._network.logits(hidden, self._kernels)

    def _compute(
        self, size: BodySize, wanted_rows: torch.Tensor, kv_pool: torch.Tensor
    ) -> torch.Tensor:
        state, kernels = self._state, self._kernels
        token_ids = state.device_tensor("token_ids")[: size.num_tokens]
        sources = state.device_tensor("sources")[: size.num_tokens]
        kernels.take_sampled_(token_ids, sources, state.sampled)
        batch = state.attention_batch(size.num_sequences)
        step = AttentionStep(batch, state.layout, size.num_tokens, size.is_decode)
        plan = kernels.plan_attention(step, kv_pool, self._workspace)
        context = ForwardContext(kernels, plan, kv_pool)
        return self._network.compute_hidden(token_ids, wanted_rows, context)

    def tail(self, num_samples: int) -> torch.Tensor:
        """Samples, and makes the next step's inputs.

        Returns:
            logits, [num_samples, vocab]
        """
        state, kernels = self._state, self._kernels
        logits = self.logits(self._hidden[:num_samples])
        rows = state.sampling.rows(num_samples)
        sampled = state.sampled[:num_samples]
        sampled.copy_(kernels.sample(logits, rows))
        kernels.count_tokens_(sampled, rows)
        kernels.advance_(
            state.device_tensor("context_lens")[:num_samples],
            state.device_tensor("positions")[:num_samples],
            state.device_tensor("sources")[:num_samples],
        )
        return logits
