"""Where files live and how they are written: never half, never by two writers at once."""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from gexlib.errors import InputError

# What a file system answers when a folder cannot be written to: the user's matter, not a fault of the code.
_UNWRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
}


def home() -> Path:
    """Return the folder for cohorts, downloads and working results.

    Returns
    -------
    Path
        The environment variable ``GEXLIB_HOME`` where it is set, else ``gexlib`` in the user's cache folder
        of this platform. The folder need not exist yet.
    """
    given = os.environ.get("GEXLIB_HOME")
    if given:
        return Path(given).expanduser().absolute()
    return platformdirs.user_cache_path("gexlib")


def project_root() -> Path:
    """Return the folder that holds ``notebooks/`` and ``profiles/``.

    Returns
    -------
    Path
        The nearest such folder at or above the working directory, else the one that holds the package (an
        editable install).

    Raises
    ------
    InputError
        Neither place holds the notebooks.
    """
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "notebooks").is_dir() and (folder / "profiles").is_dir():
            return folder
    raise InputError(f"no notebooks/ and profiles/ at or above {here}: run this inside a clone of the project")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full or read-only ``folder`` into one clear InputError.

    Parameters
    ----------
    folder : Path
        The folder that the body writes to. Errors about files elsewhere pass unchanged.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        ours = named is None or folder in (named, *named.parents) or named in folder.parents
        unmade = error.errno == errno.ENOENT and not folder.exists()  # as below /proc
        if not (error.errno in _UNWRITABLE or unmade) or not ours:
            raise
        raise InputError(
            f"cannot write to {folder}: {os.strerror(error.errno)}; free space there, change its "
            "permissions, or set GEXLIB_HOME to another folder"
        ) from error


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Write a file beside its target and move it into place when it is whole.

    Parameters
    ----------
    target : path
        The file to write; its folder is made when it is missing.

    Yields
    ------
    Path
        A path in the same folder with the same suffix. It becomes ``target`` when the body ends, and is
        deleted when the body raises.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    target = Path(target)
    # The name is made here, not by tempfile: a file of mkstemp is readable by its owner alone.
    temporary = target.with_name(f".{uuid.uuid4().hex[:12]}-{target.name}")
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
