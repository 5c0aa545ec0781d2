from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from legato.tests.tools.make_random_model import RandomModelShape, make_random_model


def test_the_same_seed_makes_the_same_weights_and_tokenizer(tmp_path: Path) -> None:
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        make_random_model(tmp_path / name, seed=seed)
    for file in ("model.safetensors", "tokenizer.json"):
        first = (tmp_path / "first" / file).read_bytes()
        assert (tmp_path / "again" / file).read_bytes() == first
        assert (tmp_path / "other" / file).read_bytes() != first


def test_the_shape_can_be_chosen(tmp_path: Path) -> None:
    shape = RandomModelShape(vocab_size=512, hidden_size=32, num_layers=1, num_kv_heads=1)
    make_random_model(tmp_path, shape)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (512, 32, 1)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == 512
