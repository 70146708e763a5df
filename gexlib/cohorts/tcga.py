"""Readers of TCGA cohorts."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gexlib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

# Cancer type: organ, matched pairs in its file.
PAIRS = {
    "BRCA": ("breast", 113),
    "COAD": ("colon", 40),
    "HNSC": ("head_and_neck", 43),
    "KIRC": ("kidney", 72),
    "KIRP": ("kidney", 32),
    "LIHC": ("liver", 50),
    "LUAD": ("lung", 58),
    "LUSC": ("lung", 51),
    "PRAD": ("prostate", 52),
    "STAD": ("stomach", 32),
    "THCA": ("thyroid", 59),
}
# These two files hold log2(RSEM) with missing values for zero; the others hold log2(RSEM + 0.25).
WITHOUT_OFFSET = ("COAD", "STAD")
SAMPLE_TYPE = {"01": "cancer", "11": "normal"}
GENES_IN_ALL_FILES = 3556
SOURCE = (
    "The Cancer Genome Atlas, RNA-seq level 3 (RSEM), open access; matched pairs as distributed in MetaGSCA, "
    "https://github.com/Haocan223/MetaGSCA, commit 7d51dbd863ea701496544d2186224f3f33f7d0cc"
)

# What the 32 studies of tcga-hypoxia are called elsewhere in the project. No one organ: DLBC, PCPG.
ORGANS = {kind: organ for kind, (organ, _) in PAIRS.items()} | {
    "ACC": "adrenal_gland", "BLCA": "bladder", "CESC": "cervix", "CHOL": "bile_duct", "ESCA": "oesophagus",
    "GBM": "brain", "KICH": "kidney", "LGG": "brain", "MESO": "pleura", "OV": "ovary", "PAAD": "pancreas",
    "READ": "rectum", "SARC": "soft_tissue", "SKCM": "skin", "TGCT": "testis", "THYM": "thymus", "UCEC": "uterus",
    "UCS": "uterus", "UVM": "eye",
}  # fmt: skip
HYPOXIA_FILE = "tcga_expr_df.RData"
HYPOXIA_COLUMNS = ("tcga_id", "study", "is_normal", "libsize_75percent")  # then one column a gene
HYPOXIA_SHAPE = (9437, 50)  # aliquots, without the 24 that the file holds twice; genes
HYPOXIA_SOURCE = (
    "The Cancer Genome Atlas, RNA-seq, open access; the genes of a hypoxia signature as distributed in ssPATHS, "
    "https://github.com/nrosed/ssPATHS, commit d4c0e364591ce9d588d79d40471b31c7b81db3cc"
)


def read_pairs(paths: Iterable[Path]) -> "AnnData":
    """Read matched tumour and normal samples of TCGA.

    Parameters
    ----------
    paths : iterable of Path
        Any of the eleven files ``<TYPE>.RData``, one for each cancer type.

    Returns
    -------
    AnnData
        A checked cohort: ``X`` is log2(RSEM + 0.25) with two decimals, shape (n_samples, n_genes); samples
        stand by cancer type, then in the order of the file; genes are sorted. ``obs`` has, besides the usual
        labels, ``plate`` and ``centre``; ``study`` is the tissue source site. ``uns["notes"]`` names the
        types that are missing.

    Raises
    ------
    InputError
        A file is not one of the eleven, cannot be read, or does not hold the pairs that it should.

    Notes
    -----
    The genes are those that all files *given* share. Which 3,556 genes all eleven share cannot be known from
    fewer files, so a subset has some more genes (3,660 for the eight without COAD, KIRP and LIHC) and a
    digest of its own: results on different subsets are results on different cohorts, and a note says so.
    """
    import pandas as pd
    from anndata import AnnData

    from gexlib.cohorts import schema

    by_type = {}
    for path in map(Path, paths):
        if path.stem not in PAIRS:
            raise InputError(f"{path} is no file of tcga-pairs: give {', '.join(f'{t}.RData' for t in PAIRS)}")
        by_type[path.stem] = path
    if not by_type:
        raise InputError("no file of tcga-pairs was given: run `gexlib fetch tcga-pairs`")
    tables = {kind: _read_type(kind, by_type[kind]) for kind in PAIRS if kind in by_type}

    genes = sorted(set.intersection(*(set(table.index) for table in tables.values())))
    X = np.concatenate([table.loc[genes].to_numpy().T for table in tables.values()], dtype=np.float32)
    obs = pd.concat([_labels(kind, table.columns) for kind, table in tables.items()])
    uns = {
        "name": "tcga-pairs",
        "source": SOURCE,
        "scale": "log2(RSEM + 0.25)",
        "simulated": False,
        "notes": _notes(list(tables), len(genes)),
    }
    return schema.check(AnnData(X=X, obs=obs, var=pd.DataFrame(index=pd.Index(genes)), uns=uns))


@contextmanager
def _one_table(path: Path) -> "Iterator[pd.DataFrame]":
    """Yield the one table of an R file; whatever fails on it, here or in the body, is one sentence."""
    import pandas as pd
    import rdata

    try:
        (table,) = rdata.read_rda(path).values()
        # an R matrix arrives as an xarray.DataArray
        yield table if isinstance(table, pd.DataFrame) else table.to_pandas()
    except Exception as error:  # a damaged file fails in the decompressor, the parser or the converter
        raise InputError(f"{path} cannot be read as one R table ({error}): delete it and fetch again") from error


def _read_type(kind: str, path: Path) -> "pd.DataFrame":
    """Return one file as genes x samples on the common scale, float64."""
    import pandas as pd

    with _one_table(path) as table:
        barcodes = table.columns.str.split(".")
        genes = table.index.astype(str)
        if not genes.is_unique or not table.columns.is_unique:
            raise ValueError("a gene or a sample stands twice")
        values = table.to_numpy(dtype=np.float64)
    if kind in WITHOUT_OFFSET:
        values = to_common_scale(values)
    _, n_pairs = PAIRS[kind]
    patients = barcodes.str[:3].str.join("-")
    counts = pd.crosstab(patients, barcodes.str[3].str[:2])
    paired = set(counts.columns) == set(SAMPLE_TYPE) and (counts == 1).all(axis=None)
    if not paired or len(counts) != n_pairs:
        raise InputError(
            f"{path} does not hold the {n_pairs} pairs of one tumour and one normal sample that {kind} has "
            f"but {len(table.columns)} samples of {len(counts)} patients: delete it and fetch again"
        )
    return pd.DataFrame(values, index=genes, columns=table.columns)


def to_common_scale(values: np.ndarray) -> np.ndarray:
    """Convert log2(RSEM), NaN for zero, to log2(RSEM + 0.25).

    Parameters
    ----------
    values : ndarray of float64
        Expression as two of the files hold it.

    Returns
    -------
    ndarray of float64
        Rounded to two decimals, as the other files are. This also makes the digest the same on all machines,
        whose logarithms may differ in the last bit.
    """
    rsem = np.where(np.isnan(values), 0.0, np.exp2(values))
    return np.round(np.log2(rsem + 0.25), 2) + 0.0  # no negative zero


def _labels(kind: str, barcodes: "pd.Index") -> "pd.DataFrame":
    """Return obs for barcodes such as ``TCGA.A7.A0CE.01A.11R.A00Z.07``."""
    import pandas as pd

    fields = barcodes.to_series().str.split(".", expand=True)
    tissue, _ = PAIRS[kind]
    return pd.DataFrame(
        {
            "status": fields[3].str[:2].map(SAMPLE_TYPE),
            "origin": "patient",
            "tissue": tissue,
            "cancer_type": kind,
            "study": fields[1],
            "patient": fields[0] + "-" + fields[1] + "-" + fields[2],
            "plate": fields[5],
            "centre": fields[6],
        }
    ).set_axis(barcodes.str.replace(".", "-"), axis=0)


def _notes(kinds: list[str], n_genes: int) -> list[str]:
    """Return what a reader of results on these files must know."""
    notes = [
        "Every patient gave one tumour and one normal sample, so the classes are balanced, unlike in TCGA.",
        "Genes were chosen by the distributor from pathway sets.",
    ]
    if "STAD" in kinds:
        notes.append("STAD was sequenced at other centres than the other types.")
    missing = [kind for kind in PAIRS if kind not in kinds]
    if missing:
        notes.append(f"Missing cancer types: {', '.join(missing)}; {len(kinds)} of {len(PAIRS)} were at hand.")
        notes.append(
            f"The {n_genes:,} genes are those that the {len(kinds)} files at hand share; all eleven share "
            f"{GENES_IN_ALL_FILES:,}."
        )
    return notes


def read_hypoxia(paths: Iterable[Path]) -> "AnnData":
    """Read the genes of a hypoxia signature in the tumours and normals of 32 TCGA studies.

    Parameters
    ----------
    paths : iterable of Path
        The one file ``tcga_expr_df.RData``.

    Returns
    -------
    AnnData
        A checked cohort: ``X`` is log2(x + 1) of values normalised by library size, four decimals, shape (9437,
        50); samples stand in the order of the file, without its repeats. ``obs`` has, besides the usual labels,
        ``sample_type`` (field 4 of the barcode: 01 primary, 02 recurrent, 06 metastatic tumour, 11 normal ...),
        ``plate`` and ``centre``. ``cancer_type`` is the TCGA study; ``study`` the tissue source site;
        ``tissue`` the study's organ, also for a metastasis found elsewhere.

    Raises
    ------
    InputError
        The file is another one, cannot be read, or does not hold these aliquots and genes.
    """
    import pandas as pd
    from anndata import AnnData

    from gexlib.cohorts import schema

    paths = [Path(path) for path in paths]
    if [path.name for path in paths] != [HYPOXIA_FILE]:
        given = ", ".join(map(str, paths)) or "nothing"
        raise InputError(f"tcga-hypoxia is one file, {HYPOXIA_FILE}, not {given}: run `gexlib fetch tcga-hypoxia`")
    (path,) = paths
    with _one_table(path) as table:
        first = [str(column) for column in table.columns[:4]]
        if first != list(HYPOXIA_COLUMNS):
            raise ValueError(f"its first columns are {', '.join(first)}")
        table = table.drop_duplicates().reset_index(drop=True)  # 24 rows stand twice, all their values too
        fields = table["tcga_id"].astype(str).str.split("-", expand=True)
        normal = table["is_normal"].astype(bool)
        expression = table.iloc[:, len(HYPOXIA_COLUMNS) :].to_numpy(dtype=np.float64)
    if expression.shape != HYPOXIA_SHAPE or fields.shape[1] != 7 or (normal != (fields[3].str[:2] == "11")).any():
        raise InputError(
            f"{path} does not hold the {HYPOXIA_SHAPE[0]:,} aliquots x {HYPOXIA_SHAPE[1]} genes of tcga-hypoxia, with "
            f"barcodes that agree with is_normal, but {len(table):,} x {expression.shape[1]}: delete it and fetch again"
        )
    kinds = table["study"].astype(str)
    obs = pd.DataFrame(
        {
            "status": np.where(normal, "normal", "cancer"),
            "origin": "patient",
            "tissue": kinds.map(ORGANS).fillna(""),
            "cancer_type": kinds,
            "study": fields[1],
            "patient": fields[0] + "-" + fields[1] + "-" + fields[2],
            "sample_type": fields[3].str[:2],
            "plate": fields[5],
            "centre": fields[6],
        }
    ).set_axis(table["tcga_id"].astype(str), axis=0)
    # Rounded for a digest that is the same on all machines, whose logarithms may differ in the last bit.
    X = np.round(np.log2(expression + 1), 4).astype(np.float32)
    var = pd.DataFrame(index=table.columns[len(HYPOXIA_COLUMNS) :].astype(str))
    uns = {
        "name": "tcga-hypoxia",
        "source": HYPOXIA_SOURCE,
        "scale": "log2(x + 1), x normalised by library size",
        "simulated": False,
        "notes": _hypoxia_notes(obs),
    }
    return schema.check(AnnData(X=X, obs=obs, var=var, uns=uns))


def _hypoxia_notes(obs: "pd.DataFrame") -> list[str]:
    """Return what a reader of results on this cohort must know."""
    tumours = obs[obs["status"] == "cancer"]
    spread = tumours[tumours["sample_type"] == "06"]
    aliquots, samples = obs.groupby("patient").size(), obs.groupby(["patient", "sample_type"]).size()
    return [
        "Only 50 genes, those of a hypoxia signature: weak evidence on what needs many genes.",
        f"{len(tumours) / len(obs):.1%} of the aliquots are tumours: read balanced accuracy or AUC beside accuracy.",
        "Nearly all patients of tcga-pairs are here too: never train on one of the two and test on the other.",
        f"{(aliquots > 1).sum()} of {len(aliquots):,} patients gave several aliquots: mostly a tumour and a normal; "
        f"{samples[samples > 1].sum()} aliquots share patient and sample type, sequenced again from another vial, "
        "portion or plate. Keep patients together.",
        f"{(tumours['sample_type'] != '01').sum()} tumours are no primary ones, {len(spread)} of them metastases "
        f"({(spread['cancer_type'] == 'SKCM').sum()} of SKCM): their tissue is named by the organ that they came from.",
    ]
