"""The microarrays of the study: ArrayExpress E-MTAB-3732, and the copy that the laboratory of the article prepared.

How the authors read diseases as cancer or not, and organs as tissues, is not published. Ours are tables in
``gexlib/cohorts/mappings``; what they do not name is left out and counted.
"""

from __future__ import annotations

import csv
import re
import tokenize
import warnings
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from gexlib.cohorts import geo, schema, store, tables
from gexlib.cohorts.fetch import Fetched
from gexlib.errors import InputError, few

if TYPE_CHECKING:
    import pandas as pd

SDRF, MATRIX, PLATFORM = "E-MTAB-3732.sdrf.txt", "E-MTAB-3732.processed.1.zip", "GPL570.annot.gz"
MEMBER = "processedMatrix.Aurora.july2015.txt"
MORE_THAN = 400  # samples of a tissue that is kept (article, "Data and experiment design")
MAPPINGS = Path(__file__).parent / "mappings"
NOT_STATED = frozenset({*map(str.lower, schema.BLANK), "--", "not available", "not specified", "unknown"})
#: Columns of the SDRF that may hold the names that head the matrix.
NAMES = (
    "source name", "assay name", "hybridization name", "scan name", "extract name", "labeled extract name",
    "array data file", "derived array data file",
)  # fmt: skip
SOURCE = "ArrayExpress E-MTAB-3732 (Torrente et al. 2016), Affymetrix HG-U133 Plus 2.0"
DEEP_GONET = (
    "ArrayExpress E-MTAB-3732 as prepared for Deep GONet by the article's laboratory "
    "(https://github.com/mbenhamd/Deep-GONet)"
)


@dataclass(frozen=True)
class Rule:
    """One line of a mapping: a column ("" for any), a term with ``*`` for any text, and our label or ""."""

    column: str
    term: str
    label: str


def mapping(name: str, folder: Path | str | None = None) -> list[Rule]:
    """Read a table of `MAPPINGS`, or of the user's own folder where that has it.

    Parameters
    ----------
    name : {"disease", "organism_part", "origin"}
        What is mapped.
    folder : path, optional
        A folder with CSV files like ours, ``term,label,why``; ``origin.csv`` has a ``column`` first.

    Raises
    ------
    InputError
        The file cannot be read, or a line has no term, another number of cells or a label that is not ours.
    """
    path = MAPPINGS / f"{name}.csv"
    if folder is not None and (Path(folder) / path.name).is_file():
        path = Path(folder) / path.name
    elif folder is not None and not Path(folder).is_dir():
        raise InputError(f"--mappings {folder} is no folder: name one that holds disease.csv, organism_part.csv ...")
    allowed = {"disease": {*schema.STATUS, ""}, "origin": {*schema.ORIGIN, ""}}.get(name)
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        found = [
            Rule(row.get("column", ""), row["term"].strip().lower(), row["label"].strip())
            for row in csv.DictReader(lines, strict=True)
        ]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no mapping ({error}): write lines of term,label,why as CSV") from error
    for rule in found:
        if not rule.term or (allowed is not None and rule.label not in allowed):
            words = " or ".join(sorted(filter(None, allowed or ())))
            raise InputError(f"{path}: the term `{rule.term}` has the label `{rule.label}`; use {words}, or nothing")
    return found


def said(value: str) -> str:
    """Return what a cell of the SDRF says, "" where it says nothing."""
    plain = " ".join(value.replace("_", " ").split()).lower()
    return "" if plain in NOT_STATED else plain


def labelled(terms: list[str], rules: list[Rule]) -> tuple[list[str], Counter]:
    """Give each term its label, "" where it has none.

    Returns
    -------
    (list of str, Counter)
        The labels, and how many samples have a term that no rule names, "" where nothing is stated.
    """
    known = {}
    for term in set(terms):
        known[term] = next((rule.label for rule in rules if term and fnmatchcase(term, rule.term)), None)
    return [known[term] or "" for term in terms], Counter(term for term in terms if known[term] is None)


