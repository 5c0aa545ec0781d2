"""The whole run, from the tokenizer to the cards, with sizes that say nothing of quality."""

import json
from pathlib import Path

import torch

from legato.training.evaluate import Result
from legato.training.make_model import Plan, make, misses
from legato.training.model import Shape
from legato.training.trainer import Recipe

SHAPE = Shape(2048, 32, 48, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=16)


def test_a_run_writes_both_models_and_says_how_good_they_are(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    recipe = Recipe(seconds=0.5, compiled=False)
    plan = Plan(recipe, 1 << 11, 1, 300, 1, SHAPE, SHAPE)

    results = make(tmp_path, torch.device("cpu"), plan)

    report = json.loads((tmp_path / "eval.json").read_text())
    assert [each["name"] for each in report["results"]] == [each.name for each in results]
    assert report["tokens_trained"] > 0
    for name in ("legato-tiny", "legato-tiny-draft"):
        assert (tmp_path / name / "model.safetensors").stat().st_size > 2 * 2048 * 32
        assert "parameters" in (tmp_path / name / "README.md").read_text()


def test_misses_show_what_was_asked_wanted_and_said() -> None:
    prompt = (
        "…}</tools><|im_end|>\n<|im_start|>user\nZor of Mel?<|im_end|>\n<|im_start|>assistant\n"
    )
    wrong = {"prompt": prompt, "answer": "Tun.", "wanted": "Rok."}

    shown = misses(Result("tool call", 4, 0.75, 0.9, (wrong,)))

    assert "75.0%" in shown
    assert all(part in shown for part in ("'Zor of Mel?'", "'Tun.'", "'Rok.'"))
