"""Units of work, their rows, and where rows are kept.

A `Cell` is one unit of work. The working store (`gexlib.store`) keeps the rows of each cell that ran here; the record,
the Parquet files in ``results/``, keeps those the project commits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gexlib.errors import InputError
from gexlib.files import atomic_path, project_root

#: Setting: "0" leaves the record aside, so that every cell is computed here.
RECORD = "GEXLIB_RECORD"
#: Columns of every result row, in this order; experiments add their own axes behind them.
COLUMNS = (
    "experiment", "cohort", "cohort_digest", "simulated", "task", "method", "arm", "source", "target", "n",
    "n_cancer", "n_normal", "frozen", "repeat", "fold", "source_seed", "split", "metric", "value",
)  # fmt: skip
PROVENANCE = ("protocol", "fingerprint", "versions", "commit", "dirty", "seconds", "date", "key", "cell")
_INTEGERS = (
    "n",
    "n_cancer",
    "n_normal",
    "n_test",
    "frozen",
    "repeat",
    "fold",
    "source_seed",
    "epochs",
    "protocol",
)


def canonical(value) -> str:
    """JSON text of plain values, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Cell:
    """One unit of work.

    Attributes
    ----------
    experiment : str
        Name of the module in `gexlib.experiments`.
    parameters : dict
        Plain JSON values; everything that decides the cell's numbers, the cohort's name included.
    cohort_digest : str
        Of the cohort's content: other data, other cell.
    protocol : int
        The experiment's ``PROTOCOL``, raised by hand when the meaning of its numbers changes.
    """

    experiment: str
    parameters: dict
    cohort_digest: str
    protocol: int

    @cached_property
    def key(self) -> str:
        """24 hexadecimal digits that name the cell."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:24]

    @cached_property
    def json(self) -> str:
        """The cell as canonical JSON; `from_json` reads it."""
        return canonical([self.experiment, self.parameters, self.cohort_digest, self.protocol])

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """Return the cell that this text describes."""
        return cls(*json.loads(text))

    def __hash__(self) -> int:
        """Hash by key, so that cells go in sets."""
        return hash(self.key)


def table(rows: Iterable[dict]) -> pd.DataFrame:
    """Tidy table of result rows: known columns first, counts as nullable integers, sorted."""
    frame = pd.DataFrame(list(rows))
    for column in (*COLUMNS, *PROVENANCE):
        if column not in frame:
            frame[column] = None
    extra = [column for column in frame if column not in (*COLUMNS, *PROVENANCE)]
    frame = frame[[*COLUMNS, *extra, *PROVENANCE]]
    for column in _INTEGERS:
        if column in frame:
            frame[column] = frame[column].astype("Int64")
    frame["value"] = frame["value"].astype(float)
    order = [
        "experiment",
        "cohort",
        "task",
        "target",
        "n",
        "method",
        "arm",
        "frozen",
        "repeat",
        "fold",
        "metric",
    ]
    return frame.sort_values(order, kind="stable", na_position="first").reset_index(drop=True)


def check_target(path: Path | str) -> None:
    """Refuse a file that rows cannot be written to, before anything is computed."""
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"--out {path}: the name must end in .parquet or .csv.")
    with atomic_path(path.with_name(f".{path.name}.probe")) as probe:
        probe.touch()
    path.with_name(f".{path.name}.probe").unlink()


def write_table(frame: pd.DataFrame, path: Path | str, metadata: dict | None = None) -> None:
    """Write result rows to ``.parquet`` (metadata and a digest in the schema) or ``.csv``, whole or not at all."""
    path = Path(path)
    with atomic_path(path) as temporary:
        if path.suffix == ".csv":
            frame.to_csv(temporary, index=False)
            return
        content = pa.Table.from_pandas(frame, preserve_index=False)
        note = {
            b"gexlib": json.dumps({**(metadata or {}), "digest": digest(content.to_pandas(), content.schema)}).encode()
        }
        pq.write_table(
            content.replace_schema_metadata({**content.schema.metadata, **note}),
            temporary,
            compression="zstd",
        )


def digest(frame: pd.DataFrame, schema: pa.Schema) -> str:
    """16 hexadecimal digits of the rows of a file: another value, order, column or type, another digest."""
    named = "|".join([*frame.columns, *map(str, schema.types)]).encode()
    hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()
    return hashlib.sha256(named + hashes).hexdigest()[:16]


def read_table(path: Path | str) -> tuple[pd.DataFrame, dict]:
    """Read what `write_table` wrote: rows and metadata.

    Raises
    ------
    InputError
        The file is damaged, or its rows are not those that were written: somebody altered them.
    """
    try:
        content = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            f"{path} is not a readable Parquet file ({error}); restore it, as with git, or run with --no-record."
        ) from None
    metadata = json.loads((content.schema.metadata or {}).get(b"gexlib", b"{}"))
    frame = content.to_pandas()
    if "digest" in metadata and metadata["digest"] != digest(frame, content.schema):
        raise InputError(
            f"{path} holds other rows than were written there; restore it, as with git, or write what was computed "
            "again with --out."
        )
    return frame, metadata


def record_folder() -> Path:
    """Where the tables of record are: the folder that ``GEXLIB_RESULTS`` names, else ``results/`` of the project."""
    asked = os.environ.get("GEXLIB_RESULTS", "")
    return Path(asked).expanduser().absolute() if asked else project_root() / "results"


def recorded_files(experiment: str) -> Iterator[tuple[str, pd.DataFrame, dict]]:
    """Yield name, rows and metadata of the files ``EXPERIMENT-*.parquet`` of record."""
    for path in sorted(record_folder().glob(f"{experiment}-*.parquet")):
        yield path.name, *read_table(path)


def record(experiment: str, cohort: str | None = None) -> tuple[pd.DataFrame, list[dict]]:
    """Read the committed rows of an experiment: the files ``results/EXPERIMENT-*.parquet``.

    Returns
    -------
    rows : DataFrame
        Empty where nothing is recorded.
    runs : list of dict
        Metadata, one a file, with the file's name under ``file``.
    """
    frames, runs = [], []
    for file, frame, metadata in recorded_files(experiment):
        if cohort is None or (frame["cohort"] == cohort).any():
            frames.append(frame if cohort is None else frame[frame["cohort"] == cohort])
            runs.append({"file": file, **metadata})
    return (pd.concat(frames, ignore_index=True) if frames else table([])), runs


def layer(experiment: str) -> pd.DataFrame | None:
    """Return the recorded rows that a run may take in place of computing them; None where `RECORD` says "0"."""
    if (asked := os.environ.get(RECORD, "") or "1") not in ("0", "1"):
        raise InputError(f"{RECORD}={asked} is not known: use 0 or 1.")
    return record(experiment)[0] if asked == "1" else None


def verifications() -> list[dict]:
    """Stamps of `gexlib verify --stamp`, oldest first: experiment, fingerprint, cells, date; cohorts where not all."""
    path = record_folder() / "verified.json"
    return json.loads(path.read_text()) if path.is_file() else []


def stamps(experiment: str, fingerprint: str) -> dict[tuple[str, ...], dict]:
    """Return the last stamp for this code by the cohorts it is about; () stands for all."""
    return {
        tuple(stamp.get("cohorts", ())): stamp
        for stamp in verifications()
        if stamp["experiment"] == experiment and stamp["fingerprint"] == fingerprint
    }


def add_verification(stamp: dict) -> None:
    """Add a stamp to ``verified.json`` beside the tables of record."""
    with atomic_path(record_folder() / "verified.json") as path:
        path.write_text(json.dumps([*verifications(), stamp], indent=1) + "\n")
