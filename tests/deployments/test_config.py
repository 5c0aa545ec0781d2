import dataclasses
from pathlib import Path
from typing import Any

import pytest

from legato.deployments.config import AppConfig
from legato.engine.config import EngineConfig, option_fields
from legato.engine.errors import ConfigError


def test_no_option_at_all_serves_the_builtin_model_on_this_machine_alone() -> None:
    config = AppConfig.from_options({})
    assert (Path(config.model.model) / "config.json").is_file()
    assert config.model_names == ("legato-tiny",)
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8000)
    assert (config.cluster.prefill_replicas, config.cluster.decode_replicas) == (None, 1)


def test_a_model_is_served_under_its_own_name_unless_another_is_given() -> None:
    assert AppConfig.from_options({"model": "a/b"}).model_names == ("a/b",)
    named = AppConfig.from_options({"model": "a/b", "served_model_name": ["x", "y"]})
    assert named.model_names == ("x", "y")


def test_words_and_yaml_values_give_the_same_configuration() -> None:
    words = {"model": "m", "port": "8123", "enable_prefix_caching": "false", "api_key": "a,b"}
    values = {"model": "m", "port": 8123, "enable_prefix_caching": False, "api_key": ["a", "b"]}
    assert AppConfig.from_options(words) == AppConfig.from_options(values)


def test_the_engine_part_holds_what_the_engine_alone_would_be_told() -> None:
    options = {"model": "m", "block_size": 32, "max_num_seqs": 7, "seed": 3}
    assert AppConfig.from_options(options).engine == EngineConfig.from_options(options)


def test_no_option_name_stands_for_two_things() -> None:
    parts = [part.type for part in dataclasses.fields(AppConfig)]
    names = [field.name for part in parts for field in dataclasses.fields(part)]  # type: ignore[arg-type]
    assert len(names) == len(set(names))
    assert set(option_fields(EngineConfig)) < set(option_fields(AppConfig))


def test_a_kind_of_pooling_is_for_those_who_ask_for_embeddings() -> None:
    assert AppConfig.from_options({"convert": "embed", "pooling_type": "mean"})
    with pytest.raises(ConfigError, match="needs --convert embed"):
        AppConfig.from_options({"pooling_type": "mean"})


def test_a_key_never_appears_in_the_text_of_the_configuration() -> None:
    assert "s3cret" not in repr(AppConfig.from_options({"api_key": ["s3cret"]}))


def test_the_engine_can_do_all_the_work_without_prefill_workers() -> None:
    assert AppConfig.from_options({"prefill_replicas": 0}).cluster.prefill_replicas == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 0}, "port must be at least 1, not 0"),
        ({"port": 65536}, "port must be at most 65535, not 65536"),
        ({"host": ""}, "host must not be empty"),
        ({"decode_replicas": 0}, "decode_replicas must be at least 1, not 0"),
        ({"prefill_replicas": -1}, "prefill_replicas must be at least 0, not -1"),
        ({"api_key": [""]}, "api_key must be a list of texts, none of them empty"),
        ({"api_key": 12345}, "api_key must be a list of texts"),
        ({"prefil_replicas": 2}, "unknown option prefil_replicas (did you mean prefill_replicas?)"),
    ],
)
def test_what_cannot_be_served_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AppConfig.from_options(options)
    assert str(caught.value).startswith(message)


def test_responses_are_kept_where_one_router_knows_of_all() -> None:
    assert AppConfig.from_options({}).num_stored_responses == 1000
    assert AppConfig.from_options({"max_stored_responses": 5}).num_stored_responses == 5
    several = {"max_stored_responses": 5, "router_replicas": 2}
    assert AppConfig.from_options(several).num_stored_responses == 0
