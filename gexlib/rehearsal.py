"""What is learned: counted where it is learned, and only listed in a rehearsal, which learns nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Pieces of work that this process has begun, by kind: networks, autoencoders, classical methods.
learned: Counter[str] = Counter()
_noted: ContextVar[list[dict] | None] = ContextVar("noted", default=None)


def networks() -> int:
    """Networks that this process has set out to train, autoencoders among them."""
    return learned["network"] + learned["autoencoder"]


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
    if noted is None:
        learned[kind] += 1
        return False
    noted.append({"kind": kind, **what})
    return True
