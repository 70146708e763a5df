"""TCGA as UCSC Xena distributes it: the GDC hub, a file a project, and the Toil recompute, one file for all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gexlib.cohorts import tables
from gexlib.cohorts.fetch import Fetched, Source
from gexlib.cohorts.tcga import ORGANS
from gexlib.errors import InputError, few

if TYPE_CHECKING:
    import pandas as pd

#: Projects of the article: those with at least 350 samples.
PROJECTS = ("BRCA", "HNSC", "KIRC", "LGG", "LIHC", "LUAD", "LUSC", "OV", "PRAD", "THCA", "UCEC")
#: All projects, by what the Toil hub calls them.
DISEASES = {
    "adrenocortical cancer": "ACC", "bladder urothelial carcinoma": "BLCA", "breast invasive carcinoma": "BRCA",
    "cervical & endocervical cancer": "CESC", "cholangiocarcinoma": "CHOL", "colon adenocarcinoma": "COAD",
    "diffuse large B-cell lymphoma": "DLBC", "esophageal carcinoma": "ESCA", "glioblastoma multiforme": "GBM",
    "head & neck squamous cell carcinoma": "HNSC", "kidney chromophobe": "KICH", "kidney clear cell carcinoma": "KIRC",
    "kidney papillary cell carcinoma": "KIRP", "acute myeloid leukemia": "LAML", "brain lower grade glioma": "LGG",
    "liver hepatocellular carcinoma": "LIHC", "lung adenocarcinoma": "LUAD", "lung squamous cell carcinoma": "LUSC",
    "mesothelioma": "MESO", "ovarian serous cystadenocarcinoma": "OV", "pancreatic adenocarcinoma": "PAAD",
    "pheochromocytoma & paraganglioma": "PCPG", "prostate adenocarcinoma": "PRAD", "rectum adenocarcinoma": "READ",
    "sarcoma": "SARC", "skin cutaneous melanoma": "SKCM", "stomach adenocarcinoma": "STAD",
    "testicular germ cell tumor": "TGCT", "thyroid carcinoma": "THCA", "thymoma": "THYM",
    "uterine corpus endometrioid carcinoma": "UCEC", "uterine carcinosarcoma": "UCS", "uveal melanoma": "UVM",
}  # fmt: skip
TISSUES = ORGANS | {"LAML": "blood"}
HUBS = ("gdc", "toil")
_GDC = "https://gdc-hub.s3.us-east-1.amazonaws.com/download/"
_TOIL = "https://toil-xena-hub.s3.us-east-1.amazonaws.com/download/"
_PANCAN = "https://tcga-pancan-atlas-hub.s3.us-east-1.amazonaws.com/download/"
GENES = {"gdc": "gencode.v36.annotation.gtf.gene.probemap", "toil": "gencode.v23.annotation.gene.probemap"}
TPM, PHENOTYPE = "tcga_RSEM_gene_tpm.gz", "TCGA_phenotype_denseDataOnlyDownload.tsv.gz"
_BARCODE = re.compile(
    r"(?P<patient>TCGA-(?P<study>\w{2})-\w{4})-(?P<sample_type>\d{2})(?P<vial>[A-Z])?"
    r"(-\d{2}[A-Z])?(-(?P<plate>\w{4}))?(-(?P<centre>\w{2}))?"
)


def source(projects: Sequence[str], hub: str = "gdc") -> Source:
    """Return where the files of some projects lie.

    Parameters
    ----------
    projects : sequence of str
        Such as ``["BRCA", "LUAD"]``.
    hub : {"gdc", "toil"}
        The GDC's own pipeline (STAR), or all samples computed anew in one (Toil, RSEM).

    Raises
    ------
    InputError
        There is no such project or hub.
    """
    if hub not in HUBS:
        raise InputError(f"--hub {hub}: there is {' and '.join(HUBS)}")
    unknown = [project for project in projects if project not in DISEASES.values()]
    if unknown or not projects:
        known = ", ".join(sorted(DISEASES.values()))
        raise InputError(f"--projects {','.join(unknown)}: there is no such project of TCGA; choose from {known}")
    if hub == "gdc":
        return Source((_GDC,), dict.fromkeys([*map(_file, dict.fromkeys(projects)), GENES["gdc"]], ""))
    genes = GENES["toil"]
    return Source(
        (_TOIL,), {TPM: "", PHENOTYPE: "", genes: ""},
        {PHENOTYPE: _PANCAN + PHENOTYPE, genes: f"{_TOIL}probeMap%2F{genes}"},
    )  # fmt: skip


def _file(project: str) -> str:
    return f"TCGA-{project}.star_tpm.tsv.gz"


def barcodes(samples: Sequence[str]) -> pd.DataFrame:
    """Read what TCGA barcodes say.

    Parameters
    ----------
    samples : sequence of str
        Of samples (``TCGA-A7-A0CE-01A``, the letter of the vial may be missing) or of aliquots
        (``TCGA-A7-A0CE-01A-11R-A00Z-07``).

    Returns
    -------
    DataFrame
        ``status`` (sample types 01 to 09 are cancer, 10 to 19 normal), ``patient``, ``study`` (the tissue source site),
        ``sample_type``, ``vial``, ``plate`` and ``centre``, "" where the barcode ends before. What is no barcode, or
        of another sample type, has status "".
    """
    import pandas as pd

    names = list(_BARCODE.groupindex)
    found = [(match := _BARCODE.fullmatch(sample)) and match.groupdict(default="") for sample in samples]
    obs = pd.DataFrame([entry or dict.fromkeys(names, "") for entry in found], index=list(samples), columns=names)
    kind = obs["sample_type"].replace("", "99").astype(int)
    obs.insert(0, "status", np.select([kind.between(1, 9), kind.between(10, 19)], ["cancer", "normal"], ""))
    return obs


def save(files: Fetched, projects: Sequence[str], hub: str = "gdc", name: str = "tcga") -> None:
    """Read expression of some projects and store it as one cohort.

    Parameters
    ----------
    files : Fetched
        The files of `source`.
    projects : sequence of str
        Such as ``["BRCA", "LUAD"]``.
    hub : {"gdc", "toil"}
        Where the files come from.
    name : str
        Of the cohort.

    Raises
    ------
    InputError
        A file is missing or damaged, or its samples are not of TCGA.

    Notes
    -----
    ``X`` is log2(TPM + 1). Genes are Ensembl ids without version, ``var["symbol"]`` their symbols.
    ``uns["report"]`` says what was left out, ``uns["files"]`` from which release each file is.
    """
    import pandas as pd

    report: list[str] = []
    if hub == "gdc":
        of_project = {project: files.needed(_file(project)) for project in dict.fromkeys(projects)}
        parts = [_stage(path, files, report, lambda barcode, project=project: project)
                 for project, path in of_project.items()]  # fmt: skip
    else:
        of_sample = _projects(files.needed(PHENOTYPE), report)
        wanted = set(projects)
        parts = [_stage(files.needed(TPM), files, report, lambda b: p if (p := of_sample.get(b)) in wanted else "")]
    obs = pd.concat([labels for _, labels in parts])
    shared = set.intersection(*(set(staged.genes) for staged, _ in parts))
    genes = [gene for gene in parts[0][0].genes if gene in shared]
    if not genes:
        raise InputError(f"the files of {', '.join(projects)} share no gene: delete them and fetch them again")
    if most := max(len(staged.genes) for staged, _ in parts) - len(genes):
        report.append(f"{most:,} genes that not all files have")
    var, rows = _genes(genes, files.needed(GENES[hub]), report)
    pipeline = {"gdc": "GDC hub, STAR", "toil": "Toil recompute, RSEM"}[hub]
    dates = sorted({origin.get("last_modified", "") for origin in files.origins.values()} - {""})
    uns = {
        "name": name,
        "source": f"The Cancer Genome Atlas, RNA-seq, open access; UCSC Xena, {pipeline}, files of "
        + (f"{dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "") if dates else "an unknown date"),
        "scale": "log2(TPM + 1)" + (", from log2(TPM + 0.001)" if hub == "toil" else ""),
        "simulated": False, "notes": _notes(obs), "report": report, "files": files.origins,
    }  # fmt: skip
    tables.save(name, [staged for staged, _ in parts], obs, var, uns, _to_one if hub == "toil" else None, rows)


def _stage(path: Path, files: Fetched, report: list[str], project_of) -> tuple[tables.Staged, pd.DataFrame]:
    """Read one file: its values, and the labels of its samples."""
    labels: dict[str, pd.DataFrame] = {}

    def choose(samples: list[str]) -> list[int]:
        obs = barcodes(samples)
        obs["cancer_type"] = [project_of(sample) or "" for sample in samples]
        keep = ((obs["status"] != "") & (obs["cancer_type"] != "")).to_numpy()
        no_status = (obs["status"] == "").sum()
        if no_status:
            report.append(f"{path.name}: {no_status:,} samples that are neither tumour nor normal tissue of TCGA")
        labels["obs"] = obs[keep]
        return np.flatnonzero(keep).tolist()

    staged = tables.stage(path, files.origins[path.name]["sha256"], choose)
    report += [f"{path.name}: {n:,} genes {why}" for why, n in staged.dropped.items()]
    obs = labels["obs"].assign(origin="patient")
    return staged, obs.assign(tissue=obs["cancer_type"].map(TISSUES).fillna(""))


def _projects(path: Path, report: list[str]) -> dict[str, str]:
    """Return the project of each sample of the Toil hub, "" where its disease is none of theirs."""
    header, body = tables.rows(path)
    if "_primary_disease" not in header:
        raise InputError(f"{path} has no column _primary_disease but {few(header, 8)}: delete it and get it again")
    column = header.index("_primary_disease")
    unknown = Counter(row[column] or "(blank)" for row in body if row[column] not in DISEASES)
    report += [f"{path.name}: {n:,} samples of no known project: {disease}" for disease, n in unknown.most_common()]
    return {row[0]: DISEASES.get(row[column], "") for row in body}


def _genes(genes: list[str], path: Path, report: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return ``var``, and the rows of the tables that its genes are."""
    import pandas as pd

    header, body = tables.rows(path)
    if header[:2] != ["id", "gene"]:
        raise InputError(f"{path} begins with {few(header)} instead of id, gene: delete it and get it again")
    symbol = {row[0]: row[1] for row in body}
    row_of: dict[str, str] = {}
    for gene in genes:
        row_of.setdefault(without_version(gene), gene)
    if len(row_of) < len(genes):
        report.append(f"{len(genes) - len(row_of):,} genes that stand in several versions; the first is kept")
    var = pd.DataFrame(index=pd.Index(list(row_of), dtype=object))
    var["symbol"] = [symbol.get(row, "") for row in row_of.values()]
    report.append(f"{(var['symbol'] != '').sum():,} of {len(var):,} genes have a symbol")
    return var, list(row_of.values())


