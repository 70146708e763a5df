"""Cohorts of your own: an ``.h5ad`` file, or a table of expression with a sample sheet, and your column names.

What columns, values and scale mean is guessed where only one thing can be meant (`gexlib.cohorts.guess`), and every
guess is told; the user's word comes first.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gexlib.cohorts import guess, schema, sheets
from gexlib.errors import InputError, few, numbered, shortened
from gexlib.files import sha256

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

TRANSFORMS = ("auto", "none", "log2", "cpm")
GENE_NAMES = {
    "symbol": ("symbol", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "hgnc_symbol", "gene", "genes"),
    "ensembl": ("ensembl", "ensembl_id", "ensembl_gene_id", "ensembl_gene", "gene_id", "gene_ids"),
}
CLOSED = {"status": schema.STATUS, "origin": schema.ORIGIN}  # labels whose values are given
LEAST = 5  # samples of each class that make a tissue worth a note
NOT_STATED = "not stated"
_SHOWN = 8  # values, columns or ids in one message
_DROP = "<mapped to nothing>"  # marks a sample that --map drops


def read(
    path: Path | str,
    name: str,
    *,
    samples: Path | str | None = None,
    maps: Iterable[str] = (),
    where: Iterable[str] = (),
    scale: str = "",
    source: str = "",
    notes: Iterable[str] = (),
    transform: str = "auto",
    guesses: bool = True,
    unlabelled: bool = False,
) -> AnnData:
    """Read a cohort of your own and put it into the one form.

    Parameters
    ----------
    path : path
        An ``.h5ad`` file, or a table ``.tsv``, ``.txt`` (tabs), ``.csv`` (commas), also ``.gz``, or ``.parquet``:
        genes x samples or samples x genes, whichever side carries the ids of the sample sheet.
    name : str
        The name it will have.
    samples : path, optional
        The sample sheet of a table: sample ids in the first column, then labels.
    maps : iterable of str
        ``COLUMN=LABEL``: their column is our ``status``, ``origin``, ``tissue``, ``cancer_type``, ``study`` or
        ``patient``. ``COLUMN:VALUE=OURS``: their value in this column means ours; ``*`` stands for all values
        that are not named and not blank, an empty ``VALUE`` for blank ones, an empty ``OURS`` drops the samples.
    where : iterable of str
        ``COLUMN=VALUE`` or ``COLUMN!=VALUE`` in the file's own words: only such samples are kept, see `select`.
    scale, source : str
        Said of the values; what the file itself says where they are not given.
    notes : iterable of str
        What a reader of results must know, besides what is found in the file.
    transform : {"auto", "none", "log2", "cpm"}
        log2(x + 1), of x or of x in counts per million of the sample; by what the values look like where no scale
        that begins with log is stated.
    guesses : bool
        Whether to guess what was not said.
    unlabelled : bool
        Whether the samples have no status and are to be predicted only.

    Returns
    -------
    AnnData
        A checked cohort. ``uns["imported"]`` says from which file, how it was mapped, what was guessed and what was
        dropped.

    Raises
    ------
    InputError
        A file cannot be read, a column or value is not there or not known, or the cohort breaks the contract.
    """
    path = Path(path)
    adata, dropped, guessed = _read_any(path, samples, guesses)
    return fit(
        adata, name, maps=maps, where=where, scale=scale, source=source, notes=notes, dropped=dropped,
        transform=transform, guesses=guesses, unlabelled=unlabelled, guessed=guessed,
        origin={"file": path.name, "sha256": sha256(path)},
    )  # fmt: skip


def fit(
    adata: AnnData,
    name: str,
    *,
    maps: Iterable[str] = (),
    where: Iterable[str] = (),
    scale: str = "",
    source: str = "",
    notes: Iterable[str] = (),
    dropped: Iterable[str] = (),
    transform: str = "auto",
    guesses: bool = True,
    unlabelled: bool = False,
    guessed: Iterable[str] = (),
    origin: dict | None = None,
) -> AnnData:
    """Put samples with labels of someone else's into the one form.

    Parameters
    ----------
    adata : AnnData
        Samples x genes, ``obs`` with their own labels.
    name, maps, where, scale, source, notes, transform, guesses, unlabelled
        As in `read`.
    dropped, guessed : iterable of str
        What was left out, and guessed, already.
    origin : dict, optional
        ``file`` and ``sha256`` that the samples come from.

    Returns
    -------
    AnnData
        A checked cohort, as `read` returns it.

    Raises
    ------
    InputError
        A column or value is not there or not known, or the cohort breaks the contract.
    """
    from anndata import AnnData

    maps, where, dropped, guessed = list(maps), list(where), list(dropped), list(guessed)
    if transform not in TRANSFORMS:
        raise InputError(f"--transform {transform}: use one of {', '.join(TRANSFORMS)}")
    said, obs, origin = adata.uns, adata.obs.copy(), origin or {}
    obs.columns = [str(column) for column in obs.columns]
    if not obs.columns.is_unique:
        twice = obs.columns[obs.columns.duplicated()][0]
        raise InputError(f"{origin.get('file', name)}: column `{shortened(twice)}` stands twice: keep one")
    kept = select(obs, where, dropped)
    adata, obs = adata[kept], obs[kept]
    if unlabelled:
        if there := [column for column in obs if _label(column) == "status"]:
            raise InputError(f"--unlabelled: {name} has a column {there[0]}; leave out the option, or the column")
        obs = obs.assign(status="")
    if guesses and (found := _guessed(obs, maps)):
        guessed.append(" ".join("--map " + shlex.quote(text) for text in found))
        maps_and_guesses = [*maps, *found]
    else:
        maps_and_guesses = maps
    obs, theirs = _map(obs, maps_and_guesses)
    kept = _labelled(name, obs, theirs, dropped, unlabelled)
    unnamed = f"imported from {origin.get('file', name)}; its source is {NOT_STATED}"
    uns = {
        "name": name,
        "source": source or _text(said.get("source")) or unnamed,
        "scale": scale or _text(said.get("scale")) or NOT_STATED,
        "simulated": bool(said.get("simulated", False)),
        "notes": [],
        "imported": {**origin, "map": maps, "where": where, "dropped": dropped, "guessed": guessed},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on repeated names; `check` refuses them
        adata = schema.check(AnnData(X=adata[kept].X, obs=obs[kept], var=_genes(adata.var), uns=uns))
    _refuse_leak(adata)
    adata = _transformed(adata, transform, guesses, guessed)
    own = said.get("notes", [])
    adata.uns["notes"] = list(
        dict.fromkeys([*([own] if isinstance(own, str) else map(str, own)), *notes, *_found(adata)])
    )
    return adata


def _refuse_leak(adata: AnnData) -> None:
    """Refuse a gene that has one value in all cancer and another in all normal samples: it is the status."""
    cancer = (adata.obs["status"] == "cancer").to_numpy()
    if min(cancer.sum(), (~cancer).sum()) < LEAST:
        return
    spread = np.zeros((2, 2, adata.n_vars))  # of each class: least and largest
    spread[:, 0], spread[:, 1] = np.inf, -np.inf
    for start, block in schema.row_blocks(adata.X):
        for of, chosen in zip(spread, (cancer, ~cancer), strict=True):
            if len(part := block[chosen[start : start + len(block)]]):
                of[0], of[1] = np.minimum(of[0], part.min(axis=0)), np.maximum(of[1], part.max(axis=0))
    told = (spread[:, 0] == spread[:, 1]).all(axis=0) & (spread[0, 0] != spread[1, 0])
    if told.any():
        raise InputError(
            f"cohort {adata.uns['name']}: {few(adata.var_names[told])} has one value in all cancer and another in all "
            "normal samples, so it is a label and no gene; leave it out of the matrix"
        )


def _guessed(obs: pd.DataFrame, maps: Sequence[str]) -> list[str]:
    """Return what `gexlib.cohorts.guess` makes of the columns that the user said nothing of."""
    plain = obs.apply(_plain) if len(obs.columns) else obs
    known, translated = {}, set()
    for text in maps:
        column, value, ours = _parse(obs, text)
        if value is None:
            known[_label(ours)] = column
        else:
            translated.add(column)
    for column in obs.columns:
        if _label(column) in schema.LABELS:
            known.setdefault(_label(column), column)
    return guess.columns(plain, known, translated)


def _transformed(adata: AnnData, transform: str, guesses: bool, guessed: list[str]) -> AnnData:
    """Return a checked cohort on the scale asked for, or guessed."""
    from anndata import AnnData

    stated = adata.uns["scale"]
    if transform == "auto":
        if not guesses or stated.lower().startswith("log"):
            return adata
        looks = guess.scale(adata.X)
        if looks.kind == "mixed":
            raise InputError(
                f"cohort {adata.uns['name']} has {looks.said}: mend what is below 0, or keep the values as they are "
                "with --transform none"
            )
        transform = {"counts": "cpm", "linear": "log2", "log": "none"}[looks.kind]
        kept = "" if transform == "none" else f", stored as {_SCALES[transform]}; --transform none keeps them"
        guessed.append(f"{looks.said}{kept}")
    if transform == "none":
        return adata
    X = np.array(adata.X)
    if (X < 0).any():
        raise InputError(f"--transform {transform}: {adata.uns['name']} has values below 0; use --transform none")
    if transform == "cpm":
        sums = X.sum(axis=1, keepdims=True, dtype=np.float64)
        if not sums.all():
            empty = adata.obs_names[int((sums == 0).argmax())]
            raise InputError(f"--transform cpm: sample {empty} has no counts; drop it, or use --transform none")
        X = X / sums * 1e6
    uns = {**adata.uns, "scale": f"{_SCALES[transform]}, from {'values' if stated == NOT_STATED else stated}"}
    return schema.check(AnnData(X=np.log2(X + 1).astype(np.float32), obs=adata.obs, var=adata.var, uns=uns))


_SCALES = {"log2": "log2(x + 1)", "cpm": "log2(CPM + 1)"}


def _genes(var: pd.DataFrame) -> pd.DataFrame:
    """Return ``var`` with symbols and Ensembl ids in columns of these names, as `gexlib.cohorts.genes` wants them."""
    named = {guess.word(column): column for column in reversed(var.columns)}
    for ours, theirs in GENE_NAMES.items():
        found = next((named[name] for name in theirs if name in named), None)
        if ours in var or found is None or var[found].dtype.kind in "biuf":
            continue
        plain = _plain(var[found])
        if plain.str.startswith("ENS").mean() > 0.5 or ours == "symbol":
            var = var.assign(**{ours: plain.to_numpy()})
    return var


def _text(value) -> str:
    return value.strip() if isinstance(value, str) else ""


def _read_any(path: Path, samples: Path | str | None, guesses: bool) -> tuple[AnnData, list[str], list[str]]:
    """Return what a file holds, labels unchanged, what had to be left out, and what was guessed."""
    if path.suffix == ".h5ad":
        if samples is not None:
            raise InputError(f"{path} carries its own labels: leave --samples {samples} out")
        _refuse_web_page(path)
        adata = schema.read_h5ad(path)
        layers = [f"layer {name}: only X is kept" for name in adata.layers]
        guessed = []
        if guesses and not _tells(adata.obs) and _tells(adata.var):
            adata, guessed = adata.T, ["samples stand in columns: var has the labels"]
        return adata, layers, guessed
    if sheets.separator_of(path) is None and path.suffix != ".parquet":
        raise InputError(
            f"{path} cannot be imported: give an .h5ad file or a table, {' '.join(sheets.SEPARATORS)} (.gz) or .parquet"
        )
    if samples is None:
        raise InputError(
            f"{path} holds no labels: add --samples SHEET, a table whose first column is the sample id and which has "
            "a column for the status"
        )
    return sheets.read_matrix(path, sheets.read_sheet(Path(samples)))


def _tells(labels: pd.DataFrame) -> bool:
    """Return whether a table has a status."""
    named = {_label(column) for column in labels.columns}
    return "status" in named or any(text.endswith("=status") for text in _guessed(labels, ()))


def _refuse_web_page(path: Path) -> None:
    """Refuse what a browser or a download saves where the file itself was not to be had."""
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(100).lstrip().startswith(b"<"):
                raise InputError(f"{path} is a web page and no .h5ad file: download the file itself")


def select(obs: pd.DataFrame, where: Sequence[str], dropped: list[str] | None = None) -> np.ndarray:
    """Return which samples fit all conditions.

    Parameters
    ----------
    obs : DataFrame
        Labels, a row a sample.
    where : sequence of str
        ``COLUMN=VALUE`` or ``COLUMN!=VALUE``. Values of one column are alternatives, or all excluded; conditions on
        several columns must all hold.
    dropped : list of str, optional
        Gets a line that says how many samples do not fit.

    Returns
    -------
    array of bool, shape (n_samples,)

    Raises
    ------
    InputError
        A condition names no column, or no value that occurs, or no sample fits.
    """
    wanted: dict[tuple[str, bool], list[str]] = {}
    for text in where:
        unequal = _cut(obs, text, "!=")
        cut = unequal or _cut(obs, text, "=")
        if cut is None:
            raise _not_cut(f"--where {text}", "COLUMN=VALUE", text if "=" in text else "", obs)
        column, value = cut
        values = _plain(obs[column])
        if obs[column].dtype.kind == "b":
            value = value.capitalize()  # true and True
        if value not in set(values):
            raise InputError(f"--where {text}: {column} has no value `{value}` but {_counted(values)}")
        wanted.setdefault((column, unequal is not None), []).append(value)
    keep = np.ones(len(obs), dtype=bool)
    for (column, excluded), values in wanted.items():
        keep &= _plain(obs[column]).isin(values).to_numpy() != excluded
    if not keep.any():
        raise InputError(f"--where {' --where '.join(where)}: no sample is left of {len(obs)}; ask for less")
    if dropped is not None and not keep.all():
        dropped.append(f"{(~keep).sum()} of {len(keep)} samples by --where {' --where '.join(where)}")
    return keep


def _map(obs: pd.DataFrame, maps: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return obs with our column names and values, and their name of each of our columns."""
    import pandas as pd

    mapped: dict[str, str] = {}  # ours: theirs
    meanings: dict[str, dict[str, str]] = {}  # theirs: {their value: ours}
    for text in maps:
        column, value, ours = _parse(obs, text)
        if value is not None:
            if meanings.setdefault(column, {}).setdefault(value, ours) != ours:
                raise InputError(f"--map {text}: {column}:{value} means {meanings[column][value]} already; choose one")
        elif _label(ours) not in schema.LABELS:
            raise InputError(f"--map {text}: `{ours}` is no label of ours; use one of {', '.join(schema.LABELS)}")
        elif mapped.setdefault(_label(ours), column) != column:
            raise InputError(f"--map {text}: {_label(ours)} is mapped from {mapped[_label(ours)]} already; choose one")
    theirs = dict(mapped)
    for column in sorted(obs.columns, key=lambda column: column not in schema.LABELS):  # ours, then all but ours
        ours = _label(column)
        if ours not in schema.LABELS or ours in mapped or column in mapped.values():
            continue
        if theirs.setdefault(ours, column) not in (column, ours):
            raise InputError(
                f"columns {theirs[ours]} and {column} could both be {ours}: choose with --map '{column}={ours}'"
            )
    for ours, allowed in CLOSED.items():
        wrong = [word for word in meanings.get(theirs.get(ours), {}).values() if word and _label(word) not in allowed]
        if wrong:
            raise InputError(f"--map {theirs[ours]}:...={wrong[0]}: {ours} is {' or '.join(allowed)}; use these words")
    said = obs.assign(**{column: _translate(obs[column], column, words) for column, words in meanings.items()})
    # A column that gives way to a mapped one keeps its content under another name.
    rest = {c: _spare(c, obs) if _label(c) in theirs else c for c in obs.columns if c not in theirs.values()}
    labels = {ours: said[column] for ours, column in theirs.items()}
    return pd.DataFrame(labels | {name: said[column] for column, name in rest.items()}, index=obs.index), theirs


