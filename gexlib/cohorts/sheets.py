"""A table of expression and its sample sheet, as people, spreadsheets and other programs write them."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gexlib.cohorts import guess, schema, store, tables
from gexlib.errors import InputError, few, numbered, shortened

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

SEPARATORS = {".tsv": "\t", ".txt": "\t", ".csv": ","}
NO_GENES = {"age", "sex", "gender", "batch", "stage", "grade"}  # columns of samples that stand among genes


def separator_of(path: Path) -> str | None:
    """Return what separates the columns of a text table, by its name; None where it is none."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    return SEPARATORS.get(plain.suffix)


def read_table(path: Path, **how) -> pd.DataFrame:
    """Return a table as text or numbers, its first column as index, its header as columns."""
    import pandas as pd

    separator = separator_of(path)
    if separator is None and path.suffix != ".parquet":
        raise InputError(
            f"{path} cannot be read as a table: give one that ends in {', '.join(SEPARATORS)} (.gz) or .parquet"
        )
    if not path.is_file():
        raise InputError(f"there is no file {path}: name a table, {' '.join(SEPARATORS)} (.gz) or .parquet")
    if path.suffix == ".parquet":
        return _without_empty_ends(_read_parquet(path))
    skip = _comments(path, separator)
    how |= {"sep": separator, "header": None}
    # The header is read apart: pandas would rename repeated ids, and R leaves out the cell of the corner.
    head = {"nrows": 1, "dtype": str, "keep_default_na": False, "converters": None, "skiprows": skip}
    header = _parse_table(path, **how | head)
    if header.shape[1] == 1 and ";" in header.iloc[0, 0]:
        raise InputError(
            f"{path} is separated by semicolons: separate columns by tabs in .tsv and .txt, by commas in .csv, and "
            "write numbers with a point"
        )
    table = _parse_table(path, **how, skiprows=skip + 1, low_memory=False).set_index(0)
    if table.shape[1] == 0:
        raise InputError(f"{path} has one column only: separate columns by tabs in .tsv and .txt, by commas in .csv")
    columns = header.iloc[0].str.strip().tolist()
    if len(columns) - table.shape[1] not in (0, 1):
        raise InputError(
            f"{path} has {len(columns)} names in its header for {table.shape[1] + 1} columns: mend the header"
        )
    table.index = pd.Index([str(name).strip() for name in table.index], dtype=object)
    table.columns = pd.Index(columns[len(columns) - table.shape[1] :], dtype=object)
    return _without_empty_ends(table)


def _comments(path: Path, separator: str) -> int:
    """Return how many lines before the header begin with #, as those of featureCounts and cBioPortal."""
    marked: list[bytes] = []
    with tables.unpacked(path) as (file, _):
        for line in tables.lines(file):
            if not line.startswith(b"#"):
                break
            marked.append(line)
    header = marked and separator.encode() in marked[-1] and all(line.startswith(b"##") for line in marked[:-1])
    return len(marked) - bool(header and not marked[-1].startswith(b"##"))


