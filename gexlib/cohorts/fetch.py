"""Bring the files of a public cohort to this machine, checked byte by byte.

``GEXLIB_DATA`` names another place to take them from: a folder (its files are used where they lie and never
written to) or the base address of a mirror. Either way a file is looked for at
``<GEXLIB_DATA>/<cohort>/<file>``.
"""

import errno
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.request import url2pathname

from gexlib.errors import InputError
from gexlib.files import home, sha256, writing


@dataclass(frozen=True)
class Source:
    """Where a cohort's files come from.

    Attributes
    ----------
    base_url : str
        The public address, ending in a slash, pinned to one revision.
    files : dict of str to str
        SHA-256 by file name.
    """

    base_url: str
    files: dict[str, str]


@dataclass(frozen=True)
class Fetched:
    """The files of a cohort that are at hand.

    Attributes
    ----------
    paths : tuple of Path
        The files, checked, in the order of the source's list.
    missing : tuple of str
        The names of those that the folder or mirror does not have.
    """

    paths: tuple[Path, ...]
    missing: tuple[str, ...]


SOURCES = {
    "tcga-pairs": Source(
        base_url="https://raw.githubusercontent.com/Haocan223/MetaGSCA/7d51dbd863ea701496544d2186224f3f33f7d0cc/data/",
        files={
            "BRCA.RData": "54f27234276769abaa3defa6703c4de38eec742c96c46056f4b22362b432de3e",
            "COAD.RData": "022feee4f4af3cabfc7df304dbd8e5e01f8865b4e5e4dbbc74a79f95d990f19d",
            "HNSC.RData": "f165b4db1d8eb387f4211c01a45b682070ec972c0c24638248c489628a394402",
            "KIRC.RData": "0e8b6df0809769aaabea155654d71579fcf2c83f38282a8077db116c6b75e60d",
            "KIRP.RData": "c508d1c1d6311ff444f8357c42d4bb13eb81daa1315cf690113b791b027af5eb",
            "LIHC.RData": "e0f36832df45c5fa9096e2c08760174ebd957256c3a0a10875682c8c870adfb5",
            "LUAD.RData": "9c6d31f1794acddfcd8b458fd5bd9cafe3efe1d73b11142185b5f6d067abf9d6",
            "LUSC.RData": "21e8498cea65284c18f185162cc5c80816efc5459e785035f5637994ed79790f",
            "PRAD.RData": "e9ae84c2f970fc4d3989037310bf8fc71743ba1e911e5cf4df13ccd03d754e4d",
            "STAD.RData": "dc0709988e3dcc8295ae3034a6382170abeadd76240a0f14ee4a393bdf4c6879",
            "THCA.RData": "2d96aabb10779bfa49b30f5d13f5b8decf8739303e5fd099b3151440ce95f150",
        },
    ),
    "tcga-hypoxia": Source(
        base_url="https://raw.githubusercontent.com/nrosed/ssPATHS/d4c0e364591ce9d588d79d40471b31c7b81db3cc/data/",
        files={"tcga_expr_df.RData": "b81e18171e7b115592af9a80307c06cfc91fc82928699c5f92c68575fd3eafb2"},
    ),
}
RETRIES = 2
TIMEOUT = 30  # seconds without an answer


class _Answer(Exception):
    """An answer that will not get better when it is asked for again."""

    def __init__(self, what: str, absent: bool = False):
        super().__init__(what)
        self.absent = absent


def fetch(name: str, only: Iterable[str] | None = None) -> Fetched:
    """Bring a cohort's files, or find them.

    Parameters
    ----------
    name : str
        A cohort of `SOURCES`.
    only : iterable of str, optional
        The files to bring, with or without their ending (``["BRCA", "STAD"]``); all where it is not given.

    Returns
    -------
    Fetched
        Downloads lie under ``GEXLIB_HOME/downloads/<name>``; files that are there and whole are not asked for
        again. A folder or mirror need not have them all; the public source must.

    Raises
    ------
    InputError
        A file cannot be had or is not the right one, none of them is there, or ``name`` or ``only`` is
        unknown. The message says which address, what came back, and where to put the file by hand.
    """
    source = _source(name)
    files = _chosen(name, source, only)
    folder, base_url = _place(name)
    if folder:
        found = _from_folder(folder, source, files)
    else:
        found = _from_network(base_url or source.base_url, name, source, files, partial=base_url is not None)
    missing = tuple(file for file in files if file not in found)
    if not found:
        raise InputError(
            f"cohort {name}: found none of {', '.join(files)} at {folder or base_url}; correct GEXLIB_DATA, "
            "or unset it to download from the public source"
        )
    return Fetched(tuple(found.values()), missing)


