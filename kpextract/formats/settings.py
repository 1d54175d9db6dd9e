"""Compare the settings of an output with those of the run that continues it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kpextract.errors import StoreError
from kpextract.printable import printable

MAX_SHOWN = 80  # characters of a value in a message


def to_text(settings: Mapping[str, str]) -> str:
    """Return settings as one line of JSON, equal for equal settings."""
    return json.dumps(dict(settings), sort_keys=True)


def from_text(text: Any, path: Path) -> dict[str, str]:
    """Return what `to_text` was given.

    Raises:
        StoreError: it is something else.
    """
    try:
        settings = json.loads(text)
        if not isinstance(settings, dict):
            raise TypeError(f"settings must be an object, not {type(settings)}")
        return {str(name): str(value) for name, value in settings.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{path} has no readable settings ({error}): it is corrupt, or not an "
            "output of kpextract. Give another output."
        ) from error


def check_settings(
    path: Path, there: Mapping[str, str], given: Mapping[str, str]
) -> None:
    """Raise StoreError that names what differs, unless both are equal."""
    differences = [
        f"{printable(name)} is {_shown(there, name)} there and {_shown(given, name)} "
        "now"
        for name in sorted({*there, *given})
        if there.get(name) != given.get(name)
    ]
    if differences:
        raise StoreError(
            f"{path} was written with other settings: {'; '.join(differences)}. Give "
            "the same settings, or another output."
        )


def _shown(settings: Mapping[str, str], name: str) -> str:
    if name not in settings:
        return "not set"
    return printable(settings[name])[:MAX_SHOWN] or "empty"
