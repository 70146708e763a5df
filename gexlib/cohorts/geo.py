"""Series of the Gene Expression Omnibus (GEO): a series matrix, and the symbols of its platform.

GEOparse, the library for GEO, reads SOFT files, a table a sample; a series matrix is smaller and all that is needed.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gexlib.cohorts import tables
from gexlib.cohorts.fetch import Fetched, Source
from gexlib.errors import InputError, few, shortened

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

FTP = "https://ftp.ncbi.nlm.nih.gov/geo/"
BEGIN, END = b"!series_matrix_table_begin", b"!series_matrix_table_end"
SYMBOLS = ("gene symbol", "symbol", "gene_symbol", "genesymbol", "ilmn_gene", "orf")
AMBIGUOUS = " /// "  # between the symbols of a probe set that measures several genes


def is_accession(name: str) -> bool:
    """Return whether a name is that of a series, such as ``GSE2034``."""
    return re.fullmatch(r"GSE[1-9]\d{0,8}", name) is not None


def is_platform(name: str) -> bool:
    """Return whether a name is that of a platform, such as ``GPL570``."""
    return re.fullmatch(r"GPL[1-9]\d{0,8}", name) is not None


def source(accession: str, platform: str = "") -> Source:
    """Return where the matrix of a series lies; a series on several platforms has one for each.

    Raises
    ------
    InputError
        The platform's name is none.
    """
    if platform and not is_platform(platform):
        raise InputError(f"--platform {platform}: name one as GEO does, such as GPL570")
    name = f"{accession}-{platform}" if platform else accession
    file = f"{name}_series_matrix.txt.gz"
    base = f"{FTP}series/{_folder(accession)}/{accession}/matrix/"
    return Source((base,), {file: ""}, optional=(file,))  # absent where the series has several


def platform_source(platform: str) -> Source:
    """Return where the annotation of a platform lies, ``<platform>.annot.gz``; not all platforms have one."""
    file = f"{platform}.annot.gz"
    base = f"{FTP}platforms/{_folder(platform)}/{platform}/annot/"
    return Source((base,), {file: ""}, optional=(file,))


def _folder(accession: str) -> str:
    """Return the folder of a thousand accessions: GSE2034 lies in GSE2nnn, GPL96 in GPLnnn."""
    return f"{accession[:3]}{accession[3:-3]}nnn"


def read(files: Fetched) -> tuple[AnnData, list[str]]:
    """Read a series matrix, labels as the submitters wrote them.

    Parameters
    ----------
    files : Fetched
        The one file of `source`.

    Returns
    -------
    (AnnData, list of str)
        Samples by accession (GSM…); ``obs`` has ``title``, ``source_name``, ``platform``, and a column for each
        characteristic; and which rows were left out.

    Raises
    ------
    InputError
        The file is damaged, has no samples or no values (as of most sequencing series, whose values lie in files of
        their own).
    """
    import pandas as pd
    from anndata import AnnData

    (path,) = files.paths
    series, obs = _labels(path)

    def choose(samples: list[str]) -> list[int]:
        if unknown := [sample for sample in samples if sample not in obs.index]:
            raise tables.Damaged(f"describes no sample {few(unknown)}: delete it and get it again")
        return list(range(len(samples)))

    staged = tables.stage(path, files.origins[path.name]["sha256"], choose, begin=BEGIN, end=END)
    adata = AnnData(X=staged.matrix.T.copy(), obs=obs.loc[staged.samples].copy(), var=pd.DataFrame(index=staged.genes))
    adata.uns["source"] = f"GEO {series['geo_accession']}: {series['title']}".strip(": ")
    staged.discard()
    dropped = [f"{n:,} rows of the matrix {why}" for why, n in staged.dropped.items()]
    dropped += [f"{len(obs) - adata.n_obs} samples without values"] if len(obs) > adata.n_obs else []
    return adata, dropped


def _labels(path: Path) -> tuple[dict[str, str], pd.DataFrame]:
    """Read what stands above the table: of the series, and of each sample."""
    import pandas as pd

    series = {"geo_accession": path.name.split("_")[0], "title": ""}
    told: list[tuple[str, list[str]]] = []
    with tables.unpacked(path) as (file, _):
        for line in tables.lines(file):
            if line.startswith(BEGIN):
                if next(islice(tables.lines(file), 1, None), b"").startswith(END):
                    raise tables.Damaged(
                        "holds no values, as those of most sequencing series: take the counts from the series' "
                        "supplementary files, and import them with gexlib cohort import"
                    )
                break
            key, *cells = (tables.text(cell) for cell in line.split(b"\t"))
            if key.startswith("!Series_"):
                series[key.removeprefix("!Series_")] = " ".join(cells)
            elif key.startswith("!Sample_"):
                told.append((key.removeprefix("!Sample_").removesuffix("_ch1"), cells))
    samples = next((cells for key, cells in told if key == "geo_accession"), [])
    if not samples or len(set(samples)) < len(samples) or "" in samples:
        raise InputError(f"{path} names no samples, or one twice: delete it and get it again")
    columns: dict[str, list[str]] = {}
    for key, cells in told:
        if len(cells) != len(samples):
            raise InputError(
                f"{path} describes {len(samples)} samples but has {len(cells)} values of {shortened(key)}: delete it "
                "and get it again"
            )
        if key == "characteristics":
            for i, cell in enumerate(cells):
                name, colon, value = cell.partition(":")
                if colon and name.strip():
                    columns.setdefault(name.strip(), [""] * len(samples))[i] = value.strip()
        elif key in ("title", "source_name"):
            columns[key] = cells
        elif key == "platform_id":
            columns["platform"] = cells
    return series, pd.DataFrame(columns, index=samples)


def symbols(genes: list[str], path: Path | None, report: list[str]) -> pd.DataFrame:
    """Return ``var`` of probe sets: the ``symbol`` of each gene, "" where the platform's annotation names none.

    Parameters
    ----------
    genes : list of str
        Probe sets.
    path : Path or None
        Annotation of the platform, as GEO keeps it.
    report : list of str
        Gets a line on how many have a symbol.
    """
    import pandas as pd

    var = pd.DataFrame(index=pd.Index(genes, dtype=object))
    if path is None:
        report.append("The annotation of the platform could not be had: genes have no symbols.")
        return var
    known = annotation(path)
    var["symbol"] = [known.get(gene, "") for gene in genes]
    named = var["symbol"][var["symbol"] != ""]
    report.append(
        f"{len(named):,} of {len(genes):,} probe sets have a gene symbol; {named.str.contains(AMBIGUOUS).sum():,} of "
        "them several"
    )
    return var


def annotation(path: Path) -> dict[str, str]:
    """Read the gene symbols of a platform's probe sets.

    Raises
    ------
    InputError
        The file is damaged or has no column of symbols.
    """
    with tables.unpacked(path) as (file, _):
        stream = tables.lines(file)
        if not any(line.startswith(b"!platform_table_begin") for line in stream):
            raise tables.Damaged("has no line !platform_table_begin: delete it and get it again")
        header = [tables.text(cell).lower() for cell in next(stream, b"").split(b"\t")]
        column = next((header.index(name) for name in SYMBOLS if name in header), None)
        if column is None:
            raise tables.Damaged(f"has no gene symbols but {few(header, 8)}: delete it and get it again")
        found: dict[str, str] = {}
        for line in stream:
            if line.startswith(b"!platform_table_end"):
                return found
            cells = line.split(b"\t")
            if len(cells) > column:
                several = [part.strip() for part in tables.text(cells[column]).split("///")]
                found.setdefault(tables.text(cells[0]), AMBIGUOUS.join(filter(None, several)))
        raise tables.Damaged("has no line !platform_table_end, so it is cut off: delete it and get it again")
