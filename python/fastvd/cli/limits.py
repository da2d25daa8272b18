"""``--limits.NAME VALUE``, which any command takes: what is refused as too large or too slow."""

from collections.abc import Sequence
from typing import Any

import yaml

from fastvd import config

PREFIX = "--limits."


def take_limits(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Part a command line into the words without limits, and the limits by name."""
    rest: list[str] = []
    given: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        if not word.startswith(PREFIX):
            rest.append(word)
            continue
        name, has_value, value = word.removeprefix(PREFIX).partition("=")
        text = value if has_value else next(left, None)
        if text is None:
            raise ValueError(f"{word} needs a value")
        given[name] = yaml.safe_load(text)
    return rest, given


def hold_limits(given: dict[str, Any]) -> None:
    """Make limits by name hold from now on; the others stay as they are."""
    if given:
        # opens FFmpeg, which --help needs not
        from fastvd.limits import Limits, get_limits, set_limits

        set_limits(config.from_dict(Limits, config.to_dict(get_limits()) | given, where="limits"))
