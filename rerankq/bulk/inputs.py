"""The input as a whole: there, and still what the batch was made for."""

from __future__ import annotations

from rerankq.bulk import storage
from rerankq.bulk.records import BadInput
from rerankq.bulk.spec import BatchSpec


def present(spec: BatchSpec) -> storage.Stat:
    """
    Raises: BadInput: the input cannot be used; OSError: try again.
    """
    found = found_at(spec.input)
    if found.version != spec.version:
        detail = f"{storage.shown(spec.input)} has changed since the batch was made"
        raise BadInput("input_changed", detail)
    return found


def found_at(url: str) -> storage.Stat:
    """
    Raises: BadInput: there is no file that may be read; OSError: try again.
    """
    try:
        return storage.stat(url)
    except FileNotFoundError as error:
        raise BadInput("input_missing", f"{storage.shown(url)} does not exist") from error
    except PermissionError as error:
        raise BadInput("input_denied", f"{storage.shown(url)} may not be read") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise BadInput("input_missing", f"{storage.shown(url)} is not a file") from error
