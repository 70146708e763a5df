"""The working store: rows of every cell that ran, under ``GEXLIB_HOME/store``, a folder an experiment.

Every process that writes has a segment of its own and only appends to it, a line a cell, so that any number of
processes on any number of machines may write at once and none waits for another; nothing here needs file locks, which
network file systems do not keep. A line is whole when its checksum is right: what a killed process left half-written
counts as not written. `Store.collect` packs the segments of processes that have ended into one compressed file.

    <checksum> <key> <fingerprint> <done|failed> <date> <seconds> <networks> <JSON: cell, stamp, rows or error>

A claim, a file that only one process can create, keeps two runs from computing the same group of cells. It holds as
long as its writer lives, which a file that the writer touches every few seconds shows.
"""

from __future__ import annotations

import atexit
import gzip
import hashlib
import io
import json
import os
import socket
import threading
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import psutil

from gexlib.errors import InputError
from gexlib.files import atomic_path, home, writing
from gexlib.results import Cell

DONE, FAILED = "done", "failed"
BEAT = 5.0  # seconds between two signs of life, and the most that a power cut costs
SILENCE = 300.0  # seconds without one after which a writer elsewhere is gone: machines cache what a folder holds
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
MEMBER = 1000  # cells in a pack that are compressed together: damage costs no more


class Entry(NamedTuple):
    """A line of the store without its rows: who computed a cell, how it ended, where the line stands."""

    fingerprint: str
    state: str
    date: str
    seconds: float
    networks: int
    file: str = ""
    start: int = 0
    length: int = 0

    def outranks(self, other: Entry) -> bool:
        """Whether this line counts and the other, of the same cell and code, does not."""
        return (self.state == DONE, self.date) > (other.state == DONE, other.date)


class Claim(NamedTuple):
    """Cells that a process, for a run, has set out to compute."""

    writer: str
    runner: str
    keys: tuple[str, ...]


def open_store(folder: Path | None = None) -> Store:
    """Return this process's store in a folder: tasks that arrive one by one share index and segment."""
    return _opened_once(folder or home() / "store")


@lru_cache(maxsize=8)
def _opened_once(folder: Path) -> Store:
    return Store(folder)


