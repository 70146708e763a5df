"""Large text tables of expression, genes x samples, read row by row into a matrix on disk.

A table of any size is read within bounded memory. Its rows are first kept as they come, in a file of float32 under
``GEXLIB_HOME/staged`` with a journal beside it, so that a load that was stopped goes on from there; then they are
turned into a cohort, samples x genes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

import numpy as np

from gexlib.cohorts import schema, store
from gexlib.cohorts.fetch import GIB, locked
from gexlib.errors import InputError, few, shortened
from gexlib.files import home, writing

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1  # of what is staged
LIMIT = 64 * GIB  # bytes that a table unpacks to at the most
RATIO = 200  # fold that more than a GiB unpacks to at the most; expression data reach 10
LINE = 64 * 2**20  # bytes of a line at the most
MISSING = ["", "-", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "NONE"]
BATCH = 32 * 2**20  # bytes of text that are parsed at once
BLOCK = 64 * 2**20  # bytes of the matrix that are turned at once
ABANDONED = 30 * 24 * 3600  # seconds after which a table that was staged in part is given up


class Damaged(ValueError):
    """What a file is that cannot be read to its end; `reading` makes one sentence of it."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what readers raise on a damaged file into one InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError) as error:
        what = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise InputError(f"{path} is cut off or damaged ({what}): delete it and get it again") from error
    except Damaged as error:
        raise InputError(f"{path} {error}") from error
    except OSError as error:
        if error.filename and Path(os.fsdecode(error.filename)) != path:
            raise
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check the file and the disk") from error


@contextmanager
def unpacked(path: Path, member: str = "") -> Iterator[tuple[IO[bytes], Callable[[], float]]]:
    """Open a file, or the file in it where it is compressed, whatever it is called.

    Parameters
    ----------
    path : Path
        Plain, gzip or zip.
    member : str
        The file wanted of a zip archive; its only text file where there is none of this name.

    Yields
    ------
    (binary file, function)
        The content, and what says which share of it was read.

    Raises
    ------
    InputError
        The file is damaged, unpacks to more than such a file can hold, or is an archive with unsafe names.
    """
    with reading(path), open(path, "rb") as packed:
        size = max(1, os.fstat(packed.fileno()).st_size)
        head = packed.read(4)
        packed.seek(0)
        if head[:2] == b"PK":
            with zipfile.ZipFile(packed) as archive, archive.open(_member(archive, member, size)) as inner:
                yield inner, lambda: packed.tell() / size
        elif head[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=packed) as inner:
                yield io.BufferedReader(_Bounded(inner, size), 2**20), lambda: packed.tell() / size
        else:
            yield packed, lambda: packed.tell() / size


class _Bounded(io.RawIOBase):
    """A file being unpacked that refuses to become larger than a table can be."""

    def __init__(self, inner: IO[bytes], packed: int):
        self.inner, self.packed, self.size = inner, packed, 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer) -> int:
        """Read into a buffer."""
        n = self.inner.readinto(buffer)
        self.size += n
        _refuse_bomb(self.size, self.packed)
        return n


def _refuse_bomb(unpacked_size: int, packed: int) -> None:
    if unpacked_size > LIMIT or (unpacked_size > GIB and unpacked_size > RATIO * packed):
        raise Damaged(
            f"unpacks to more than {min(LIMIT, max(GIB, RATIO * packed)) / GIB:.3g} GiB, more than a table of its size "
            "can hold: get it again from its source"
        )


def _member(archive: zipfile.ZipFile, wanted: str, packed: int) -> zipfile.ZipInfo:
    """Return the table of an archive, of which no name may lead elsewhere."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    for info in files:
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in info.filename:
            raise Damaged(f"holds the unsafe name {shortened(info.filename)!r}: get it again from its source")
    found = [info for info in files if PurePosixPath(info.filename).name == wanted] or files
    texts = [info for info in found if info.filename.lower().endswith((".txt", ".tsv", ".npy"))]
    if len(texts) != 1:
        names = few((info.filename for info in files), 5) or "nothing"
        raise Damaged(f"holds {names} and no {wanted or 'single table'}: get it again from its source")
    if texts[0].flag_bits & 1:
        raise Damaged(f"holds {shortened(texts[0].filename)} encrypted: get it again from its source")
    _refuse_bomb(texts[0].file_size, packed)
    return texts[0]


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file without their ends, LF or CRLF, none of them larger than `LINE`."""
    first = True
    while line := file.readline(LINE):
        if len(line) == LINE:
            raise Damaged(f"has a line of more than {LINE // 2**20} MiB: it is no table of expression")
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        yield line.rstrip(b"\r\n")


