"""The two halves of a step, as functions of tensors that stay where they are.

    body   tokens -> layers -> the hidden states that are sampled from      sized by tokens
    tail   hidden states -> logits -> samples -> the next step's inputs     sized by samples

Apart, so that each has graphs of its own sizes: a prompt of many tokens samples one.
"""

from dataclasses import dataclass

import torch

from legato.engine.models.decoder import ForwardContext, compute_hidden, compute_logits
from legato.engine.models.decoder_weights import DecoderWeights
from legato.engine.models.model_config import ModelConfig
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
        weights: DecoderWeights,
        config: ModelConfig,
        kernels: Kernels,
        state: StepState,
        shape: AttentionShape,
    ) -> None:
        self._weights = weights
        self._config = config
        self._kernels = kernels
        self._state = state
        embedding = weights.embedding
        self._workspace = kernels.allocate_attention(shape, embedding.device)
        self._hidden = torch.zeros(
            state.limits.max_num_seqs,
            config.hidden_size,
            dtype=embedding.dtype,
            device=embedding.device,
        )

    def body(self, size: BodySize, kv_pool: torch.Tensor) -> None:
        """Computes the step's tokens; the tail finds the hidden states that it samples from."""
        state, kernels = self._state, self._kernels
        token_ids = state.device_tensor("token_ids")[: size.num_tokens]
        sources = state.device_tensor("sources")[: size.num_tokens]
        kernels.take_sampled_(token_ids, sources, state.sampled)
        batch = state.attention_batch(size.num_sequences)
        step = AttentionStep(batch, state.layout, size.num_tokens, size.is_decode)
        plan = kernels.plan_attention(step, kv_pool, self._workspace)
        context = ForwardContext(kernels, plan, kv_pool)
        rows = state.device_tensor("sampling_rows")[: size.num_samples]
        hidden = compute_hidden(self._weights, self._config, token_ids, rows, context)
        self._hidden[: size.num_samples].copy_(hidden)

    def tail(self, num_samples: int) -> torch.Tensor:
        """Samples, and makes the next step's inputs.

        Returns:
            logits, [num_samples, vocab]
        """
        state, kernels = self._state, self._kernels
        hidden = self._hidden[:num_samples]
        logits = compute_logits(self._weights, self._config, hidden, kernels)
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
