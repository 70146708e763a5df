"""The one exception that a user can cause."""

from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the file or parameter, says what is wrong with it and what to do.
    The command line prints it without a traceback and ends with status 2. Ends of lines, as names in a user's file may
    have them, become spaces.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.splitlines()))


def few(items: Iterable, most: int = 3) -> str:
    """Return the first of some names for a message, none of them longer than a message can bear."""
    names = [shortened(item) for item in items]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shortened(item: object, most: int = 50) -> str:
    """Return a name, its end left out where it is long."""
    text = str(item)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def numbered(n: int, what: str) -> str:
    """Return a number and what is counted, in the plural where there is not one."""
    return f"{n} {what}" + ("" if n == 1 else "s")