def text(cell: bytes) -> str:
    """Return a cell as text, UTF-8 or else ISO-8859-1, without quotes and spaces around it."""
    try:
        plain = cell.decode()
    except UnicodeDecodeError:
        plain = cell.decode("latin-1")
    return plain.strip().strip('"').strip()


def rows(path: Path, most: int = 2**30) -> tuple[list[str], list[list[str]]]:
    """Read a small table of labels: its header, and its rows as text.

    Parameters
    ----------
    path : Path
        Columns separated by tabs.
    most : int
        Bytes that it may have, unpacked.

    Returns
    -------
    (list of str, list of list of str)
        Rows have as many cells as the header, which gets a blank first cell where it lacks one.

    Raises
    ------
    InputError
        It cannot be read, is empty, or a row does not fit its header.
    """
    with unpacked(path) as (file, _):
        found, size = [], 0
        for line in lines(file):
            size += len(line)
            if size > most:
                raise Damaged(f"has more than {most / GIB:.3g} GiB: it is no table of labels")
            if line.strip():
                found.append([text(cell) for cell in line.split(b"\t")])
        if len(found) < 2:
            raise Damaged("is empty: delete it and get it again")
        header, body = fit(found[0], len(found[1]), all(not row[-1] for row in found[1:])), found[1:]
        for number, row in enumerate(body, 2):
            while len(row) > len(header) and not row[-1]:
                row.pop()
            if len(row) != len(header):
                raise Damaged(
                    f"has {len(row)} cells in row {number} and {len(header)} columns: delete it and get it again"
                )
    return header, body


def fit(header: list, cells: int, open_end: bool) -> list:
    """Return a header with a cell for each of a row's: a blank one before it, or without blank ones after it.

    Rows with an open end have a separator, and nothing, after their last cell.
    """
    header = list(header)
    if open_end and len(header) == cells - 1:
        return header
    while len(header) > cells and not header[-1].strip():
        header.pop()
    if len(header) == cells - 1:
        header.insert(0, type(header[0])() if header else "")
    if len(header) != cells:
        raise Damaged(f"has {len(header)} names in its header for {cells} columns: delete it and get it again")
    return header


@dataclass(frozen=True)
class Staged:
    """The rows of a table on disk.

    Attributes
    ----------
    folder : Path
        Where they lie, until `discard`.
    samples : list of str
        Names of the columns that were kept.
    genes : list of str
        Ids of the rows that were kept, each once.
    dropped : dict of str to int
        Rows that were not, by reason.
    """

    folder: Path
    samples: list[str]
    genes: list[str]
    dropped: dict[str, int]

    @property
    def matrix(self) -> np.ndarray:
        """The values, float32, memory-mapped, shape (n_genes, n_samples)."""
        return np.memmap(self.folder / "rows.f32", np.float32, "r", shape=(len(self.genes), len(self.samples)))

    def discard(self) -> None:
        """Delete what was staged."""
        shutil.rmtree(self.folder, ignore_errors=True)


Choose = Callable[[list[str]], Sequence[int]]


