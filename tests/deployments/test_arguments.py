from importlib.metadata import version
from pathlib import Path

import pytest

from legato.deployments.arguments import parse
from legato.deployments.config import AppConfig
from legato.engine.config import option_fields


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line with which the words are refused."""
    with pytest.raises(SystemExit) as caught:
        parse(argv, {})
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def config_of(*argv: str) -> AppConfig:
    return parse(["serve", *argv], {}).config


def test_a_compose_file_for_vllm_works_as_it_stands() -> None:
    words = "--model M --max-model-len 8192 --gpu-memory-utilization 0.90 --tensor-parallel-size 2"
    config = config_of(*words.split())
    assert config.model.model == "M"
    assert config.model.max_model_len == 8192
    assert config.cache.gpu_memory_utilization == 0.9
    assert config.parallel.tensor_parallel_size == 2


@pytest.mark.parametrize(
    "words", ["M --port 81", "--port 81 M", "--port=81 --model M", "--model=M --port 81"]
)
def test_the_model_may_stand_anywhere(words: str) -> None:
    config = config_of(*words.split())
    assert (config.model.model, config.server.port) == ("M", 81)


def test_underscores_are_taken_for_dashes_in_flags_but_not_in_values() -> None:
    config = config_of("--served_model_name=a_b", "--max_num_seqs", "3")
    assert config.model_names == ("a_b",)
    assert config.scheduler.max_num_seqs == 3


def test_booleans_have_a_flag_for_each_value() -> None:
    assert config_of("--enable-prefix-caching").cache.enable_prefix_caching is True
    assert config_of("--no-enable-prefix-caching").cache.enable_prefix_caching is False


def test_keys_may_be_repeated_and_do_not_swallow_the_model() -> None:
    config = config_of("--api-key", "a,1", "--api-key", "b", "M")
    assert config.server.api_key == ("a,1", "b")
    assert config.model.model == "M"


def test_names_may_follow_one_flag() -> None:
    assert config_of("M", "--served-model-name", "x", "y").model_names == ("x", "y")


def test_tensor_parallel_size_has_its_short_name() -> None:
    assert config_of("-tp", "4").parallel.tensor_parallel_size == 4


def test_the_environment_gives_a_key_unless_the_command_line_does() -> None:
    environ = {"VLLM_API_KEY": "from-environment"}
    assert parse(["serve"], environ).config.server.api_key == ("from-environment",)
    assert parse(["serve", "--api-key", "k"], environ).config.server.api_key == ("k",)
    assert parse(["serve"], {"VLLM_API_KEY": ""}).config.server.api_key == ()


def test_ray_is_ones_own_unless_an_address_is_given(tmp_path: Path) -> None:
    file = tmp_path / "legato.yaml"
    file.write_text("ray-address: 10.0.0.2:6379\n")
    environ = {"RAY_ADDRESS": "10.0.0.3:6379"}
    from_file = ["--config", str(file)]
    assert parse(["serve"], {}).ray_address is None
    assert parse(["serve"], environ).ray_address == "10.0.0.3:6379"
    assert parse(["serve", *from_file], environ).ray_address == "10.0.0.2:6379"
    words = ["serve", *from_file, "--ray-address", "auto"]
    assert parse(words, environ).ray_address == "auto"
    assert parse(["serve", "--ray-address=local"], environ).ray_address is None


def test_the_command_line_wins_over_the_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("model: M\nport: 8123\nserved-model-name: [x, y]\nmax_num_seqs: 4\n")
    config = config_of("--config", str(file), "--port", "8124")
    assert (config.model.model, config.server.port) == ("M", 8124)
    assert config.model_names == ("x", "y")
    assert config.scheduler.max_num_seqs == 4


def test_what_was_given_can_be_logged_without_keys() -> None:
    command = parse(["serve", "M", "--port", "81", "--api-key", "s3cret"], {})
    assert command.given == {"model": "M", "port": 81}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--max-modle-len 8", "unknown flag --max-modle-len (did you mean --max-model-len?)"),
        ("--no-prefix-caching", "unknown flag --no-prefix-caching (did you mean --enable-prefix-"),
        ("--max-model 8", "unknown flag --max-model (did you mean --max-model-len?)"),
        ("--port eighty", "port must be a whole number"),
        ("--port", "argument --port: expected one argument"),
        ("--dtype int3", "dtype must be one of auto, bfloat16, float16, float32, not 'int3'"),
        ("--ray-address ray://h:1", "--ray-address ray://h:1: give the head's host:port"),
        ("M N", "one model, not 2: M N"),
        ("M --model N", "one model, not 2: M N"),
        ("--config /no/such.yaml", "cannot read the configuration file /no/such.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, "serve", *words.split()).startswith(f"legato serve: {line}")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a: [", "is not YAML"),
        ("- a\n- b\n", "must hold lines of `name: value`"),
        ("1: 2\n", "must hold lines of `name: value`"),
        ("max-modle-len: 3\n", "unknown option max_modle_len (did you mean max_model_len?)"),
        ("api-key: 123\n", "api_key must be a list of texts"),
    ],
)
def test_a_mistake_in_the_yaml_file_is_one_line_too(
    content: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(content)
    assert line in refusal(capsys, "serve", "--config", str(file))


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert "serve" in refusal(capsys, "srve")


def test_help_explains_every_option_under_its_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["serve", "--help"], {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in option_fields(AppConfig):
        assert "--" + name.replace("_", "-") in text
    headings = ["Model:", "KV cache:", "Scheduling:", "Parallelism:", "Cluster:", "Server:"]
    assert sorted(headings, key=text.index) == headings
    assert "(default: 8000)" in text


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--version"], {})
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"legato {version('legato-llm')}\n"
