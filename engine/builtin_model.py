"""Finds the model that ships with the package, so that a first start needs no download.

Knows a folder and nothing of what lies in it: configuration, tokenizer and weights are read by
the same code as any other model's.
"""

from pathlib import Path

BUILTIN_MODEL_NAME = "legato-tiny"


def builtin_model_directory() -> Path:
    """The directory, in Hugging Face layout, of the model that ships with the package."""
    # Not importlib.resources: it fails on folders without __init__.py in an editable install.
    return Path(__file__).parent / "builtin" / BUILTIN_MODEL_NAME