def at_hand(name: str) -> Fetched | None:
    """Return a cohort's files where nothing need be downloaded.

    Parameters
    ----------
    name : str
        A cohort of `SOURCES`.

    Returns
    -------
    Fetched or None
        What the folder ``GEXLIB_DATA`` has of them, or the complete set of earlier downloads. An incomplete
        set of downloads is that of an interrupted run: None.

    Raises
    ------
    InputError
        A file in the folder is not the right one.
    """
    source = _source(name)
    folder, _ = _place(name)
    if folder:
        found = _from_folder(folder, source, list(source.files))
        missing = tuple(file for file in source.files if file not in found)
        return Fetched(tuple(found.values()), missing) if found else None
    paths = [downloads(name) / file for file in source.files]
    if all(path.is_file() and sha256(path) == source.files[path.name] for path in paths):
        return Fetched(tuple(paths), ())
    return None


def downloads(name: str) -> Path:
    """Return the folder in which this cohort's downloads are kept."""
    return home() / "downloads" / name


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise InputError(f"no cohort {name} to fetch: there is {', '.join(SOURCES)}")
    return SOURCES[name]


def _chosen(name: str, source: Source, only: Iterable[str] | None) -> list[str]:
    """Return the file names to bring, in the source's order."""
    if only is None:
        return list(source.files)
    by_stem = {Path(file).stem: file for file in source.files}
    wanted = {by_stem.get(item, item) for item in ([only] if isinstance(only, str) else only)}
    unknown = sorted(wanted - set(source.files))
    if unknown or not wanted:
        raise InputError(
            f"cohort {name} has no file {', '.join(unknown) or 'of an empty list'}: choose from {', '.join(by_stem)}"
        )
    return [file for file in source.files if file in wanted]


def _place(name: str) -> tuple[Path | None, str | None]:
    """Return (folder, None), (None, mirror address) or, without GEXLIB_DATA, (None, None)."""
    given = os.environ.get("GEXLIB_DATA", "").strip()
    if not given:
        return None, None
    if given.lower().startswith(("http://", "https://")):
        return None, f"{given.rstrip('/')}/{name}/"
    local = url2pathname(given[len("file://") :]) if given.lower().startswith("file://") else given
    base = Path(local).expanduser().absolute()
    if not base.is_dir():
        raise InputError(
            f"GEXLIB_DATA={given} is neither a folder nor an address that begins with http: correct it or unset it"
        )
    return base / name, None


def _from_folder(folder: Path, source: Source, files: list[str]) -> dict[str, Path]:
    """Return those of the files that the folder has; each must be the right one."""
    found = {}
    for file in files:
        path = folder / file
        if not path.is_file():
            continue
        try:
            right = sha256(path) == source.files[file]
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; change its permissions") from error
        if not right:
            what = "an HTML page" if _is_html(path) else f"another file ({path.stat().st_size} bytes)"
            raise InputError(f"{path} is {what}: put {source.base_url}{file} in its place, or delete it")
        found[file] = path
    return found


def _from_network(base_url: str, name: str, source: Source, files: list[str], partial: bool) -> dict[str, Path]:
    """Download the files; where ``partial``, those that the address does not have are left out."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its one line a file would break the progress bar
    folder = downloads(name)
    store = pooch.create(folder, base_url, registry=source.files, retry_if_failed=RETRIES)
    found = {}
    for file in files:
        try:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    found[file] = Path(store.fetch(file, downloader=_download))
                except PermissionError as error:  # pooch's own, without a number
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder)) from error
        except _Answer as answer:
            if not (partial and answer.absent):
                raise _by_hand(base_url + file, str(answer), folder / file) from answer
        except InputError:
            raise
        except (OSError, ValueError) as error:  # those of requests are OSErrors; ValueError is a wrong digest
            raise _by_hand(base_url + file, _what_came_back(error), folder / file) from error
    return found


def _download(url: str, target: str, store) -> None:
    """Download one file for pooch, which retries, checks the digest and moves it into place."""
    import pooch
    import requests

    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16, timeout=TIMEOUT)
    try:
        download(url, target, store)
    except requests.HTTPError as error:
        error.response.close()  # pooch does not
        status = error.response.status_code
        if 400 <= status < 500 and status not in (408, 429):
            raise _Answer(f"HTTP status {status}", absent=status in (404, 410)) from error
        raise
    if _is_html(Path(target)):
        raise _Answer("an HTML page instead of the file")


def _is_html(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return head.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--"))


def _what_came_back(error: Exception) -> str:
    """Say in words what a failed download ended with."""
    import requests

    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "a file that broke off half-way"
    if isinstance(error, requests.exceptions.ProxyError):
        return "an error of the proxy that the environment names"
    if isinstance(error, requests.ConnectionError):
        text = str(error)
        if "NameResolution" in text or "getaddrinfo" in text:
            return "no such host (name not resolved)"
        return "connection refused" if "refused" in text else f"no connection ({text})"
    if isinstance(error, ValueError) and "hash" in str(error):
        return "a file with another SHA-256"
    return f"{type(error).__name__}: {error}"


def _by_hand(url: str, what: str, target: Path) -> InputError:
    return InputError(
        f"{url} could not be fetched, what came back was: {what}; try again later, or download it by hand, "
        f"save it as {target} and fetch again"
    )