class Store:
    """The working store of a folder; see the module for its layout."""

    def __init__(self, folder: Path | None = None):
        self.folder = Path(folder or home() / "store")
        #: Sentences about files that are damaged; the cells that stood there count as missing.
        self.damage: dict[str, str] = {}
        self._kept: dict[str, dict[str, dict[str, Entry]]] = {}  # experiment, key, fingerprint
        self._read_to: dict[str, dict[str, int]] = {}  # experiment, file: bytes that are in the index
        self._segments: dict[str, int] = {}  # experiment: descriptor of this process's segment
        self._unsynced: set[str] = set()
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._beating: threading.Event | None = None
        self.writer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def __reduce__(self):  # noqa: D105
        return open_store, (self.folder,)

    # Reading

    def refresh(self, experiment: str) -> dict[str, Entry]:
        """Read what was written since the last call; return the new lines by cell."""
        with self._lock:
            kept = self._kept.setdefault(experiment, {})
            read_to = self._read_to.setdefault(experiment, {})
            files = {path.name: path for path in self._files(experiment)}
            if read_to.keys() - files.keys():  # collected meanwhile: what they held stands elsewhere
                kept.clear()
                read_to.clear()
            new = {}
            for path in files.values():
                try:
                    lines = self._new_lines(path, read_to)
                except FileNotFoundError:
                    continue
                for key, entry in lines:
                    of_cell = kept.setdefault(key, {})
                    if entry.fingerprint not in of_cell or entry.outranks(of_cell[entry.fingerprint]):
                        of_cell[entry.fingerprint] = new[key] = entry
            return new

    def entries(self, experiment: str) -> dict[str, dict[str, Entry]]:
        """Return all lines that count: by cell, then by fingerprint of the code."""
        self.refresh(experiment)
        return self._kept[experiment]

    def entry(self, cell: Cell, fingerprint: str) -> Entry | None:
        """Return the line of a cell computed by this code, as of the last `refresh`."""
        return self._kept.get(cell.experiment, {}).get(cell.key, {}).get(fingerprint)

    def read(self, cell: Cell, fingerprint: str) -> list[dict] | None:
        """Rows of a cell computed by this code; None when missing, failed, by other code, or damaged."""
        self.refresh(cell.experiment)
        return next((rows for _, rows in self.rows([cell], fingerprint)), None)

    def rows(self, cells: Iterable[Cell], fingerprint: str) -> Iterator[tuple[Cell, list[dict]]]:
        """Yield those of the cells that are done by this code, with their rows."""
        cells = list(cells)
        for cell, content in self._contents(cells, fingerprint, DONE):
            common = {**content["stamp"], "key": cell.key, "cell": cell.json}
            yield cell, [{**content["same"], **row, **common} for row in content["each"]]

    def failures(self, cells: Iterable[Cell], fingerprint: str) -> Iterator[tuple[Cell, dict]]:
        """Yield those of the cells that failed in this code, with their error (type, message, traceback) and stamp."""
        for cell, content in self._contents(list(cells), fingerprint, FAILED):
            yield cell, {**content["error"], **content["stamp"]}

    def cells(self, experiment: str) -> Iterator[tuple[Cell, Entry]]:
        """Yield every cell kept, whatever code computed it, with the line that counts, newest code last."""
        lines = [(key, entry) for key, of_cell in self.entries(experiment).items() for entry in of_cell.values()]
        for _, entry, text in self._texts(experiment, lines):
            yield Cell.from_json(json.loads(text)["cell"]), entry

    def _contents(self, cells: list[Cell], fingerprint: str, state: str) -> Iterator[tuple[Cell, dict]]:
        texts: dict[str, bytes] = {}
        for experiment in dict.fromkeys(cell.experiment for cell in cells):
            for _ in range(2):  # a file may be collected between the index and the reading
                self.refresh(experiment)
                wanted = {
                    cell.key: entry
                    for cell in cells
                    if cell.key not in texts and (entry := self.entry(cell, fingerprint)) and entry.state == state
                }
                texts |= {key: text for key, _, text in self._texts(experiment, wanted.items())}
        for cell in cells:
            if cell.key in texts and (content := json.loads(texts[cell.key]))["cell"] == cell.json:
                yield cell, content

    def _texts(self, experiment: str, lines: Iterable[tuple[str, Entry]]) -> Iterator[tuple[str, Entry, bytes]]:
        """Read the JSON of some lines, file by file; those of files that are gone are left out."""
        by_file = sorted(lines, key=lambda line: (line[1].file, line[1].start))
        for name, of_file in groupby(by_file, key=lambda line: line[1].file):
            path = self.folder / experiment / name
            try:
                with _opened(path) as file:
                    for key, entry in of_file:
                        file.seek(entry.start)
                        yield key, entry, file.read(entry.length)
            except FileNotFoundError:
                continue

    def _files(self, experiment: str) -> list[Path]:
        try:
            return sorted(
                path
                for path in (self.folder / experiment).iterdir()
                if path.name.endswith((".jsonl", ".jsonl.gz")) and not path.name.startswith(".")
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _new_lines(self, path: Path, read_to: dict[str, int]) -> list[tuple[str, Entry]]:
        """Index the whole lines of a file that are not in the index yet."""
        begun = read_to.get(path.name, 0)
        if path.suffix == ".gz":
            if begun:
                return []
            status = path.stat()
            content, damaged = _unpacked(path, status.st_mtime_ns)
            read_to[path.name] = max(status.st_size, 1)
        else:
            if path.stat().st_size <= begun:
                return []
            with open(path, "rb") as file:
                file.seek(begun)
                content = file.read()
            content = content[: content.rfind(b"\n") + 1]  # the last line is not whole: being written, or never will be
            read_to[path.name] = begun + len(content)
            damaged = 0
        found, broken = _entries(path.name, content, 0 if path.suffix == ".gz" else begun)
        damaged += broken
        if damaged:
            self.damage[str(path)] = (
                f"{path} is damaged: what {damaged} of its lines held counts as missing, and is computed again when "
                "the same command is given again."
            )
        return found

    # Writing

    def write(self, cell: Cell, rows: list[dict], stamp: dict, networks: int = 0) -> None:
        """Keep a cell's rows with its provenance (`gexlib.provenance.stamp`).

        Raises
        ------
        InputError
            The store cannot be written to; nothing that stands in it is touched.
        """
        same, each = _shared(rows)
        self._append(cell, DONE, stamp, networks, {"same": same, "each": each})

    def write_failure(self, cell: Cell, error: dict, stamp: dict) -> None:
        """Keep why a cell failed: type, message and traceback."""
        self._append(cell, FAILED, stamp, 0, {"error": error})

    def _append(self, cell: Cell, state: str, stamp: dict, networks: int, content: dict) -> None:
        text = json.dumps({"cell": cell.json, "stamp": stamp, **content}, separators=(",", ":")).encode()
        entry = Entry(stamp["fingerprint"], state, stamp["date"], stamp["seconds"], networks)
        line = _line(cell.key, entry, text)
        folder = self.folder / cell.experiment
        with self._lock, writing(self.folder):
            self._own_process()
            segment = self._segments.get(cell.experiment)
            if segment is not None and not os.fstat(segment).st_nlink:  # collected: this process was taken for dead
                self._close(cell.experiment)
            if cell.experiment not in self._segments:
                folder.mkdir(parents=True, exist_ok=True)
                name = folder / f"{self.writer}-{uuid.uuid4().hex[:4]}.jsonl"
                self._segments[cell.experiment] = os.open(name, _NEW | os.O_APPEND, 0o644)
                self.live()
            segment = self._segments[cell.experiment]
            try:
                while line:
                    line = line[os.write(segment, line) :]
            except OSError:  # what was written of the line is behind the last whole one: nothing may follow it
                self._close(cell.experiment)
                raise
            self._unsynced.add(cell.experiment)

    def sync(self) -> None:
        """Bring what was written to the disk, so that a power cut does not take it and other machines see it."""
        with self._lock:
            for experiment in list(self._unsynced):
                with suppress(OSError, KeyError):
                    os.fsync(self._segments[experiment])
                self._unsynced.discard(experiment)

    def _close(self, experiment: str) -> None:
        """End this process's segment; what it writes next goes to a new one."""
        self.sync()
        segment = self._segments.pop(experiment, None)
        if segment is not None:
            os.close(segment)

    def _own_process(self) -> None:
        """Give a forked process a name and segments of its own."""
        if self._process != os.getpid():
            self._process, self._segments, self._unsynced, self._beating = os.getpid(), {}, set(), None
            self.writer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    # Signs of life, and claims

    def live(self) -> None:
        """Show signs of life from now on, until this process ends."""
        with self._lock, writing(self.folder):
            self._own_process()
            if self._beating:
                return
            sign = self.folder / "alive" / self.writer
            sign.parent.mkdir(parents=True, exist_ok=True)
            sign.touch()
            self._beating = over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT):
                with suppress(OSError):
                    sign.touch()
                self.sync()

        threading.Thread(target=beat, daemon=True, name="gexlib-alive").start()
        atexit.register(self.close)

    def close(self) -> None:
        """End this process's segments and signs of life; a later write begins new ones."""
        with self._lock:
            self._own_process()
            for experiment in list(self._segments):
                self._close(experiment)
            if self._beating:
                self._beating.set()
                self._beating = None
                (self.folder / "alive" / self.writer).unlink(missing_ok=True)

    def is_alive(self, writer: str) -> bool:
        """Whether a process still lives: on this machine by its number, elsewhere by its signs of life."""
        try:
            host, process, _ = writer.rsplit("-", 2)
            silent = time.time() - (self.folder / "alive" / writer).stat().st_mtime
            if host == socket.gethostname() and psutil.Process(int(process)).status() == psutil.STATUS_ZOMBIE:
                return False
        except (OSError, ValueError, psutil.NoSuchProcess):
            return False
        return silent < SILENCE

    def claim(self, experiment: str, group: str, keys: Iterable[str], runner: str = "") -> bool:
        """Claim a group of cells for this process; False where another that lives has it.

        The claim of another process for the same runner is taken over: a runner has a group once, so that one died.
        """
        self.live()
        path = self._claim(experiment, group)
        content = json.dumps([self.writer, runner, *keys])
        with writing(self.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(3):
                try:
                    file = os.open(path, _NEW, 0o644)
                except FileExistsError:
                    if not self._without_owner(path, runner):
                        return False
                else:
                    with os.fdopen(file, "w") as opened:
                        opened.write(content)
                    return True
        return False

    def release(self, experiment: str, group: str) -> None:
        """Give a claim back."""
        with suppress(OSError):
            self._claim(experiment, group).unlink()

    def claims(self, experiment: str) -> list[Claim]:
        """Return the claims of processes that live."""
        try:
            read = [_read_claim(path) for path in (self.folder / experiment / "claims").iterdir()]
        except FileNotFoundError:
            return []
        return [claim for claim in read if claim and self.is_alive(claim.writer)]

    def orphaned(self, experiment: str, group: str, runner: str) -> bool:
        """Whether a group has a claim for this runner, whose task of it has ended."""
        claim = _read_claim(self._claim(experiment, group))
        return claim is not None and claim.runner == runner

    def _claim(self, experiment: str, group: str) -> Path:
        return self.folder / experiment / "claims" / hashlib.sha256(group.encode()).hexdigest()[:24]

    def _without_owner(self, path: Path, runner: str = "") -> bool:
        """Remove a claim whose writer is gone, or of this runner; False where the writer lives."""
        claim = _read_claim(path)
        if claim is None:  # being written just now, unless that was long ago
            try:
                if time.time() - path.stat().st_mtime < BEAT:
                    return False
            except OSError:
                return True
        elif self.is_alive(claim.writer) and not (runner and claim.runner == runner):
            return False
        aside = path.with_name(f".{uuid.uuid4().hex}")
        try:
            os.rename(path, aside)  # one process only can do this
        except FileNotFoundError:
            return True
        if _read_claim(aside) != claim:  # another was quicker, and this is its claim
            os.rename(aside, path)
            return False
        aside.unlink(missing_ok=True)
        return True

    # Code, and packing

    def keep_code(self, experiment: str, fingerprint: str, parts: dict[str, str]) -> None:
        """Keep what a fingerprint stands for, so that a later one can be told apart definition by definition."""
        path = self.folder / experiment / "code" / f"{fingerprint}.json"
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(parts, indent=0))

    def code(self, experiment: str, fingerprint: str) -> dict[str, str] | None:
        """Return what a fingerprint stands for; None where it is not known."""
        try:
            return json.loads((self.folder / experiment / "code" / f"{fingerprint}.json").read_text())
        except (OSError, ValueError):
            return None

    def experiments(self) -> list[str]:
        """Names of the experiments that have something here."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and path.name != "alive")
        except (FileNotFoundError, NotADirectoryError):
            return []

    def files(self, experiment: str) -> tuple[int, int]:
        """Return how many files the lines of an experiment stand in, and their bytes."""
        sizes = [path.stat().st_size for path in self._files(experiment)]
        return len(sizes), sum(sizes)

    def collect(self, experiment: str) -> tuple[int, int]:
        """Pack the lines of processes that have ended into one compressed file.

        Lines that count no more, of cells done twice or failed before they were done, are left out. Files that are
        damaged are kept beside, in ``damaged/``.

        Returns
        -------
        files, cells : int
            Packed; 0, 0 where there was nothing to pack or another process is at it.
        """
        with self._lock:
            if not self.claim(experiment, "collect", ()):
                return 0, 0
            try:
                self._close(experiment)
                self._kept.pop(experiment, None)
                self._read_to.pop(experiment, None)
                ended = [
                    path
                    for path in self._files(experiment)
                    if path.suffix == ".gz"
                    or (writer := path.name.rsplit("-", 1)[0]) == self.writer
                    or not self.is_alive(writer)
                ]
                kept = self.entries(experiment)
                if len(ended) < 2 and not any(path.suffix == ".jsonl" for path in ended):
                    return 0, 0
                packed = {path.name for path in ended}
                lines = [
                    (key, entry) for key, of_cell in kept.items() for entry in of_cell.values() if entry.file in packed
                ]
                target = self.folder / experiment / f"pack-{uuid.uuid4().hex[:12]}.jsonl.gz"
                with atomic_path(target) as temporary, open(temporary, "wb") as file:
                    written = (_line(*line) for line in self._texts(experiment, lines))
                    while some := b"".join(islice(written, MEMBER)):
                        file.write(gzip.compress(some, mtime=0))
                    file.flush()
                    os.fsync(file.fileno())
                    again, damaged = _unpacked(temporary, 0)
                    if len(_entries("", again, 0)[0]) != len(lines) or damaged:
                        raise InputError(f"{temporary} cannot be read back as it was written; nothing was removed.")
                for path in ended:
                    if str(path) in self.damage:
                        with writing(self.folder):
                            (path.parent / "damaged").mkdir(exist_ok=True)
                            os.replace(path, path.parent / "damaged" / path.name)
                    else:
                        path.unlink(missing_ok=True)
                self._tidy(experiment)
                return len(ended), len(lines)
            finally:
                self.release(experiment, "collect")

    def _tidy(self, experiment: str) -> None:
        """Remove claims and signs of life of processes that are gone."""
        with suppress(FileNotFoundError):
            for path in (self.folder / experiment / "claims").iterdir():
                self._without_owner(path)
        for path in (self.folder / "alive").iterdir():
            if not self.is_alive(path.name):
                path.unlink(missing_ok=True)


def _entries(file: str, content: bytes, at: int) -> tuple[list[tuple[str, Entry]], int]:
    """Read the lines of a file, the first of which stands `at` so many bytes; return them and how many are damaged."""
    found, damaged = [], 0
    for line in content.splitlines(keepends=True):
        try:
            checksum, key, fingerprint, state, date, seconds, networks, text = line.split(b" ", 7)
            if int(checksum, 16) != zlib.crc32(line[9:]):
                raise ValueError("checksum")
            known = (fingerprint.decode(), state.decode(), date.decode(), float(seconds), int(networks))
            found.append((key.decode(), Entry(*known, file, at + len(line) - len(text), len(text) - 1)))
        except ValueError:
            damaged += 1
        at += len(line)
    return found, damaged


def _line(key: str, entry: Entry, text: bytes) -> bytes:
    """Return a line of the store."""
    rest = b"%s %s %s\n" % (key.encode(), " ".join(map(str, entry[:5])).encode(), text)
    return b"%08x %s" % (zlib.crc32(rest), rest)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a segment, or a pack unpacked."""
    with io.BytesIO(_unpacked(path, path.stat().st_mtime_ns)[0]) if path.suffix == ".gz" else open(path, "rb") as file:
        yield file


