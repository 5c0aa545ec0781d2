from dataclasses import replace
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FineGrainedFP8Config
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from legato.engine.errors import ConfigError
from legato.engine.models.checkpoint import INDEX_FILE, SINGLE_FILE
from legato.engine.models.decoder_weights import DecoderWeights, MoeMlp
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.weights import Placement, dummy_weights, load_weights
from legato.tests.checkpoints import Family, edit_json, make_checkpoint, stack_experts

CPU = Placement(torch.float32, torch.device("cpu"))


def load(directory: Path, placement: Placement = CPU) -> DecoderWeights:
    return load_weights(directory, ModelConfig.load(directory), placement, lambda *_: None)


def edit_tensors(directory: Path, **changes: torch.Tensor | None) -> None:
    tensors = load_file(directory / SINGLE_FILE) | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, directory / SINGLE_FILE)


def assert_equal(first: DecoderWeights, second: DecoderWeights) -> None:
    assert torch.equal(first.embedding, second.embedding)
    assert torch.equal(first.lm_head, second.lm_head)
    for one, other in zip(first.layers, second.layers, strict=True):
        assert torch.equal(one.qkv, other.qkv)
        assert torch.equal(one.mlp.gate_up, other.mlp.gate_up)
        assert torch.equal(one.mlp.down, other.mlp.down)


