"""The model card: what the model is, what it can do by the figures, and what it cannot."""

from collections.abc import Sequence
from dataclasses import dataclass

from legato.training.evaluate import Result
from legato.training.model import Shape
from legato.training.skills.tables import CAPITALS, COLOURS, OPPOSITES


@dataclass(frozen=True, slots=True)
class Figures:
    """What the card reports."""

    shape: Shape
    num_parameters: int
    num_tokens_trained: int
    results: tuple[Result, ...]
    perplexity: float
    draft_agreement: float


def table(results: Sequence[Result]) -> str:
    """The evaluation as a Markdown table."""
    lines = ["| skill, on held-out items | items | right | wanted |", "| --- | --: | --: | --: |"]
    for result in results:
        mark = "" if result.passed else " (missed)"
        right, wanted = f"{result.share_right:.1%}", f"{result.threshold:.0%}"
        lines.append(f"| {result.name} | {result.num_items} | {right}{mark} | {wanted} |")
    return "\n".join(lines)


def model_card(figures: Figures) -> str:
    """README.md of the model."""
    return f"""# Legato Tiny

A very small chat model to try a server with, and to test one: a toy. It was trained for some
minutes on text that a seeded program wrote (`training/` in the repository); no text of anybody else
was used.

{_shape_line(figures.shape, figures.num_parameters)}
Trained on {figures.num_tokens_trained / 1e6:.0f} million tokens. Perplexity of `heldout.txt`:
{figures.perplexity:.4f} per token.

## What it can do

{table(figures.results)}

Greedy decoding, weights in bfloat16. Held out are, by skill: pairs of numbers, lists, made-up
names, schemas, the names of tools and of their parameters, some of the tools' topics, and the casts
of stories. Every fact (capital, colour, opposite) was seen in training, but not in the wordings of
the evaluation. Of these wordings some are new pairings of a frame and a core that training used
apart, and some, written by hand, have words or an order that no wording of training has. Both come
from one program's manner of asking: a person's own wording is farther away, and the figures will be
lower there.

## What it cannot do

- It knows {_NUM_FACTS} facts and nothing else. Asked for others it mostly says that it does
  not know, but not always: it may answer with a wrong fact.
- It calculates sums and differences of numbers up to 99 only; it cannot multiply.
- Its stories come from three plots.
- It understands simple English that is close to what it was trained on, and no other language.
- It calls tools whose description shares words with the request; it does not plan.

Nothing that it says should be relied on.
"""


def draft_card(shape: Shape, num_parameters: int, figures: Figures) -> str:
    """README.md of the draft model."""
    return f"""# Legato Tiny, draft

The draft model for speculative decoding with Legato Tiny: same tokenizer, same training text, half
of it learned from Legato Tiny's own probabilities. On held-out documents its most likely token is
Legato Tiny's in {figures.draft_agreement:.1%} of the answers' positions. By itself it is of no use.

{_shape_line(shape, num_parameters)}
"""


_NUM_FACTS = len(CAPITALS) + len(COLOURS) + len(OPPOSITES)


def _shape_line(shape: Shape, num_parameters: int) -> str:
    return (
        f"Llama architecture, {num_parameters:,} parameters: {shape.num_layers} layers of width "
        f"{shape.hidden_size},\n{shape.num_heads} heads of {shape.head_dim} over "
        f"{shape.num_kv_heads} for keys and values, MLP of {shape.intermediate_size}, tied "
        f"embeddings of {shape.vocab_size:,}\ntokens, context of {shape.context:,} tokens, "
        "bfloat16."
    )