def _parse(obs: pd.DataFrame, text: str) -> tuple[str, str | None, str]:
    """Return (their column, their value or None, ours) of one --map."""
    left, equals, ours = text.rpartition("=")
    if equals:
        column = _column(obs, left)
        if column is not None:
            return column, None, ours.strip()
        cut = _cut(obs, left, ":")
        if cut is not None:
            return *cut, ours.strip()
    raise _not_cut(f"--map {text}", "COLUMN=LABEL or COLUMN:VALUE=OURS", left, obs)


def _not_cut(option: str, form: str, text: str, obs: pd.DataFrame) -> InputError:
    """Say that no column begins a text of the user's, or, where there is none, which form it should have."""
    column = re.split("!?[:=]", text)[0].strip()
    if not column:
        return InputError(f"{option}: write {form} with one of the columns {few(obs.columns, 20)}")
    return InputError(f"{option}: there is no column {column} but {few(obs.columns, 20)}; use one of these")


def _translate(theirs: pd.Series, column: str, meanings: dict[str, str]) -> pd.Series:
    """Return a column in our words; a value that means nothing becomes `_DROP`."""
    plain = _plain(theirs)
    unknown = [value for value in meanings if value != "*" and value not in set(plain)]
    if unknown:
        shown = unknown[0] or "(blank)"
        word = f"--map {column}:{unknown[0]}={meanings[unknown[0]]}"
        raise InputError(f"{word}: no sample has `{shown}` but {_counted(plain)}")
    result = plain.astype(object)
    if "*" in meanings:
        result = result.where(plain == "", meanings["*"])
    for value, ours in meanings.items():
        if value != "*":
            result = result.mask(plain == value, ours)
    known = plain.isin(meanings) | (("*" in meanings) & (plain != ""))
    return result.mask(known & (result == ""), _DROP)


