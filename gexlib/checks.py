"""Names and types of what a user sets, checked with messages in a user's words."""

from __future__ import annotations

import os
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from gexlib.errors import InputError

_WORDS = {  # of a type: one, several
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a name", "names"),
    bool: ("true or false", "true or false"),
    dict: ("a block {name: value}", "blocks {name: value}"),
    type(None): ("null", "null"),
}


#: Setting: "1" trains every network step by step as PyTorch's own modules do, to compare; the same up to rounding.
PLAIN = "GEXLIB_PLAIN"

#: Setting: a number from 1. Each moves the weights that training starts from by other errors of rounding.
ROUNDING = "GEXLIB_ROUNDING"


def plain_steps() -> bool:
    """Whether the environment forgoes the sample space and RMSprop's fused form.

    Raises
    ------
    InputError
        It says something else than 0 or 1.
    """
    if (asked := os.environ.get(PLAIN, "") or "0") not in ("0", "1"):
        raise InputError(f"{PLAIN}={asked} is not known: use 0 or 1.")
    return asked == "1"


def rounding() -> int:
    """Which errors of rounding are added where training starts; 0 for none.

    Raises
    ------
    InputError
        The environment says something else than a whole number.
    """
    asked = os.environ.get(ROUNDING, "") or "0"
    if not asked.isdecimal():
        raise InputError(f"{ROUNDING}={asked} is not known: use a whole number, 0 for none.")
    return int(asked)


def check_types(hints: Mapping[str, Any], values: Mapping[str, Any], what: str) -> None:
    """Refuse names that are not among the `hints` and values of another type; `what` names their source.

    Raises
    ------
    InputError
        An unknown name or a value of the wrong type.
    """
    for name, value in values.items():
        if name not in hints:
            hint = "; put a space after each colon, as in {name: value}" if ":" in str(name) else ""
            raise InputError(f"{what}: parameter '{name}' is not known; it takes {', '.join(hints)}{hint}.")
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError:
            raise InputError(f"{what}: parameter {name}={value!r} should be {in_words(hints[name])}.") from None


def in_words(kind: Any, several: bool = False) -> str:
    """Return a type in words, such as "a name or a list of names" for ``str | list[str]``."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return " or ".join(in_words(one, several) for one in inside)
    if origin in (list, Sequence):
        return f"{'lists' if several else 'a list'} of {in_words(inside[0], several=True)}"
    return _WORDS[origin or kind][several]
