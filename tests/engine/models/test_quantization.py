from pathlib import Path
from typing import Any

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.models.parameter import SourceTensor
from legato.engine.models.quantization import (
    ScaleBlock,
    is_scale,
    read_scale_block,
    refuse_quantized,
)

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 64]}


def config(quantization: Any) -> JsonFile:
    return JsonFile(Path("config.json"), {"quantization_config": quantization})


def test_weights_of_16_bits_have_no_scales() -> None:
    assert read_scale_block(config(None)) is None
    assert read_scale_block(JsonFile(Path("config.json"), {})) is None
    refuse_quantized(config(None))


def test_experts_of_four_bits_are_no_matter_of_scales_here() -> None:
    assert read_scale_block(config({"quant_method": "mxfp4"}), ["mxfp4"]) is None


def test_matrices_of_eight_bits_have_a_scale_for_each_block_rounded_up() -> None:
    block = read_scale_block(config(FP8))
    assert block == ScaleBlock(128, 64)
    scales = block.scales_of(SourceTensor("q_proj.weight", (300, 128)))
    assert scales == SourceTensor("q_proj.weight_scale_inv", (3, 2))
    assert is_scale(scales.name, {"q_proj.weight"})
    assert not is_scale(scales.name, {"k_proj.weight"})
    assert not is_scale("q_proj.weight", {"q_proj.weight"})


@pytest.mark.parametrize(
    ("quantization", "reason"),
    [
        ({"quant_method": "awq"}, "quantized by awq are not supported"),
        ({"quant_method": "fp8"}, "quantized by fp8 are not supported like this; serve"),
        (FP8 | {"fmt": "e5m2"}, "quantized by fp8"),
        ({"bits": 4}, "quantized weights are not supported"),
        ("fp8", "quantized weights are not supported"),
        (FP8 | {"weight_block_size": [128]}, "two positive integers"),
        (FP8 | {"weight_block_size": [128, 0]}, "two positive integers"),
        (FP8 | {"weight_block_size": [128, True]}, "two positive integers"),
    ],
    ids=str,
)
def test_other_ways_are_refused_with_what_to_serve_instead(quantization: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_scale_block(config(quantization), ["mxfp4"])


def test_where_nothing_is_served_in_fewer_bits_all_are_refused() -> None:
    with pytest.raises(ConfigError, match="in bfloat16 or float16 instead"):
        refuse_quantized(config(FP8))
