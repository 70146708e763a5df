"""Bring the files of a public cohort to this machine, checked byte by byte.

``GEXLIB_DATA`` names another place to take them from: a folder (its files are used where they lie and never
written to) or the base address of a mirror. Either way a file is looked for at
``<GEXLIB_DATA>/<cohort>/<file>``.

A download that breaks off goes on from where it was, in this process or a later one. Files whose SHA-256 their source
does not publish have it recorded in ``GEXLIB_HOME/digests``; from the first cohort that was made of them on (`confirm`)
they are checked against it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from gexlib.errors import InputError
from gexlib.files import atomic_path, home, sha256, writing

if TYPE_CHECKING:
    import requests

GIB = 2**30


@dataclass(frozen=True)
class Source:
    """Where a cohort's files come from.

    Attributes
    ----------
    locations : tuple of str
        Public base addresses, each ending in a slash, asked in this order.
    files : dict of str to str
        SHA-256 by file name, "" where none is published: the digest of the first download is then recorded.
    addresses : dict of str to str
        Whole addresses by file name, of files that are not found at location + name.
    optional : tuple of str
        Files that the cohort can do without.
    limit : int
        Bytes that no file exceeds.
    """

    locations: tuple[str, ...]
    files: dict[str, str]
    addresses: dict[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    limit: int = 64 * GIB

    def urls(self, file: str) -> list[str]:
        """Return the public addresses of a file, in the order to ask them."""
        return [self.addresses[file]] if file in self.addresses else [base + quote(file) for base in self.locations]


@dataclass(frozen=True)
class Fetched:
    """The files of a cohort that are at hand.

    Attributes
    ----------
    paths : tuple of Path
        The files, checked, in the order of the source's list.
    missing : tuple of str
        The names of those that the folder or mirror does not have.
    origins : dict of str to dict
        What was noted of each file when it came: ``sha256`` and, of a download, ``url``, ``date`` and the server's
        ``last_modified``, which tells releases apart.
    """

    paths: tuple[Path, ...]
    missing: tuple[str, ...]
    origins: dict[str, dict] = field(default_factory=dict, compare=False)

    def path(self, file: str) -> Path | None:
        """Return the file of this name, None where it is missing."""
        return next((path for path in self.paths if path.name == file), None)

    def needed(self, file: str) -> Path:
        """Return the file of this name.

        Raises
        ------
        InputError
            The folder or mirror that GEXLIB_DATA names does not have it.
        """
        path = self.path(file)
        if path is None:
            raise InputError(f"{file} is missing where GEXLIB_DATA points: put it there, or unset GEXLIB_DATA")
        return path


SOURCES = {
    "tcga-pairs": Source(
        ("https://raw.githubusercontent.com/Haocan223/MetaGSCA/7d51dbd863ea701496544d2186224f3f33f7d0cc/data/",),
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
        ("https://raw.githubusercontent.com/nrosed/ssPATHS/d4c0e364591ce9d588d79d40471b31c7b81db3cc/data/",),
        files={"tcga_expr_df.RData": "b81e18171e7b115592af9a80307c06cfc91fc82928699c5f92c68575fd3eafb2"},
    ),
    "microarray": Source(
        (
            "https://ftp.ebi.ac.uk/biostudies/fire/E-MTAB-/732/E-MTAB-3732/Files/",
            "https://www.ebi.ac.uk/biostudies/files/E-MTAB-3732/",
        ),
        files={"E-MTAB-3732.sdrf.txt": "", "E-MTAB-3732.processed.1.zip": "", "GPL570.annot.gz": ""},
        addresses={"GPL570.annot.gz": "https://ftp.ncbi.nlm.nih.gov/geo/platforms/GPLnnn/GPL570/annot/GPL570.annot.gz"},
        optional=("GPL570.annot.gz",),
    ),
    "deep-gonet": Source(
        ("https://entrepot.ibisc.univ-evry.fr/",),
        files={"X_train.npz": "", "X_test.npz": ""},
        addresses={
            "X_train.npz": "https://entrepot.ibisc.univ-evry.fr/f/5b57ab5a69de4f6ab26b/?dl=1",
            "X_test.npz": "https://entrepot.ibisc.univ-evry.fr/f/057f1ffa0e6c4aab9bee/?dl=1",
        },
    ),
}
RETRIES = 3  # attempts in a row that bring nothing
PAUSE = 2.0  # seconds before the second of them, twice as many before each further
TIMEOUT = 30  # seconds without an answer
#: How files of these kinds begin; any other kind must only not be a web page.
MAGIC = {".zip": (b"PK\x03\x04",), ".npz": (b"PK\x03\x04",), ".gz": (b"\x1f\x8b",)}
_CHUNK = 2**18


class _Answer(Exception):
    """An answer that will not get better when it is asked for again."""

    def __init__(self, what: str, absent: bool = False):
        super().__init__(what)
        self.absent = absent


def fetch(name: str, only: Iterable[str] | None = None, source: Source | None = None) -> Fetched:
    """Bring a cohort's files, or find them.

    Parameters
    ----------
    name : str
        A cohort of `SOURCES`, or of `source`: the name of its folder of downloads.
    only : iterable of str, optional
        The files to bring, with or without their ending (``["BRCA", "STAD"]``); all where it is not given.
    source : Source, optional
        Where the files come from, of a cohort that is not in `SOURCES`.

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
    source = source or _source(name)
    files = _chosen(name, source, only)
    folder, mirror = _place(name)
    if folder:
        found = {file: folder / file for file in files if (folder / file).is_file()}
        origins = {file: _checked(name, source, path) for file, path in found.items()}
    else:
        found, origins = _from_network(name, source, files, mirror)
    missing = tuple(file for file in files if file not in found)
    if not found and not set(files) <= set(source.optional):
        raise InputError(
            f"cohort {name}: found none of {', '.join(files)} at {folder or mirror}; correct GEXLIB_DATA, "
            "or unset it to download from the public source"
        )
    return Fetched(tuple(found.values()), missing, origins)


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
        return fetch(name) if any((folder / file).is_file() for file in source.files) else None
    paths = [downloads(name) / file for file in source.files]
    if all(path.is_file() and sha256(path) == _known(name, source, path.name) for path in paths):
        return Fetched(tuple(paths), (), _digests(name))
    return None


