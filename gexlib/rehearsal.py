"""A rehearsal runs cells without learning anything, to list what a real run would have to learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_noted: ContextVar[list[dict] | None] = ContextVar("noted", default=None)


@contextmanager
def rehearsal() -> Iterator[list[dict]]:
    """Inside the block networks are not trained and methods not tuned; the list names each piece of work."""
    noted: list[dict] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def only_noted(kind: str, **what) -> bool:
    """Note a piece of work where this is a rehearsal, and tell whether it is: then it must not be done."""
    noted = _noted.get()
    if noted is not None:
        noted.append({"kind": kind, **what})
    return noted is not None
