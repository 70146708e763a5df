"""What columns, values and scale of someone else's cohort most likely mean, to be shown to whoever brings it.

Guesses are few and plain: a column by its name, a value by its word. What could mean two things is not guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gexlib.cohorts import schema

if TYPE_CHECKING:
    import pandas as pd

#: Names that columns of a label have, beside the label's own, as `word` spells them.
COLUMNS = {
    "status": (
        "diagnosis", "disease", "disease_state", "disease_status", "condition", "sample_type", "tissue_type", "group",
        "class", "phenotype", "tumor", "tumour", "cancer", "tumor_normal", "tumour_normal", "case_control", "label",
        "sample_status", "tissue_status", "health_status", "malignancy", "definition", "histology", "type", "dx", "grp",
        "sample_group",
    ),
    "origin": ("sample_origin", "biosource_type", "material_type", "source_type", "specimen", "specimen_type"),
    "tissue": (
        "organ", "organism_part", "primary_site", "tissue_of_origin", "anatomic_site", "body_site",
        "tissue_site", "tissue_or_organ_of_origin", "source_name",
    ),
    "cancer_type": (
        "project", "project_id", "tcga_project", "tumor_type", "tumour_type", "cancer_code", "tcga_type",
    ),
    "study": ("dataset", "series", "gse", "accession", "study_id", "series_id", "experiment", "centre", "center"),
    "patient": (
        "patient_id", "subject", "subject_id", "individual", "individual_id", "donor", "donor_id", "case_id",
        "case_submitter_id", "participant", "participant_id", "bcr_patient_barcode", "submitter_id", "person",
    ),
}  # fmt: skip
#: Words that mean one thing only, as `word` spells them. Benign, relapse, case, adjacent, metastatic site are not here.
WORDS = {
    "status": {
        "cancer": (
            "cancer", "cancerous", "tumor", "tumour", "malignant", "malignancy", "carcinoma", "adenocarcinoma",
            "neoplastic", "primary_tumor", "primary_tumour", "primary_solid_tumor", "primary_solid_tumour",
            "tumor_tissue", "tumour_tissue", "recurrent_tumor", "recurrent_solid_tumor", "metastatic", "metastasis",
            "leukemia", "leukaemia", "lymphoma", "melanoma", "sarcoma", "glioma", "t", "tp", "01", "01a",
        ),
        "normal": (
            "normal", "healthy", "control", "healthy_control", "normal_control", "healthy_donor", "non_tumor",
            "non_tumour", "nontumor", "nontumour", "non_cancer", "noncancer", "non_malignant", "normal_tissue",
            "healthy_tissue", "solid_tissue_normal", "blood_derived_normal", "n", "nt", "11", "11a",
        ),
    },
    "origin": {
        "patient": ("patient", "tissue", "primary", "biopsy", "primary_tissue", "tissue_sample", "surgical_resection"),
        "cell_line": ("cell_line", "cellline", "cell_culture", "cultured_cells", "line"),
    },
}  # fmt: skip
SHORT = 50  # no log2 expression is larger
_MANY = 12  # values of a column that may be a status


def word(text: object) -> str:
    """Return a name or a value as labels are spelt: lower case, words joined by ``_``."""
    return re.sub(r"\W+", "_", str(text).strip().lower()).strip("_")


def meanings(label: str, values: pd.Series) -> dict[str, str] | None:
    """Return what each value of a column means as status or origin, blank ones left out; None where one is unknown."""
    ours = {word: meaning for meaning, words in WORDS[label].items() for word in words}
    found = {value: ours.get(word(value), "") for value in values.unique() if value}
    return found if found and all(found.values()) else None


def columns(obs: pd.DataFrame, known: dict[str, str], translated: set[str]) -> list[str]:
    """Guess which columns are labels, and what their values mean.

    Parameters
    ----------
    obs : DataFrame
        Labels of the samples, as text.
    known : dict of str to str
        Columns by label, as far as they were named.
    translated : set of str
        Columns of which values were explained.

    Returns
    -------
    list of str
        As they would be given with ``--map``.
    """
    guessed: list[str] = []
    for label in schema.LABELS:
        closed = label in WORDS
        if label in known:
            chosen = known[label]
        else:
            named = [column for column in obs if column not in known.values() and word(column) in COLUMNS[label]]
            chosen = _status(obs, named) if label == "status" else _only(obs, label, named)
            if chosen is None:
                continue
            guessed.append(f"{chosen}={label}")
            known = known | {label: chosen}
        if closed and chosen not in translated:
            allowed = {value: word(value) for value in obs[chosen].unique() if value}
            if set(allowed.values()) <= set(WORDS[label]):  # our own words, whatever their case
                continue
            found = meanings(label, obs[chosen]) or {}
            guessed += [f"{chosen}:{value}={ours}" for value, ours in found.items() if value != ours]
    return guessed


def _status(obs: pd.DataFrame, named: list[str]) -> str | None:
    """Return the one column that tells cancer from normal; several count as one where they say the same."""
    told = {column: meanings("status", obs[column]) for column in named}
    told = {column: obs[column].map(found) for column, found in told.items() if found and len({*found.values()}) == 2}
    first, *others = told.values() or (None,)
    return next(iter(told)) if told and all(first.equals(other) for other in others) else None


def _only(obs: pd.DataFrame, label: str, named: list[str]) -> str | None:
    if label in WORDS:
        named = [column for column in named if meanings(label, obs[column])]
    return named[0] if len(named) == 1 else None


def candidates(obs: pd.DataFrame) -> list[str]:
    """Return columns that may be the status, likelier ones first, for the user to choose from."""
    few = [column for column in obs if 2 <= obs[column][obs[column] != ""].nunique() <= _MANY]
    return sorted(few, key=lambda column: word(column) not in COLUMNS["status"])


@dataclass(frozen=True)
class Scale:
    """What the values of a matrix look like.

    Attributes
    ----------
    kind : {"counts", "linear", "log", "mixed"}
        Whole numbers; others beyond what a logarithm reaches; within it; beyond it and below 0, which is none of these.
    least, largest : float
        The least and the largest value.
    """

    kind: str
    least: float
    largest: float

    @property
    def said(self) -> str:
        """The scale in words."""
        if self.kind == "mixed":
            return f"values from {self.least:,.6g} to {self.largest:,.6g}, which are neither counts nor logarithms"
        words = {
            "counts": "counts (whole numbers", "linear": "no logarithms (values",
            "log": "logarithms (values" if self.least >= 0 else "logarithms or scaled values (values",
        }  # fmt: skip
        return f"{words[self.kind]} up to {self.largest:,.6g})"


def scale(X: np.ndarray) -> Scale:
    """Look at a matrix, in memory or memory-mapped, block by block."""
    low, high, whole = np.inf, -np.inf, True
    for _, block in schema.row_blocks(X):
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        whole = whole and bool((block == np.rint(block)).all())
    if low < 0:
        kind = "mixed" if max(high, -low) > SHORT else "log"
    elif whole and high > 1:
        kind = "counts"
    else:
        kind = "linear" if high > SHORT else "log"
    return Scale(kind, low, high)