def _labelled(name: str, obs: pd.DataFrame, theirs: dict[str, str], dropped: list[str], unlabelled: bool) -> np.ndarray:
    """Bring status and origin to our spelling, in place; return which samples to keep."""
    if "status" not in obs:
        raise InputError(
            f"cohort {name} has no status among its columns {few(obs.columns, 20)}: say which one it is with --map "
            "COLUMN=status, and what its values mean with --map COLUMN:VALUE=cancer and --map COLUMN:VALUE=normal; "
            "samples that are only to be predicted need none with --unlabelled"
            + _asked(obs)
            + (f"; left out before: {'; '.join(dropped)}" if dropped else "")
        )
    keep = np.ones(len(obs), dtype=bool)
    for column in obs.columns:
        gone = (obs[column].astype(object) == _DROP).to_numpy()
        if gone.any():
            dropped.append(f"{numbered(gone.sum(), 'sample')} whose {theirs.get(column, column)} was mapped to nothing")
            keep &= ~gone
    if not keep.any():
        raise InputError(f"cohort {name}: --map drops every sample; map fewer values to nothing")
    for column, allowed in CLOSED.items():
        if column not in obs:
            continue
        plain = _plain(obs[column])
        fitting = {value: _label(value) for value in plain.unique() if _label(value) in allowed}
        obs[column] = plain.replace(fitting).astype(object)
        wrong = plain[keep & ~plain.isin(fitting).to_numpy()]
        if column == "origin" or unlabelled:
            wrong = wrong[wrong != ""]
        if len(wrong):
            mine, first = shortened(theirs.get(column, column)), shortened(wrong.iloc[0])
            raise InputError(
                f"cohort {name}: the {column} of {numbered(len(wrong), 'sample')} is not {' or '.join(allowed)} but "
                f"{_counted(wrong)}; say what it means with --map '{mine}:{first}=...', where ... is "
                f"{' or '.join(allowed)}, or drop these samples with --map '{mine}:{first}='"
            )
    return keep