def without_version(gene: str) -> str:
    """Return an Ensembl id without its version; that of a gene on the Y copy of a shared region keeps its mark."""
    return re.sub(r"^(ENS[A-Z]*\d+)\.\d+", r"\1", gene)


def _to_one(block: np.ndarray) -> np.ndarray:
    """Convert log2(TPM + 0.001) to log2(TPM + 1), rounded so that all machines agree."""
    with np.errstate(over="ignore"):  # what becomes infinite is refused as such
        tpm = np.maximum(np.exp2(block.astype(np.float64)) - 0.001, 0)
    return np.round(np.log2(tpm + 1), 4)


def _notes(obs: pd.DataFrame) -> list[str]:
    """Return what a reader of results on these samples must know."""
    tumours, samples = obs[obs["status"] == "cancer"], obs.groupby(["patient", "status"]).size()
    other = (~tumours["sample_type"].isin(["01", "03"])).sum()
    notes = [f"{len(tumours) / len(obs):.1%} of the samples are tumours: read balanced accuracy beside accuracy."]
    if other:
        notes.append(f"{other:,} tumours are no primary ones (recurrent, metastatic); `sample_type` tells them.")
    if (samples > 1).any():
        notes.append(f"{(samples > 1).sum():,} patients gave several samples of one status: keep patients together.")
    return notes


def table(cohort) -> pd.DataFrame:
    """Count a cohort of TCGA as the article's Table 2 does: samples by cancer type and status."""
    import pandas as pd

    counts = pd.crosstab(cohort.obs["cancer_type"], cohort.obs["status"]).reindex(columns=["cancer", "normal"])
    counts = counts.fillna(0).astype(int).rename_axis(index=None, columns=None)
    counts["samples"] = counts.sum(axis=1)
    return pd.concat([counts, counts.sum().to_frame("all").T])