def stage(
    path: Path,
    digest: str,
    choose: Choose,
    member: str = "",
    begin: bytes = b"",
    end: bytes = b"",
) -> Staged:
    """Read a table of genes x samples, row by row, or go on with one that was read in part.

    Parameters
    ----------
    path : Path
        Columns separated by tabs; the first holds the genes' ids; plain, gzip or in a zip archive.
    digest : str
        Of the file: what was staged of another one is not used.
    choose : function
        Gets the names in the header and returns the places of those to keep. A name that stands twice is only
        there once, with its first column; blank names are not.
    member : str
        The file wanted of a zip archive.
    begin, end : bytes
        Lines between which the table stands, where it does not fill the file.

    Returns
    -------
    Staged

    Raises
    ------
    InputError
        The file is no such table, is damaged, or has no usable row. What was read is kept: the next call with the
        same file goes on from there.

    Notes
    -----
    A row is left out where its id stands twice (the first stays), is blank, or a value among the samples kept is
    missing. Text where a number should be is an error, and so is a value beyond the range of float32.
    """
    with unpacked(path, member) as (file, share):
        stream = lines(file)
        if begin and not any(line.startswith(begin) for line in stream):
            raise Damaged(f"has no line {begin.decode()}: delete it and get it again")
        stream = (line for line in stream if line.strip())
        header, first = next(stream, b"").split(b"\t"), next(stream, None)
        if first is None or first.startswith(end or b"\0"):
            raise Damaged("has no rows: delete it and get it again")
        cells = first.split(b"\t")
        names = [text(cell) for cell in fit(header, len(cells), not cells[-1].strip())]
        places = {name: place for place, name in reversed(list(enumerate(names[1:], 1))) if name}
        known = sorted(places, key=places.get)
        kept = [known[i] for i in choose(known)]
        if not kept:
            raise Damaged(f"has none of the samples wanted among its {len(known)} ({few(known)})")
        columns = [places[name] for name in kept]
        folder = home() / "staged" / _key(digest, kept, columns)
        with locked(folder / "rows.f32"):
            _sweep(folder)
            journal = _Journal(folder, names, columns)
            with journal, _bar(path) as bar:
                for number, line in enumerate(chain([first], stream)):
                    if end and line.startswith(end):
                        break
                    if number >= journal.read:
                        journal.take(number, line)
                    if number % 64 == 0:
                        bar.update(max(0, share() - bar.n))
                else:
                    if end:
                        raise Damaged(f"has no line {end.decode()}, so it is cut off: delete it and get it again")
                journal.flush()
    if not journal.genes:
        why = ", ".join(f"{n} {reason}" for reason, n in journal.dropped.items())
        raise InputError(f"{path} has no row that can be used ({why}): delete it and get it again")
    return Staged(folder, kept, journal.genes, dict(journal.dropped))


def _key(digest: str, kept: list[str], columns: list[int]) -> str:
    return hashlib.sha256(repr((VERSION, digest, kept, columns)).encode()).hexdigest()[:24]