def _without_empty_ends(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the columns and rows that a spreadsheet adds: no name, and nothing in them."""
    for axis, names in enumerate((table.index, table.columns)):
        unnamed = np.flatnonzero(names.isin(["", "nan"]))
        part = table.iloc[unnamed] if axis == 0 else table.iloc[:, unnamed]
        empty = (part.isna() | (part == "")).all(axis=1 - axis).to_numpy()
        keep = np.setdiff1d(np.arange(len(names)), unnamed[empty])
        if empty.any():
            table = table.iloc[keep] if axis == 0 else table.iloc[:, keep]
    return table


def _parse_table(path: Path, **how) -> pd.DataFrame:
    import pandas as pd

    try:
        with tables.unpacked(path) as (file, _):
            first = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        try:
            return _parse_as(first, path, **how)
        except UnicodeError:
            return _parse_as("latin-1", path, **how)
    except InputError:
        raise
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} has no rows below its header: name the table that has them") from None
    except Exception as error:  # of the parser
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read as a table ({reason}): save it again as plain text, UTF-8") from error


def _parse_as(encoding: str, path: Path, **how) -> pd.DataFrame:
    import pandas as pd

    # Ends of lines are made alike by the text file: some mixtures of CR and tabs send pandas' parser into a loop.
    with tables.unpacked(path) as (file, _), io.TextIOWrapper(file, encoding) as plain:
        return pd.read_csv(plain, **how)


def _read_parquet(path: Path) -> pd.DataFrame:
    """Return a table by its index or, where that only counts rows, by its first column."""
    import pandas as pd

    try:
        table = store.read_frame(path)
    except Exception as error:  # pyarrow raises many kinds on a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read as Parquet ({reason[:120]}): write it again") from error
    if isinstance(table.index, pd.RangeIndex) and table.shape[1]:
        table = table.set_index(table.columns[0])
    if table.shape[1] == 0:
        raise InputError(f"{path} has one column only: give ids and values")
    table.index = pd.Index([str(name).strip() for name in table.index], dtype=object)
    table.columns = pd.Index([str(name).strip() for name in table.columns], dtype=object)
    return table


def _refuse_repeated(path: Path, ids: pd.Index) -> None:
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        several = numbered(len(repeated), "repeated sample id")
        raise InputError(
            f"{path} has {several}, such as {few(repeated)}: see that the ids stand first, and keep one of each"
        )


def read_sheet(path: Path) -> pd.DataFrame:
    """Return the sample sheet: labels as text, indexed by sample id."""
    sheet = read_table(path, dtype=str, keep_default_na=False)
    sheet = sheet.apply(lambda column: column.astype(object).where(column.notna(), "").astype(str))
    _refuse_repeated(path, sheet.index)
    return sheet


def read_matrix(path: Path, sheet: pd.DataFrame) -> tuple[AnnData, list[str], list[str]]:
    """Read a table of expression, genes on either side, and give its samples their labels.

    Parameters
    ----------
    path : Path
        The table.
    sheet : DataFrame
        Labels by sample id, as `read_sheet` returns them.

    Returns
    -------
    (AnnData, list of str, list of str)
        The samples in the order of the table, what had to be left out, and what was guessed.

    Raises
    ------
    InputError
        The table cannot be read, its ids are not those of the sheet, one stands twice, or a value is no number.
    """
    import pandas as pd
    from anndata import AnnData

    table = read_table(path, converters={0: str}, float_precision="round_trip")
    across, down = table.columns.isin(sheet.index), table.index.isin(sheet.index)
    if across.sum() == down.sum():
        which = "both its rows and its columns" if down.any() else "neither its rows nor its columns"
        raise InputError(
            f"{path}: {which} carry sample ids of the sheet ({few(sheet.index)}); its rows begin with "
            f"{few(table.index)}, its columns with {few(table.columns)}: use the same ids in both files"
        )
    if across.sum() > down.sum():
        side, left_out, table = "column", table.columns[~across], table.loc[:, across].T
    else:
        side, left_out, table = "row", table.index[~down], table.loc[down]
    guessed = [f"samples stand in {side}s, as in the sheet"]
    dropped = []
    if len(left_out):
        several = numbered(len(left_out), side)
        dropped.append(f"{several} of the table that the sample sheet does not name ({few(left_out)})")
    absent = sheet.index[~sheet.index.isin(table.index)]
    if len(absent):
        several = numbered(len(absent), "line")
        dropped.append(f"{several} of the sample sheet that the table has no values for ({few(absent)})")
    _refuse_repeated(path, table.index)
    for what, none in (("label", _is_label), ("summary line", _is_summary)):
        chosen = np.array([none(gene) for gene in table.columns], dtype=bool)
        if chosen.any():
            dropped.append(f"{numbered(chosen.sum(), what)} among the genes ({few(table.columns[chosen])})")
            table = table.loc[:, ~chosen]
    _refuse_text(path, table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on repeated genes; `schema.check` refuses them
        var = pd.DataFrame(index=table.columns)
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite or no number is refused as such
            X = table.to_numpy(dtype=np.float32)
        adata = AnnData(X=X, obs=sheet.loc[table.index].copy(), var=var)
    return adata, dropped, guessed


def _is_label(gene: str) -> bool:
    """Return whether a gene is named as a label is, and so is none."""
    word = guess.word(gene)
    return word in schema.LABELS or word in NO_GENES or any(word in names for names in guess.COLUMNS.values())


def _is_summary(gene: str) -> bool:
    """Return whether a gene is a line that HTSeq or STAR adds: reads that were assigned to none."""
    return re.fullmatch(r"__\w+|N_(unmapped|multimapping|noFeature|ambiguous)", gene) is not None


def _refuse_text(path: Path, table: pd.DataFrame) -> None:
    """Name the first value of a table that is no number."""
    import pandas as pd

    for number in range(table.shape[1]):
        column = table.iloc[:, number]
        if column.dtype.kind in "iuf":
            continue
        wrong = pd.to_numeric(column, errors="coerce").isna() & column.notna()
        if wrong.any() or column.dtype.kind == "b":
            first = int(wrong.argmax())
            gene, sample, value = map(shortened, (column.name, column.index[first], column.iloc[first]))
            raise InputError(
                f"{path} is not numeric: gene {gene}, sample {sample} is `{value}`; "
                "give numbers only, with a point, and labels in the sample sheet"
            )