def _read_claim(path: Path) -> Claim | None:
    try:
        writer, runner, *keys = json.loads(path.read_text())
        return Claim(writer, runner, tuple(keys))
    except (OSError, ValueError):
        return None


def _shared(rows: list[dict]) -> tuple[dict, list[dict]]:
    """Split rows into what all have in common and what each has of its own."""
    texts = [{name: json.dumps(value) for name, value in row.items()} for row in rows]
    same = {
        name: value
        for name, value in (rows[0] if rows else {}).items()
        if all(text.get(name) == texts[0][name] for text in texts)
    }
    return same, [{name: value for name, value in row.items() if name not in same} for row in rows]


@lru_cache(maxsize=2)
def _unpacked(path: Path, changed: int) -> tuple[bytes, int]:
    """Unpack a pack as far as it can be; return its lines, and how many of its parts are damaged.

    A pack is a row of gzip members, so that ``zcat`` reads it and damage to one leaves the others.
    """
    packed, content, damaged, at = path.read_bytes(), [], 0, 0
    while at < len(packed):
        member = zlib.decompressobj(wbits=31)
        try:
            text = member.decompress(packed[at:]) + member.flush()
            if not member.eof:
                raise zlib.error("cut")
            content.append(text)
            at = len(packed) - len(member.unused_data)
        except zlib.error:
            damaged += 1
            following = packed.find(b"\x1f\x8b\x08", at + 1)
            at = len(packed) if following < 0 else following
    return b"".join(content), damaged
