"""The command line: from words to a frozen `Command`, or to one clear line and an exit code.

    legato serve [MODEL] [--flag value ...] [--config FILE]
    legato --help | --version

The flags are the option table of config.py under vLLM's names: max_model_len is --max-model-len,
and underscores are taken for dashes. What is given twice counts in the order: command line, YAML
file, environment (the API key and Ray's address alone). The module starts nothing.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import yaml

from legato.deployments.config import AppConfig
from legato.engine.config import nearest_name, option_fields
from legato.engine.errors import ConfigError
from legato.engine.option_values import base_type

API_KEY_VARIABLE = "VLLM_API_KEY"
RAY_ADDRESS_VARIABLE = "RAY_ADDRESS"  # as all of Ray's commands have it
ALIASES = {"tensor_parallel_size": ["-tp"]}
# Flags that take several words at once. Not the key: it would swallow a MODEL behind it.
SEVERAL_WORDS = {"served_model_name"}
METAVARS = {int: "N", float: "X", str: "TEXT", tuple: "TEXT"}
DESCRIPTION = """\
Serves MODEL, a directory in Hugging Face layout or a hub id, through the OpenAI API, from a Ray
cluster with prefill and decode workers apart. Without MODEL, a small built-in one is served.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """What the user wants: to serve `config`."""

    config: AppConfig
    ray_address: str | None  # of a running Ray; None: one of its own, on this machine
    given: Mapping[str, Any]  # the options that were given, without secrets: fit to be logged


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Command:
    """Reads the words behind `legato`; `environ` is consulted for the key and Ray's address alone.

    Raises:
        SystemExit: 0 after --help or --version; 2 after one line on stderr that says what is
            wrong with the words or with the YAML file.
    """
    parser = _parser()
    serve = _add_serve(parser)
    namespace, rest = parser.parse_known_args([_dashed(word) for word in argv])
    try:
        return _command(vars(namespace), rest, environ)
    except ConfigError as error:
        serve.error(str(error))


def _command(words: dict[str, Any], rest: Sequence[str], environ: Mapping[str, str]) -> Command:
    words = {name: value for name, value in words.items() if name != "command"}
    config_file = words.pop("config", None)
    options = environment_options(environ)
    if config_file is not None:
        options |= read_yaml(Path(config_file))
    options |= _with_positional_model(words, rest)
    ray_address = _ray_address(options.pop("ray_address", environ.get(RAY_ADDRESS_VARIABLE)))
    config = AppConfig.from_options(options)
    given = {
        name: getattr(getattr(config, part), name)
        for name, (part, option_field) in option_fields(AppConfig).items()
        if name in options and option_field.repr
    }
    return Command(config, ray_address, given)


def _ray_address(value: Any) -> str | None:
    if value in (None, "local"):
        return None
    if not isinstance(value, str) or not value or "://" in value:
        raise ConfigError(
            f"--ray-address {value}: give the head's host:port, or auto; a node of the cluster "
            "must run on this machine"
        )
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a YAML file: one mapping of flag names, with dashes or underscores.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"the configuration file {path} is not YAML: {reason}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"the configuration file {path} must hold lines of `name: value`")
    return {name.replace("-", "_"): value for name, value in content.items()}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage that would bury it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> _Parser:
    parser = _Parser(prog="legato", allow_abbrev=False, description="LLM serving on Ray.")
    parser.add_argument("--version", action="version", version=f"legato {version('legato-llm')}")
    return parser


def _add_serve(parser: _Parser) -> argparse.ArgumentParser:
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="serve a model through the OpenAI API",
        usage="legato serve [MODEL] [flags]",
        description=DESCRIPTION,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    serve.add_argument("--config", metavar="FILE", help="YAML file of flags; the command line wins")
    serve.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="run on the Ray cluster with this head (host:port, or auto), of which this machine is "
        "a node; default: RAY_ADDRESS, else a Ray of its own on this machine",
    )
    for part in dataclasses.fields(AppConfig):
        group = serve.add_argument_group(part.type.__doc__)
        for option_field in dataclasses.fields(part.type):  # type: ignore[arg-type]
            _add_option(group, option_field)
    return serve


def _add_option(group: argparse._ArgumentGroup, option_field: dataclasses.Field[Any]) -> None:
    base, _ = base_type(option_field)
    flags = [_flag(option_field.name), *ALIASES.get(option_field.name, [])]
    settings: dict[str, Any] = {"help": _help(option_field)}
    if base is bool:
        settings["action"] = argparse.BooleanOptionalAction
    else:
        choices = option_field.metadata["choices"]
        settings["metavar"] = "{" + ",".join(choices) + "}" if choices else METAVARS[base]
    if base is tuple:
        settings["action"] = "append"
        if option_field.name in SEVERAL_WORDS:
            settings |= {"action": "extend", "nargs": "+"}
    group.add_argument(*flags, dest=option_field.name, **settings)


def _help(option_field: dataclasses.Field[Any]) -> str:
    text = str(option_field.metadata["help"])
    base, _ = base_type(option_field)
    if base is tuple and option_field.name not in SEVERAL_WORDS:
        text += "; may be given several times"
    if option_field.default not in (None, (), ""):
        text += f" (default: {str(option_field.default).lower()})"
    return text.replace("%", "%%")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _dashed(word: str) -> str:
    """--max_model_len=8 as --max-model-len=8."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


def _with_positional_model(words: dict[str, Any], rest: Sequence[str]) -> dict[str, Any]:
    """Takes what argparse left over: at most one word, the MODEL, and no flag."""
    for word in rest:
        if word.startswith("-"):
            flag = word.partition("=")[0]
            raise ConfigError(f"unknown flag {flag}{nearest_name(flag, _known_flags())}")
    models = [*rest, *([words["model"]] if "model" in words else [])]
    if len(models) > 1:
        raise ConfigError(f"one model, not {len(models)}: {' '.join(models)}")
    return words | ({"model": models[0]} if models else {})


def _known_flags() -> list[str]:
    flags = ["--config", "--help", "--ray-address"]
    for name, (_, option_field) in option_fields(AppConfig).items():
        flags += [_flag(name), *ALIASES.get(name, [])]
        if base_type(option_field)[0] is bool:
            flags.append("--no-" + _flag(name)[2:])
    return flags


def environment_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the environment sets: the API key, which no file and no process list should show."""
    key = environ.get(API_KEY_VARIABLE)
    return {"api_key": (key,)} if key else {}