def save(files: Fetched, name: str = "microarray", mappings: Path | str | None = None) -> None:
    """Read E-MTAB-3732 and store it as a cohort.

    Parameters
    ----------
    files : Fetched
        The sample table (SDRF), the zip archive of the matrix and, where it could be had, the annotation of the
        platform, which names the probe sets' genes.
    name : str
        Of the cohort.
    mappings : path, optional
        See `mapping`.

    Raises
    ------
    InputError
        A file is damaged or missing, samples and matrix do not fit, or no tissue is large enough.

    Notes
    -----
    ``obs`` has, besides the usual labels, ``disease`` and ``organism_part`` as the SDRF has them. ``uns["report"]``
    says what was left out and why. Memory is bounded whatever the size of the matrix.
    """
    sdrf, matrix = map(files.needed, (SDRF, MATRIX))
    labels, report = read_sdrf(sdrf, mappings)
    chosen: dict[str, pd.DataFrame] = {}

    def choose(samples: list[str]) -> list[int]:
        chosen["obs"], places = _fitting(matrix, samples, labels, report)
        return places

    staged = tables.stage(matrix, files.origins[MATRIX]["sha256"], choose, MEMBER)
    report += [f"{n:,} probe sets of the matrix that stand {why}" if why == "twice" else f"{n:,} probe sets {why}"
               for why, n in staged.dropped.items()]  # fmt: skip
    obs, var = chosen["obs"], geo.symbols(staged.genes, files.path(PLATFORM), report)
    notes = [
        "Which diseases count as cancer, and which organs as one tissue, is our reading: the article prints none.",
        "Values are used as distributed: what was normalised together was so before any split into training and test.",
    ]
    if (obs["patient"] == "").all():
        notes.append("Patients are not known: two samples of one patient may fall on both sides of a split.")
    if (obs["study"] == "").all():
        notes.append("Studies are not known: effects of studies cannot be told from those of cancer.")
    uns = {
        "name": name, "source": SOURCE, "scale": "as distributed", "simulated": False,
        "notes": notes, "report": report, "files": files.origins,
    }  # fmt: skip
    tables.save(name, [staged], obs, var, uns)