def _asked(obs: pd.DataFrame) -> str:
    """Show which columns may be the status, and the command for the likeliest."""
    plain = obs[[column for column in obs if column not in schema.LABELS]].apply(_plain)
    likely = [column for column in guess.candidates(plain) if column == shortened(column)]
    if not likely:
        return ""
    shown = "; ".join(f"{column} has {_counted(plain[column])}" for column in likely[:3])
    counts = plain[likely[0]].value_counts()
    values = [value for value in counts.index if value and value == shortened(value)][:_SHOWN]
    said = [f"{likely[0]}=status", *(f"{likely[0]}:{value}=..." for value in values)]
    return f" ({shown}; for the first: {' '.join('--map ' + shlex.quote(text) for text in said)})"


def _found(adata: AnnData) -> list[str]:
    """Return what the labels and the scale themselves say that a reader must know."""
    import pandas as pd

    obs, notes = adata.obs, []
    if (obs["status"] == "").all():
        return ["No sample has a status: this cohort can be predicted, and nothing can be trained or tested on it."]
    if obs["status"].nunique() == 1:
        notes.append(f"All samples are {obs['status'].iloc[0]}: no section that trains can use this cohort.")
    if re.search("quantile", adata.uns["scale"], re.IGNORECASE):
        notes.append(
            "The samples were quantile-normalised together, before any split into training and test samples: what is "
            "tested had a small part in how training samples were scaled."
        )
    if (obs["study"] == "").all():
        notes.append("Studies are not known: effects of studies cannot be told from those of cancer.")
    else:
        one_class = obs.groupby("study")["status"].transform("nunique") < 2
        if one_class.any():
            notes.append(
                f"{one_class.sum()} of {len(obs)} samples are from studies with one status only: a model can learn the "
                "study instead of the cancer."
            )
        tissues = pd.crosstab(obs["tissue"], obs["status"]).reindex(columns=list(schema.STATUS), fill_value=0)
        usable = [tissue for tissue in tissues.index[(tissues >= LEAST).all(axis=1)] if tissue]
        studies = obs.groupby("tissue")["study"].nunique()
        alone = [tissue for tissue in usable if studies[tissue] == 1]
        if alone and len(usable) > 1:
            notes.append(
                f"Study and tissue coincide for {', '.join(alone)}: what tells these tissues apart may be the study."
            )
    if (obs["patient"] == "").all():
        notes.append("Patients are not known: two samples of one patient may fall on both sides of a split.")
    largest = max(float(block.max()) for _, block in schema.row_blocks(adata.X))
    if largest > guess.SHORT:
        notes.append(f"The largest value is {largest:,.0f}: no log2 scale, which the methods of the study expect.")
    return notes