def _sweep(folder: Path) -> None:
    """Make the folder; delete those that nobody came back to."""
    with writing(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        for other in folder.parent.iterdir():
            with suppress(FileNotFoundError):  # another process was faster
                if time.time() - other.stat().st_mtime > ABANDONED:
                    shutil.rmtree(other, ignore_errors=True)


def _bar(path: Path):
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    return tqdm(
        desc=path.name, total=1.0, bar_format=form, dynamic_ncols=True, disable=not sys.stderr.isatty(), leave=False
    )


class _Journal:
    """Rows of a table on their way to disk, and what became of each: a line of the journal a row of the table.

    The values of a row are on disk before its line in the journal is, so that a load that was killed loses the rows
    after the last line only.
    """

    KEPT, WHY = "kept", ("twice", "without id", "with missing values")

    def __init__(self, folder: Path, names: list[str], columns: list[int]):
        self.folder, self.names, self.columns = folder, names, columns
        self.named = max(i for i, name in enumerate(names, 1) if name)  # cells without a name after it may be absent
        self.genes: list[str] = []
        self.dropped: Counter[str] = Counter()
        self.read = 0  # rows of the table that are done
        self._seen: set[str] = set()
        self._cells: list[tuple[str, bytes]] = []  # rows waiting to be parsed: id, a value a line
        self._bytes = 0

    def __enter__(self) -> _Journal:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows, self._log = (open(self.folder / name, "a+b") for name in ("rows.f32", "journal.tsv"))
        width = 4 * len(self.columns)
        whole = self._rows.seek(0, os.SEEK_END) // width
        self._log.seek(0)
        length = 0
        for line in self._log:
            state, _, gene = line.decode(errors="replace").rstrip("\n").partition("\t")
            fits = line.endswith(b"\n") and (state in self.WHY or (state == self.KEPT and len(self.genes) < whole))
            if not fits:  # the last line of a load that was killed
                break
            length += len(line)
            self._count(state, gene)
        self._log.truncate(length)
        self._rows.truncate(len(self.genes) * width)
        self.read = len(self.genes) + self.dropped.total()
        return self

    def __exit__(self, *_) -> None:
        self._rows.close()
        self._log.close()

    def _count(self, state: str, gene: str) -> None:
        if state == self.KEPT:
            self.genes.append(gene)
            self._seen.add(gene)
        else:
            self.dropped[state] += 1

    def take(self, number: int, line: bytes) -> None:
        """Take one row of the table."""
        cells = line.split(b"\t")
        while len(cells) > len(self.names) and not cells[-1].strip():
            cells.pop()
        if not self.named <= len(cells) <= len(self.names):
            raise Damaged(
                f"has {len(cells)} cells in row {number + 1} and {len(self.names)} columns: it is cut off or "
                "damaged, delete it and get it again"
            )
        gene, *chosen = itemgetter(0, *self.columns)(cells)
        self._cells.append((text(gene), b"\n".join(chosen)))
        self._bytes += len(line)
        if self._bytes > BATCH:
            self.flush()

    def flush(self) -> None:
        """Parse the rows that wait and write them."""
        if not self._cells:
            return
        values = self._parsed()
        entries, keep = [], []
        for place, (gene, _) in enumerate(self._cells):
            row = values[place]
            if not gene:
                state = self.WHY[1]
            elif gene in self._seen:
                state = self.WHY[0]
            elif np.isnan(row).any():
                state = self.WHY[2]
            else:
                state = self.KEPT
                keep.append(place)
                if not np.isfinite(row).all():
                    raise self._no_number(place, int(np.isinf(row).argmax()))
            entries.append(f"{state}\t{gene}\n")
            self._count(state, gene)
        for file, content in ((self._rows, values[keep].tobytes()), (self._log, "".join(entries).encode())):
            with writing(self.folder):
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        self._cells, self._bytes = [], 0

    def _parsed(self) -> np.ndarray:
        """Return the values of the rows that wait, float32, shape (n_rows, n_samples), NaN where missing."""
        import pyarrow as pa
        from pyarrow import csv

        content = pa.py_buffer(b"\n".join(cells for _, cells in self._cells) + b"\n")
        try:
            table = csv.read_csv(
                content,
                read_options=csv.ReadOptions(column_names=["value"], use_threads=False, block_size=2**22),
                parse_options=csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
                convert_options=csv.ConvertOptions(column_types={"value": pa.float32()}, null_values=MISSING),
            )
            values = table["value"].to_numpy()
            return values.reshape(len(self._cells), len(self.columns))
        except (pa.ArrowInvalid, ValueError):
            for place, (_, cells) in enumerate(self._cells):
                for column, cell in enumerate(cells.split(b"\n")):
                    if text(cell) not in MISSING and not _is_number(cell):
                        raise self._no_number(place, column) from None
            return np.array(
                [[_value(cell) for cell in cells.split(b"\n")] for _, cells in self._cells], dtype=np.float32
            )

    def _no_number(self, place: int, column: int) -> Damaged:
        gene, cells = self._cells[place]
        cell, sample = shortened(text(cells.split(b"\n")[column])), shortened(self.names[self.columns[column]])
        return Damaged(
            f"has `{cell}` for gene {shortened(gene)}, sample {sample}, which is no number of expression: get it "
            "again from its source"
        )


def _is_number(cell: bytes) -> bool:
    try:
        return abs(float(text(cell))) <= np.finfo(np.float32).max
    except ValueError:
        return False


def _value(cell: bytes) -> float:
    return np.nan if text(cell) in MISSING else float(text(cell))


def save(
    name: str,
    parts: Sequence[Staged],
    obs: pd.DataFrame,
    var: pd.DataFrame,
    uns: dict,
    convert: Callable[[np.ndarray], np.ndarray] | None = None,
    genes: Sequence[str] | None = None,
) -> None:
    """Make a cohort of staged tables and store it, in the place of an earlier one.

    Parameters
    ----------
    name : str
        Of the cohort.
    parts : sequence of Staged
        Tables of different samples, one below the other. They are discarded once the cohort is stored.
    obs : DataFrame
        Labels of the samples, all parts' in their order.
    var : DataFrame
        Genes to take, each of which all parts have, by id.
    uns : dict
        What `gexlib.cohorts.schema` asks for.
    convert : function, optional
        Of a block of values, to another scale.
    genes : sequence of str, optional
        What the tables call the genes of `var`, where that is something else.
    """
    import pandas as pd
    from anndata import AnnData

    with store.create(name, len(obs), len(var), replace=True) as draft:
        at = 0
        for part in parts:
            source = part.matrix
            places = pd.Index(part.genes).get_indexer(var.index if genes is None else genes)
            rows, step = slice(at, at + len(part.samples)), max(1, BLOCK // (4 * len(part.samples)))
            for start in range(0, len(places), step):
                block = source[places[start : start + step]].T
                draft.X[rows, start : start + step] = block if convert is None else convert(block)
                schema.release(draft.X)
                schema.release(source)
            at = rows.stop
        draft.finish(AnnData(X=draft.X, obs=obs, var=var, uns=uns))
    for part in parts:
        part.discard()