def read_sdrf(path: Path, mappings: Path | str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Read the table of samples.

    Parameters
    ----------
    path : Path
        Tab-separated, the source name first; ISO-8859-1 or UTF-8.
    mappings : path, optional
        See `mapping`.

    Returns
    -------
    (DataFrame, list of str)
        Samples with status and tissue, labels as in a cohort, and columns `NAMES` as far as there are; and what was
        left out.

    Raises
    ------
    InputError
        It is damaged, or has no disease or no organism part.
    """
    import pandas as pd

    header, body = tables.rows(path)
    header = [re.sub(r"\s+(?=\[)", "", column).lower() for column in header]
    header[0] = header[0] if header[0] in NAMES else "source name"
    place = {column: i for i, column in reversed(list(enumerate(header)))}
    cells = {column: [row[i] for row in body] for column, i in place.items()}
    disease, part = (
        next((cells[form] for form in (f"characteristics[{what}]", f"factor value[{what}]", f"factorvalue[{what}]")
              if form in cells), None)
        for what in ("disease", "organism part")
    )  # fmt: skip
    if disease is None or part is None:
        raise InputError(
            f"{path} has no column Characteristics[{'disease' if disease is None else 'organism part'}] among its "
            f"{len(header)}: delete it and get it again"
        )
    report = []
    obs = pd.DataFrame({name: cells[name] for name in NAMES if name in cells})
    obs["disease"], obs["organism_part"] = disease, part
    for label, column, name in (("status", "disease", "disease"), ("tissue", "organism_part", "organism_part")):
        obs[label], unmapped = labelled([said(value) for value in obs[column]], mapping(name, mappings))
        report += _unmapped(column.replace("_", " "), unmapped, (obs[label] == "").sum())
    obs["origin"] = _origins(cells, len(obs), mapping("origin", mappings))
    obs["study"] = _accessions(cells, len(obs))
    obs["patient"] = [said(value) for value in cells.get("characteristics[individual]", [""] * len(obs))]
    kept = obs[(obs["status"] != "") & (obs["tissue"] != "")]
    report.append(f"{len(obs) - len(kept):,} of {len(obs):,} samples of the SDRF without status or tissue")
    return kept, report


def _unmapped(what: str, terms: Counter, dropped: int) -> list[str]:
    """Say which terms were not mapped, each with its number."""
    blank, left = terms.pop("", 0), sum(terms.values())
    lines = [f"{dropped:,} samples by their {what}: {blank:,} state none, {left:,} one that is not in our table, "
             f"{dropped - blank - left:,} one that is neither"]  # fmt: skip
    return lines + [f"{what} not in our table: {term} ({n:,})" for term, n in terms.most_common()]


def _origins(cells: dict[str, list[str]], n: int, rules: list[Rule]) -> list[str]:
    """Return cell_line or patient for each sample; "" where no cell line is found: then nothing tells them apart."""
    rules = [rule for rule in rules if rule.column in cells]
    told = {rule.column: [said(value) for value in cells[rule.column]] for rule in rules}

    def origin(i: int) -> str:
        terms = ((rule, told[rule.column][i]) for rule in rules)
        return next((rule.label for rule, term in terms if term and fnmatchcase(term, rule.term)), "patient")

    found = [origin(i) for i in range(n)]
    return found if "cell_line" in found else [""] * n


def _accessions(cells: dict[str, list[str]], n: int) -> list[str]:
    """Return the study that each sample was first published in: the accession that most samples of a column name."""
    accession = re.compile(r"\b(GSE\d+|E-(?!MTAB-3732)[A-Z]{4}-\d+)", re.IGNORECASE)
    best = [""] * n
    for values in cells.values():
        found = [match.group(1).upper() if (match := accession.search(value)) else "" for value in values]
        if n - found.count("") > max(n / 2, n - best.count("")):
            best = found
    return best


def _fitting(
    matrix: Path, samples: list[str], labels: pd.DataFrame, report: list[str]
) -> tuple[pd.DataFrame, list[int]]:
    """Find the matrix's samples in the SDRF; return the labels of those to keep, and their places."""

    def plain(name: str) -> str:  # as R and spreadsheets change names
        return re.sub(r"\W+", ".", re.sub(r"\.cel(\.gz)?$", "", name.strip().lower()))

    wanted = {plain(name): i for i, name in reversed(list(enumerate(samples)))}
    names = max(
        (labels[column].map(plain) for column in NAMES if column in labels), key=lambda ids: ids.isin(wanted).sum()
    )
    found = labels[names.isin(wanted)].assign(sample=names)
    told = [*schema.LABELS]
    told = [column for column in told if column in found]
    same = found.groupby("sample")[told].transform("nunique").le(1).all(axis=1)
    once = found[same].drop_duplicates("sample")
    tissues = once["tissue"].value_counts()
    large = tissues.index[tissues > MORE_THAN]
    kept = once[once["tissue"].isin(large)]
    report += [
        f"{len(samples) - names[names.isin(wanted)].nunique():,} of {len(samples):,} samples of the matrix that have "
        "no usable line in the SDRF",
        f"{found.loc[~same, 'sample'].nunique():,} samples whose lines in the SDRF contradict each other",
        f"{len(once) - len(kept):,} samples of tissues with {MORE_THAN} samples or fewer: "
        + (", ".join(f"{tissue} ({n})" for tissue, n in tissues[tissues <= MORE_THAN].items()) or "none"),
    ]
    if kept.empty:
        raise InputError(
            f"{matrix} and its SDRF leave no tissue with more than {MORE_THAN} samples ({few(samples)} head "
            f"the matrix, {few(labels.iloc[:, 0])} stand in the SDRF): fetch both again"
        )
    kept = kept.assign(place=kept["sample"].map(wanted)).sort_values("place")
    places = kept["place"].tolist()
    obs = kept.drop(columns=["sample", "place", *(name for name in NAMES if name in kept)])
    return obs.set_axis([samples[i] for i in places], axis=0), places


def table(cohort) -> pd.DataFrame:
    """Count a cohort of microarrays as the article's Table 1 does.

    Returns
    -------
    DataFrame
        A row a tissue and one for all; samples that are ``cancer``, ``normal``, from a ``patient``, from a
        ``cell_line``, and ``samples`` in all.
    """
    import pandas as pd

    obs = cohort.obs
    counts = pd.DataFrame(
        {label: (obs[column] == label).groupby(obs["tissue"]).sum()
         for column, labels in (("status", schema.STATUS), ("origin", schema.ORIGIN)) for label in labels}
    )  # fmt: skip
    counts["samples"] = obs.groupby("tissue").size()
    counts = counts.sort_values("samples", ascending=False)
    return pd.concat([counts, counts.sum().to_frame("all").T])


def save_deep_gonet(files: Fetched, name: str = "deep-gonet") -> None:
    """Read the arrays that the laboratory prepared for Deep GONet, and store them as a cohort.

    Parameters
    ----------
    files : Fetched
        ``X_train.npz`` and ``X_test.npz``, each with ``x`` (samples x 54,675 probe sets) and ``y`` (1 for cancer).
    name : str
        Of the cohort.

    Raises
    ------
    InputError
        An array is missing, damaged, no plain numbers, or of another shape.

    Notes
    -----
    ``obs["part"]`` is ``train`` or ``test`` of Deep GONet. Samples have no names, columns no probe sets.
    """
    import pandas as pd
    from anndata import AnnData

    parts = {part: files.needed(f"X_{part}.npz") for part in ("train", "test")}
    y = {part: _status(path) for part, path in parts.items()}
    shapes = {}
    for part, path in parts.items():
        with tables.unpacked(path, "x.npy") as (file, _):
            shapes[part], _, _ = _array_header(file)
        if len(shapes[part]) != 2 or shapes[part][0] != len(y[part]) or shapes[part][1] != shapes["train"][1]:
            raise InputError(
                f"{path} holds x of shape {shapes[part]} and {len(y[part])} labels; the training part has "
                f"{shapes['train'][-1]} columns: delete it and get it again"
            )
    n_genes = shapes["train"][1]
    obs = pd.DataFrame({"status": np.concatenate([y["train"], y["test"]])})
    obs["part"] = np.repeat(["train", "test"], [len(y["train"]), len(y["test"])])
    obs.index = [f"{part}-{i}" for part in parts for i in range(1, len(y[part]) + 1)]
    uns = {
        "name": name, "source": DEEP_GONET, "scale": "as distributed: not stated", "simulated": False,
        "files": files.origins,
        "notes": [
            "Status only: tissues, origins, studies and patients are not known, so two samples of one patient may fall "
            "on both sides of a split.",
            "Columns are not named: their order is taken for that of the matrix of E-MTAB-3732.",
        ],
    }  # fmt: skip
    with store.create(name, len(obs), n_genes, replace=True) as draft:
        at = 0
        for part, path in parts.items():
            with tables.unpacked(path, "x.npy") as (file, _):
                _fill(file, draft.X[at : at + len(y[part])], draft.X)
            at += len(y[part])
        var = pd.DataFrame(index=[f"column_{i}" for i in range(1, n_genes + 1)])
        draft.finish(AnnData(X=draft.X, obs=obs, var=var, uns=uns))


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array that holds plain numbers: its shape, whether columns come first, its type."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on headers that Python 2 wrote
            shape, by_column, kind = read(file)
    except (ValueError, KeyError, TypeError, SyntaxError, tokenize.TokenError) as error:
        what = str(error).splitlines()[0][:80]
        raise tables.Damaged(f"holds no plain array ({what}): delete it and get it again") from None
    if kind.hasobject or kind.kind not in "fiub" or not all(shape) or prod(shape) * kind.itemsize > tables.LIMIT:
        raise tables.Damaged(f"holds {kind} of shape {shape} instead of numbers: delete it and get it again")
    return shape, by_column, kind


def _status(path: Path) -> np.ndarray:
    """Return cancer or normal for each sample of a part."""
    with tables.unpacked(path, "y.npy") as (file, _):
        shape, by_column, kind = _array_header(file)
        if len(shape) > 2 or shape[0] > 10**6 or (len(shape) == 2 and shape[1] > 2):
            raise tables.Damaged(f"holds y of shape {shape}, no status a sample: delete it and get it again")
        content = _exactly(file, prod(shape) * kind.itemsize)
        y = np.frombuffer(content, kind).reshape(shape, order="F" if by_column else "C")
    y = y[:, -1] if y.ndim == 2 else y  # one column a class: the last is cancer
    if not np.isin(y, (0, 1)).all() or 2 * (y == 1).sum() <= len(y):
        raise InputError(
            f"{path} holds y that is not 1 for cancer, the larger class (values {np.unique(y)[:5]}): delete it and "
            "get it again"
        )
    return np.where(y == 1, "cancer", "normal")


def _fill(file: IO[bytes], X: np.ndarray, mapped: np.ndarray) -> None:
    """Read an array into a part of a memory map, some rows or columns at a time."""
    shape, by_column, kind = _array_header(file)
    target = X.T if by_column else X
    step = max(1, tables.BLOCK // (target.shape[1] * kind.itemsize))
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is named as such
        for start in range(0, len(target), step):
            rows = min(step, len(target) - start)
            content = _exactly(file, rows * target.shape[1] * kind.itemsize)
            target[start : start + rows] = np.frombuffer(content, kind).reshape(rows, target.shape[1])
            schema.release(mapped)


def _exactly(file: IO[bytes], n: int) -> bytes:
    content = file.read(n)
    while len(content) < n and (more := file.read(n - len(content))):
        content += more
    if len(content) < n:
        raise tables.Damaged("ends before its last value: delete it and get it again")
    return content