def asked(name: str) -> str:
    """Say where a cohort's files are looked for."""
    folder, mirror = _place(name)
    return f"GEXLIB_DATA points, {folder or mirror}" if folder or mirror else "its public source keeps them"


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


def _digest_file(name: str) -> Path:
    return home() / "digests" / f"{name}.json"


def _digests(name: str) -> dict[str, dict]:
    """Return what was noted of the files when they were first used."""
    path = _digest_file(name)
    if not path.is_file():
        return {}
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        return {file: {**entry, "sha256": str(entry["sha256"])} for file, entry in noted.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}): delete it; digests are then recorded anew") from error


def _known(name: str, source: Source, file: str) -> str:
    """Return the digest that a file must have, "" where no cohort was made of it yet."""
    noted = _digests(name).get(file, {})
    return source.files[file] or (noted["sha256"] if noted.get("used") else "")


def _note(name: str, entries: dict[str, dict]) -> dict[str, dict]:
    """Note the digests of files and where they came from; what is noted of the same content already stays."""
    with locked(_digest_file(name)):
        noted = _digests(name)
        for file, entry in entries.items():
            same = noted.get(file, {}).get("sha256") == entry["sha256"]
            noted[file] = entry | (noted[file] if same else {}) | ({"used": True} if entry.get("used") else {})
        with atomic_path(_digest_file(name)) as path:
            path.write_text(json.dumps(noted, indent=1), encoding="utf-8")
    return noted


def confirm(name: str, files: Fetched) -> None:
    """Note that a cohort was made of these files: others in their place are refused from now on."""
    if entries := {file: {**entry, "used": True} for file, entry in files.origins.items()}:
        _note(name, entries)


