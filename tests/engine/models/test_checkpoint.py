from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from legato.engine.errors import ConfigError
from legato.engine.models.checkpoint import INDEX_FILE, SINGLE_FILE, locate_tensors, read_header
from legato.engine.models.model_config import ModelConfig
from legato.tests.checkpoints import edit_json, make_checkpoint


def locate(directory: Path) -> dict[str, Path]:
    return locate_tensors(directory, ModelConfig.load(directory))


def edit_tensors(directory: Path, removed: str | None = None, added: str | None = None) -> None:
    tensors = load_file(directory / SINGLE_FILE)
    if removed is not None:
        del tensors[removed]
    if added is not None:
        tensors[added] = np.zeros(1, np.float32)
    save_file(tensors, directory / SINGLE_FILE)


def test_shards_hold_the_same_names_as_one_file(tmp_path: Path) -> None:
    whole = locate(make_checkpoint(tmp_path / "whole", "llama"))
    sharded = locate(make_checkpoint(tmp_path / "sharded", "llama", max_shard_size="20KB"))
    assert set(whole.values()) == {tmp_path / "whole" / SINGLE_FILE}
    assert len(set(sharded.values())) > 2
    assert whole.keys() == sharded.keys()


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    edit_tensors(make_checkpoint(tmp_path, "llama"), removed="model.norm.weight")
    with pytest.raises(ConfigError, match=r"model\.norm\.weight missing from the weights"):
        locate(tmp_path)


def test_an_unexpected_tensor_is_named(tmp_path: Path) -> None:
    edit_tensors(make_checkpoint(tmp_path, "llama"), added="model.extra")
    with pytest.raises(ConfigError, match=r"model\.extra in the weights, but not in a Llama"):
        locate(tmp_path)


def test_layers_that_only_draft_tokens_are_passed_over(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "glm4_moe")
    edit_tensors(tmp_path, added="model.layers.2.eh_proj.weight")
    edit_json(tmp_path / "config.json", num_nextn_predict_layers=1)
    assert "model.norm.weight" in locate(tmp_path)
    edit_json(tmp_path / "config.json", num_nextn_predict_layers=0)
    with pytest.raises(ConfigError, match=r"model\.layers\.2\.eh_proj\.weight in the weights"):
        locate(tmp_path)


def test_a_tied_head_may_be_stored_again(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama", tie_word_embeddings=True)
    edit_tensors(tmp_path, added="lm_head.weight")
    assert "lm_head.weight" in locate(tmp_path)
    edit_json(tmp_path / "config.json", tie_word_embeddings=False)
    assert "lm_head.weight" in locate(tmp_path)


def test_missing_weights_are_said(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama")
    (tmp_path / SINGLE_FILE).rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="holds no weights"):
        locate(tmp_path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, "llama") / SINGLE_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"model\.safetensors cannot be read"):
        locate(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama", max_shard_size="20KB")
    sorted(tmp_path.glob("*.safetensors"))[1].unlink()
    with pytest.raises(ConfigError, match=rf"safetensors is missing, but .*{INDEX_FILE} names it"):
        locate(tmp_path)


def test_a_header_tells_where_each_tensor_lies(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    tensors = {"first": np.arange(6, dtype=np.float32).reshape(2, 3), "second": np.ones(4, "f2")}
    save_file(tensors, path, metadata={"format": "np"})
    header = read_header(path)
    assert header.keys() == tensors.keys()
    assert (header["first"].dtype, header["first"].shape) == ("F32", (2, 3))
    for name, tensor in tensors.items():
        held = path.read_bytes()[header[name].offset :][: tensor.nbytes]
        assert held == tensor.tobytes()


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "file.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ConfigError, match=r"file\.safetensors cannot be read"):
        read_header(tmp_path / "file.safetensors")
