"""Packages that only `rerankq[bulk]` brings, imported when they are first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def extra(module: str, need: str) -> Any:
    """
    Raises: OSError: it is not installed. The message says what needs it and how to get it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise OSError(f"{need} needs {package}: pip install 'rerankq[bulk]'") from error