def _checked(name: str, source: Source, path: Path) -> dict:
    """Check a file of the user's folder, whose digest is noted at first use."""
    known = _known(name, source, path.name)
    try:
        digest = sha256(path)
        what = "" if digest == known else _wrong_kind(path.name, _head(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; change its permissions") from error
    if what or (known and digest != known):
        address, recorded = source.urls(path.name)[0], "" if source.files[path.name] else _recorded(name)
        what = what or f"another file ({path.stat().st_size} bytes)"
        raise InputError(f"{path} is {what}{recorded}: put {address} in its place, or delete it")
    if source.files[path.name]:
        return {"sha256": digest}
    return _note(name, {path.name: {"sha256": digest, "path": str(path), "date": _today()}})[path.name]


def _recorded(name: str) -> str:
    return f" than the one whose digest was recorded at first use (delete {_digest_file(name)} if it has a new release)"


def _from_network(
    name: str, source: Source, files: list[str], mirror: str | None
) -> tuple[dict[str, Path], dict[str, dict]]:
    """Download the files; those that a mirror does not have are left out."""
    found, origins = {}, {}
    for file in files:
        target = downloads(name) / file
        tried = []
        for url in [mirror + quote(file)] if mirror else source.urls(file):
            try:
                origins[file] = _bring(name, source, url, target)
                found[file] = target
                break
            except _Answer as answer:
                tried.append((url, answer))
        else:
            absent = all(answer.absent for _, answer in tried)
            if absent and (mirror or file in source.optional):
                continue
            raise _by_hand(tried, target)
    return found, origins


def _bring(name: str, source: Source, url: str, target: Path) -> dict:
    """Download one file, or find it whole; return what is noted of it."""
    with locked(target):
        known = _known(name, source, target.name)
        noted = _digests(name).get(target.name, {})
        if target.is_file() and known and sha256(target) == known:
            return noted or {"sha256": known}
        if target.is_file() and not known:  # not used yet, or put there by hand
            if what := _wrong_kind(target.name, _head(target)):
                raise InputError(f"{target} is {what}: delete it")
            entry = {"sha256": sha256(target), "path": str(target), "date": _today()}
            return _note(name, {target.name: entry})[target.name]
        part = target.with_name(f".{target.name}.part")
        last_modified = _download(url, part, source.limit)
        digest = sha256(part)
        if known and digest != known:
            _discard(part)
            raise _Answer("a file with another SHA-256" + ("" if source.files[target.name] else _recorded(name)))
        os.replace(part, target)
        entry = {"sha256": digest, "url": url, "date": _today(), "last_modified": last_modified}
        return _note(name, {target.name: entry})[target.name]


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Let one process at a time work on a file; the others wait for it."""
    from filelock import FileLock

    folder = home() / "locks"
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{target.parent.name}-{target.name}.lock"), writing(target.parent):
        yield


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def _download(url: str, part: Path, limit: int) -> str:
    """Download to `part`, going on from what is there; return the server's date of the file.

    Beside the part lies what the server said of the file, so that a part of another release is not continued.
    """
    import requests

    in_vain = 0
    with requests.Session() as session:
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                return _receive(session, url, part, limit)
            except _Answer:
                _discard(part)
                raise
            except requests.RequestException as error:
                brought = part.exists() and part.stat().st_size > before
                in_vain = 0 if brought else in_vain + 1
                if in_vain >= RETRIES:
                    raise _Answer(_what_came_back(error)) from error
            time.sleep(PAUSE * 2 ** (in_vain - 1) if in_vain else 0)


def _discard(part: Path) -> None:
    """Delete what a download has brought so far."""
    for path in (part, _said(part)):
        path.unlink(missing_ok=True)


def _said(part: Path) -> Path:
    """Return the file that keeps what the server said of a part."""
    return part.with_name(part.name + ".json")


def _receive(session: requests.Session, url: str, part: Path, limit: int) -> str:
    """Ask once for what is missing of a file and add it to `part`."""
    import requests
    from tqdm import tqdm
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    name, said = part.name.strip(".").removesuffix(".part"), _said(part)
    have, seen = _begun(part, said, url)
    headers = {"Accept-Encoding": "identity"}  # the file's own bytes, also where they are compressed
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": seen}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if urlsplit(url).scheme == "https" and urlsplit(answer.url).scheme != "https":
            raise _Answer(f"a redirection to {answer.url}, which is not encrypted")
        status, length = answer.status_code, _number(answer.headers.get("Content-Length"))
        goes_on = status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if status == 416 or (status == 206 and not goes_on):  # the part is not of this file
            _discard(part)
            raise requests.ConnectionError(f"HTTP status {status}, which does not fit")
        if 400 <= status < 500 and status not in (408, 429):
            raise _Answer(f"HTTP status {status}", absent=status in (404, 410))
        answer.raise_for_status()
        have = have if goes_on else 0  # a server without ranges sends all of it again
        total = None if length is None else have + length
        _refuse_large(total or 0, limit, part.parent, have)
        etag = answer.headers.get("ETag", "")
        weak = etag.startswith("W/")  # equal in meaning, not byte for byte
        validator = etag if etag and not weak else answer.headers.get("Last-Modified", "")
        said.write_text(json.dumps({"url": url, "validator": validator}))
        bar = tqdm(
            desc=name, total=total, initial=have, unit="B", unit_scale=True,
            dynamic_ncols=True, disable=not sys.stderr.isatty(),
        )  # fmt: skip
        with bar, open(part, "ab" if goes_on else "wb") as file:
            head = b"" if goes_on else None
            try:
                while chunk := answer.raw.read(_CHUNK, decode_content=False):
                    if head is None:
                        head = chunk[:256]
                        if what := _wrong_kind(name, head):
                            raise _Answer(f"{what} instead of the file")
                    file.write(chunk)
                    bar.update(len(chunk))
                    _refuse_large(file.tell(), limit)
            except ReadTimeoutError as error:
                raise requests.Timeout(error) from error
            except HTTPError as error:  # it broke off
                raise requests.exceptions.ChunkedEncodingError(error) from error
        if total is not None and part.stat().st_size != total:
            raise requests.exceptions.ChunkedEncodingError(f"{part.stat().st_size} of {total} bytes")
    said.unlink(missing_ok=True)
    return answer.headers.get("Last-Modified", "")


def _begun(part: Path, said: Path, url: str) -> tuple[int, str]:
    """Return how many bytes of this file an earlier download brought, and what tells that it is the same file."""
    try:
        seen = json.loads(said.read_text())
        have = part.stat().st_size
    except (OSError, ValueError):
        return 0, ""
    same = isinstance(seen, dict) and seen.get("url") == url and seen.get("validator")
    return (have, str(seen["validator"])) if same else (0, "")


def _refuse_large(size: int, limit: int, folder: Path | None = None, have: int = 0) -> None:
    """Refuse more bytes than a file of the source can have, or than the disk can take."""
    if size > limit:
        raise _Answer(f"more than the {limit / GIB:.3g} GiB that this file can have")
    if folder and size - have > (free := shutil.disk_usage(folder).free):
        raise InputError(
            f"cannot write to {folder}: {(size - have) / GIB:.1f} GiB are needed, {free / GIB:.1f} GiB are free; free "
            "space there, or set GEXLIB_HOME to another folder"
        )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(256)


def _wrong_kind(file: str, head: bytes) -> str:
    """Say what a file is instead of what its name promises, "" where it begins rightly."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "an HTML page"
    magic = MAGIC.get(Path(file).suffix)
    return f"no {Path(file).suffix} file" if magic and not head.startswith(magic) else ""


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
    if isinstance(error, requests.exceptions.SSLError):
        return "a certificate that cannot be trusted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "an error of the proxy that the environment names"
    if isinstance(error, requests.ConnectionError):
        text = str(error)
        if "NameResolution" in text or "getaddrinfo" in text:
            return "no such host (name not resolved)"
        return "connection refused" if "refused" in text else f"no connection ({text})"
    return f"{type(error).__name__}: {error}"


def _by_hand(tried: list[tuple[str, _Answer]], target: Path) -> InputError:
    came = "; ".join(f"{url} could not be fetched, what came back was: {what}" for url, what in tried)
    return InputError(f"{came}; try again later, or download it by hand, save it as {target} and fetch again")