def _label(text: str) -> str:
    """Return a word as our labels are written."""
    return re.sub(r"[\s-]+", "_", str(text).strip().lower())


def _spare(name: str, obs: pd.DataFrame) -> str:
    while name in obs.columns:
        name += "_in_file"
    return name


def _column(obs: pd.DataFrame, name: str) -> str | None:
    """Return the column of this name, in any case where only one fits."""
    name = name.strip()
    if name in obs.columns:
        return name
    fitting = [column for column in obs.columns if column.strip().lower() == name.lower()]
    return fitting[0] if len(fitting) == 1 else None


def _cut(obs: pd.DataFrame, text: str, at: str) -> tuple[str, str] | None:
    """Cut a text into one of the columns and a value of it; both may hold the character of the cut themselves."""
    for place in re.finditer(re.escape(at), text):
        column, value = _column(obs, text[: place.start()]), text[place.end() :].strip()
        if column is not None:
            return column, "" if value in schema.BLANK else value
    return None


def _plain(values: pd.Series) -> pd.Series:
    """Return a column as text, blank where it is missing."""
    text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    return text.where(~text.isin(schema.BLANK), "")


def _counted(values: pd.Series) -> str:
    """Return the values of a column with their numbers, the most frequent first."""
    counts = _plain(values).value_counts()
    shown = ", ".join(
        f"`{shortened(value)}` ({n})" if value else f"(blank) ({n})" for value, n in counts.head(_SHOWN).items()
    )
    return shown + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")
