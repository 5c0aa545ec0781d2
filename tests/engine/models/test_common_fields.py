import json
from pathlib import Path
from typing import Any

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.common_fields import (
    checkpoint_dtype,
    eos_token_ids,
    read_generation,
    sampling_defaults,
)
from legato.engine.models.json_file import JsonFile


def config(**fields: Any) -> JsonFile:
    return JsonFile(Path("config.json"), fields)


def test_old_and_new_names_of_the_dtype_are_known() -> None:
    assert checkpoint_dtype(config(torch_dtype="float16")) == "float16"
    assert checkpoint_dtype(config(torch_dtype="float16", dtype="bfloat16")) == "bfloat16"
    assert checkpoint_dtype(config()) == "float32"
    with pytest.raises(ConfigError, match="dtype int8 is not supported"):
        checkpoint_dtype(config(dtype="int8"))


def test_the_generation_config_knows_better_what_ends_an_answer(tmp_path: Path) -> None:
    assert eos_token_ids(read_generation(tmp_path), config(eos_token_id=7)) == (7,)
    fields = {"eos_token_id": [1, 2], "temperature": 0.6, "top_k": 20, "do_sample": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(fields))
    generation = read_generation(tmp_path)
    assert eos_token_ids(generation, config(eos_token_id=7)) == (1, 2)
    assert sampling_defaults(generation) == {"temperature": 0.6, "top_k": 20}