def test_shards_hold_the_same_as_one_file(tmp_path: Path) -> None:
    whole = make_checkpoint(tmp_path / "whole", "llama")
    sharded = make_checkpoint(tmp_path / "sharded", "llama", max_shard_size="20KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert_equal(load(whole), load(sharded))


def test_joined_matrices_keep_the_order_of_their_sources(tmp_path: Path) -> None:
    tensors = load_file(make_checkpoint(tmp_path, "qwen3") / SINGLE_FILE)
    layer = load(tmp_path).layers[1]
    attention = "model.layers.1.self_attn"
    parts = [tensors[f"{attention}.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(layer.qkv, torch.cat(parts))
    assert layer.qk_norm is not None
    assert torch.equal(layer.qk_norm.query_weight, tensors[f"{attention}.q_norm.weight"])
    assert torch.equal(layer.qk_norm.key_weight, tensors[f"{attention}.k_norm.weight"])


def test_a_tied_head_is_the_embedding_itself(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama", tie_word_embeddings=True)
    weights = load(tmp_path)
    assert weights.lm_head is weights.embedding
    edit_tensors(tmp_path, **{"lm_head.weight": torch.zeros(97, 32)})
    assert_equal(load(tmp_path), weights)


def test_a_models_layers_alone_are_the_same_without_a_head(tmp_path: Path) -> None:
    """As embedding models are stored."""
    whole = make_checkpoint(tmp_path / "whole", "qwen3")
    alone = make_checkpoint(tmp_path / "alone", "qwen3")
    tensors = load_file(alone / SINGLE_FILE)
    del tensors["lm_head.weight"]
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(bare, alone / SINGLE_FILE)
    edit_json(alone / "config.json", architectures=["Qwen3Model"])
    assert not ModelConfig.load(alone).has_head
    first, second = load(whole), load(alone)
    assert second.lm_head is second.embedding
    assert_equal(replace(first, lm_head=first.embedding), second)


def test_tensors_are_converted(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama")
    weights = load(tmp_path, Placement(torch.bfloat16, torch.device("cpu")))
    assert weights.embedding.dtype == weights.layers[0].qkv.dtype == torch.bfloat16
    assert torch.equal(weights.embedding, load(tmp_path).embedding.bfloat16())


def test_norms_stored_as_distances_from_one_keep_their_digits(tmp_path: Path) -> None:
    stored = load_file(make_checkpoint(tmp_path, "gemma3") / SINGLE_FILE)
    weights = load(tmp_path, Placement(torch.bfloat16, torch.device("cpu")))
    layer, module = weights.layers[0], "model.layers.0"
    assert layer.qk_norm is not None
    for tensor, name in (
        (weights.final_norm, "model.norm"),
        (layer.mlp_norm, f"{module}.pre_feedforward_layernorm"),
        (layer.output_norm, f"{module}.post_attention_layernorm"),
        (layer.qk_norm.key_weight, f"{module}.self_attn.k_norm"),
    ):
        assert tensor is not None
        assert torch.equal(tensor, stored[f"{name}.weight"] + 1)
    assert layer.qkv.dtype is torch.bfloat16
    dummies = dummy_weights(ModelConfig.load(tmp_path), CPU, seed=1)
    assert torch.all(dummies.final_norm == 1)


def test_projections_that_are_joined_already_are_taken_as_they_are(tmp_path: Path) -> None:
    stored = load_file(make_checkpoint(tmp_path, "phi3") / SINGLE_FILE)
    layer = load(tmp_path).layers[1]
    assert torch.equal(layer.qkv, stored["model.layers.1.self_attn.qkv_proj.weight"])
    assert torch.equal(layer.mlp.gate_up, stored["model.layers.1.mlp.gate_up_proj.weight"])


def test_the_experts_of_a_layer_are_stacked_gates_before_ups(tmp_path: Path) -> None:
    stored = load_file(make_checkpoint(tmp_path, "mixtral") / SINGLE_FILE)
    mlp, module = load(tmp_path).layers[1].mlp, "model.layers.1.block_sparse_moe"
    assert isinstance(mlp, MoeMlp)
    assert torch.equal(mlp.router, stored[f"{module}.gate.weight"])
    for expert in range(8):
        gate, down, up = (stored[f"{module}.experts.{expert}.w{n}.weight"] for n in (1, 2, 3))
        assert torch.equal(mlp.gate_up[expert], torch.cat((gate, up)))
        assert torch.equal(mlp.down[expert], down)


def test_corrections_of_scores_keep_their_digits(tmp_path: Path) -> None:
    stored = load_file(make_checkpoint(tmp_path, "glm4_moe") / SINGLE_FILE)
    mlp = load(tmp_path, Placement(torch.bfloat16, torch.device("cpu"))).layers[1].mlp
    assert isinstance(mlp, MoeMlp) and mlp.correction is not None
    correction = stored["model.layers.1.mlp.gate.e_score_correction_bias"]
    assert torch.equal(mlp.correction, correction)
    assert mlp.gate_up.dtype is torch.bfloat16


def test_interleaved_experts_are_put_gates_before_ups(tmp_path: Path) -> None:
    stored = load_file(make_checkpoint(tmp_path, "gpt_oss") / SINGLE_FILE)
    layer, module = load(tmp_path).layers[1], "model.layers.1.mlp"
    mlp = layer.mlp
    assert isinstance(mlp, MoeMlp)
    assert mlp.router_bias is not None and mlp.gate_up_bias is not None
    assert mlp.down_bias is not None and layer.sinks is not None
    gate_up, bias = (stored[f"{module}.experts.gate_up_proj{end}"] for end in ("", "_bias"))
    assert torch.equal(mlp.gate_up, torch.cat((gate_up[..., ::2], gate_up[..., 1::2]), 2).mT)
    assert torch.equal(mlp.gate_up_bias, torch.cat((bias[:, ::2], bias[:, 1::2]), 1))
    assert torch.equal(mlp.down, stored[f"{module}.experts.down_proj"].mT)
    assert torch.equal(mlp.down_bias, stored[f"{module}.experts.down_proj_bias"])
    assert torch.equal(mlp.router_bias, stored[f"{module}.router.bias"])
    assert torch.equal(layer.sinks, stored["model.layers.1.self_attn.sinks"])


def test_experts_of_4_bits_are_what_transformers_makes_of_them(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 1}
    make_checkpoint(tmp_path, "gpt_oss", num_local_experts=3, num_experts_per_tok=2, **sizes)
    changes: dict[str, torch.Tensor | None] = {}
    plain: dict[str, torch.Tensor | None] = {}
    for part, shape in (("gate_up", (3, 64, 2)), ("down", (3, 64, 1))):
        name = f"model.layers.0.mlp.experts.{part}_proj"
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
        scales = torch.randint(118, 126, shape, dtype=torch.uint8)
        plain[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
        changes |= {name: None, f"{name}_blocks": blocks, f"{name}_scales": scales}
    edit_tensors(tmp_path, **plain)
    wanted = load(tmp_path).layers[0].mlp
    edit_tensors(tmp_path, **changes)
    edit_json(tmp_path / "config.json", quantization_config={"quant_method": "mxfp4"})
    done: list[tuple[int, int]] = []
    config = ModelConfig.load(tmp_path)
    loaded = load_weights(tmp_path, config, CPU, lambda *progress: done.append(progress))
    actual = loaded.layers[0].mlp
    assert isinstance(actual, MoeMlp) and isinstance(wanted, MoeMlp)
    assert torch.equal(actual.gate_up, wanted.gate_up)
    assert torch.equal(actual.down, wanted.down)
    assert done == sorted(done) and done[-1][0] == done[-1][1]


def to_eight_bits(matrix: torch.Tensor, block: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """The matrix in 8 bits, the scales of its blocks, and what the two mean."""
    stored, plain = torch.empty_like(matrix, dtype=torch.float8_e4m3fn), matrix.clone()
    scales = torch.empty([-(-size // step) for size, step in zip(matrix.shape, block, strict=True)])
    for row, column in product(*map(range, scales.shape)):
        part = slice(row * block[0], (row + 1) * block[0]), slice(column * block[1], None)
        part = part[0], slice(part[1].start, part[1].start + block[1])
        scales[row, column] = matrix[part].abs().max() / 448
        stored[part] = (matrix[part] / scales[row, column]).to(torch.float8_e4m3fn)
        plain[part] = stored[part].float() * scales[row, column]
    return stored, scales, plain


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "deepseek_v3"])
def test_matrices_of_eight_bits_are_widened_block_by_block(tmp_path: Path, family: Family) -> None:
    tensors = load_file(make_checkpoint(tmp_path, family) / SINGLE_FILE)
    changes: dict[str, torch.Tensor | None] = {}
    plain: dict[str, torch.Tensor | None] = {}
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            changes[name], changes[f"{name}_scale_inv"], plain[name] = to_eight_bits(
                tensor, (16, 24)
            )
    edit_tensors(tmp_path, **plain)
    wanted = load(tmp_path)
    edit_tensors(tmp_path, **changes)
    with pytest.raises(ConfigError, match="more in the weights, but not"):
        load(tmp_path)
    quantization = {"quant_method": "fp8", "weight_block_size": [16, 24]}
    edit_json(tmp_path / "config.json", quantization_config=quantization)
    assert_equal(load(tmp_path), wanted)
    edit_tensors(tmp_path, **{next(name for name in changes if name.endswith("_inv")): None})
    with pytest.raises(ConfigError, match="_scale_inv missing from the weights"):
        load(tmp_path)


def test_matrices_of_eight_bits_are_what_transformers_makes_of_them(tmp_path: Path) -> None:
    changes: dict[str, torch.Tensor] = {}
    tensors = load_file(make_checkpoint(tmp_path, "qwen3") / SINGLE_FILE)
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            changes[name], changes[f"{name}_scale_inv"], _ = to_eight_bits(tensor, (16, 16))
    save_file(tensors | changes, tmp_path / SINGLE_FILE, metadata={"format": "pt"})
    quantization = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    edit_json(tmp_path / "config.json", quantization_config=quantization)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=FineGrainedFP8Config(dequantize=True), dtype=torch.float32
    )
    wanted = model.state_dict()
    for number, layer in enumerate(load(tmp_path).layers):
        module = f"model.layers.{number}"
        qkv = [wanted[f"{module}.self_attn.{name}_proj.weight"] for name in "qkv"]
        assert torch.equal(layer.qkv, torch.cat(qkv))
        assert torch.equal(layer.mlp.down, wanted[f"{module}.mlp.down_proj.weight"])


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])
def test_checkpoints_with_stacked_experts_hold_the_same(tmp_path: Path, family: Family) -> None:
    directory = make_checkpoint(tmp_path / "separate", family)
    stacked = stack_experts(directory, tmp_path / "stacked")
    names = load_file(stacked / SINGLE_FILE)
    assert names["model.layers.0.mlp.experts.down_proj"].dim() == 3
    assert_equal(load(stacked), load(directory))


def test_a_type_that_is_nothing_without_scales_is_named(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama")
    edit_tensors(tmp_path, **{"model.norm.weight": torch.ones(32, dtype=torch.int8)})
    with pytest.raises(
        ConfigError, match=r"model\.norm\.weight is stored as I8, but only F64, F32"
    ):
        load(tmp_path)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama")
    edit_tensors(tmp_path, **{"model.norm.weight": torch.zeros(9)})
    with pytest.raises(ConfigError, match=r"has shape \[9\], but config.json asks for \[32\]"):
        load(tmp_path)


def test_old_rope_tables_in_a_checkpoint_are_passed_over(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama")
    before = load(tmp_path)
    edit_tensors(tmp_path, **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)})
    assert_equal(load(tmp_path), before)


def test_a_tensor_that_its_shard_lacks_is_named(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama")
    names = dict.fromkeys(load_file(tmp_path / SINGLE_FILE), SINGLE_FILE)
    edit_tensors(tmp_path, **{"model.norm.weight": None})
    (tmp_path / INDEX_FILE).write_text("{}")
    edit_json(tmp_path / INDEX_FILE, weight_map=names)
    with pytest.raises(ConfigError, match=r"model\.norm\.weight missing from its shard"):
        load(tmp_path)


@pytest.mark.parametrize("family", ["llama", "qwen2_moe"])
def test_dummy_weights_are_the_same_for_the_same_seed(tmp_path: Path, family: Family) -> None:
    config = ModelConfig.load(make_checkpoint(tmp_path, family))
    weights = dummy_weights(config, CPU, seed=1)
    assert_equal(weights, dummy_weights(config, CPU, seed=1))
    assert not torch.equal(weights.lm_head, dummy_weights(config, CPU, seed=2).lm_head)
    assert torch.all(weights.final_norm == 1)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe"])
def test_the_gpu_holds_what_the_cpu_would(
    tmp_path: Path, family: Family, dtype: torch.dtype
) -> None:
    make_checkpoint(tmp_path, family, max_shard_size="20KB")
    on_cpu = load(tmp_path, Placement(dtype, torch.device("cpu")))
    on_gpu = load(tmp_path, Placement(dtype, torch.device("cuda")))
    assert on_gpu.lm_head.device.type == "cuda"
    assert torch.equal(on_gpu.embedding.cpu(), on_cpu.embedding)
    for one, other in zip(on_gpu.layers, on_cpu.layers, strict=True):
        for name in ("qkv", "output", "mlp.gate_up", "mlp.down", "mlp_norm"):
            read = attrgetter(name)
            assert torch.equal(read(one).cpu(), read(other))
        assert one.qk_norm is not None and other.qk_norm is not None
        assert torch.equal(one.qk_norm.key_weight.cpu(), other.qk_norm.key_weight)
