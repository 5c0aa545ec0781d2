"""Transformers' model in two parts: the layers, and the head that makes logits of what they give.

    ForCausalLM.forward = layers, then head          as transformers has it
                          |         `- the same forward, with GivenHidden where the layers were
                          `- run on their own

So whatever a model does to its logits - factors, caps, biases - is done by its own code, for the
rows that are asked for.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from legato.engine.errors import ConfigError
from legato.engine.models.general_attention import OPTION, Attention


@dataclass
class GivenOutput(BaseModelOutput):
    """Hidden states, and nothing of what layers may give beside them."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class GivenHidden(nn.Module):
    """In place of a model's layers: gives as hidden states what it is given as embeddings."""

    def forward(self, *_: Any, inputs_embeds: torch.Tensor | None = None, **__: Any) -> GivenOutput:
        return GivenOutput(last_hidden_state=inputs_embeds)


@dataclass(frozen=True, slots=True, eq=False)
class ModelParts:
    """A causal language model that has been taken apart."""

    layers: nn.Module
    head: PreTrainedModel

    @classmethod
    def of(cls, model: PreTrainedModel) -> "ModelParts":
        """Takes the model apart; it is its own head afterwards.

        Raises:
            ConfigError: it is made in another way.
        """
        layers, output = model.get_decoder(), model.get_output_embeddings()
        names = [name for name, module in model.named_modules() if module is layers and name]
        if not names or output is None or any(module is output for module in layers.modules()):
            raise ConfigError("its layers and its head cannot be told apart")
        model.set_submodule(names[0], GivenHidden())
        return cls(layers, model)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.layers.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.layers.parameters()).device

    def hidden(
        self,
        token_ids: torch.Tensor,
        positions: torch.Tensor,
        attention: Attention,
        **options: Any,
    ) -> torch.Tensor:
        """Runs the layers, without a cache of theirs.

        Args:
            token_ids, positions: [tokens]
            options: more for the model's code

        Returns:
            [tokens, hidden] behind the last norm
        """
        options[OPTION] = attention
        output = self.layers(
            input_ids=token_ids[None], position_ids=positions[None], use_cache=False, **options
        )
        hidden: torch.Tensor = output[0]
        return hidden[0]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, hidden] -> [rows, vocab]"""
        logits: torch.Tensor = self.head(inputs_embeds=hidden[None], use_cache=False).logits
        return logits[0]
