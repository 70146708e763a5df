"""Simulated cohorts: the embedded default, built from named parts and never passed off as measurements.

A sample is a sum of parts in log2 units: gene baseline + tissue program + study effect + cancer program (in
part shared by the tissues, in part their own, with subtypes and a tumour content) + cell-line shift +
co-expression + noise. The parts are as large as in two real cohorts (``calibration.json``, measured by
`gexlib.cohorts.calibrate`). How much of the cancer program the tissues share and how far cell lines are
shifted has no sufficient counterpart there: these two are parameters, to be swept.
"""

import hashlib
import json
import math
import zlib
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from mmap import MADV_DONTNEED
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import ndtri

from gexlib.cohorts.calibrate import PROBABILITIES, SD_PROBABILITIES
from gexlib.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

SIMULATOR = 2  # raise when the values of a simulated cohort change
PRESETS = {  # samples, genes, tissues
    "microarray": {"smoke": (300, 200, 3), "demo": (2000, 1000, 11), "paper": (16709, 54675, 11)},
    "tcga": {"smoke": (160, 200, 2), "demo": (1500, 1000, 11), "paper": (6450, 20000, 11)},
}
SCALE = {"microarray": "log2 intensity", "tcga": "log2(TPM + 1)"}
CALIBRATED_ON = {"microarray": "u133-studies", "tcga": "tcga-pairs"}
CONTENT_FROM = "tcga-pairs"  # the only one with enough samples for the spread along an effect

# What follows is assumed. Samples by tissue in the article's microarrays are not known: a spread of sizes.
# fmt: off
TISSUES = {
    "blood": 18, "bone_marrow": 8, "brain": 12, "breast": 20, "colon": 9, "kidney": 5, "liver": 5, "lung": 12,
    "ovary": 4, "prostate": 3, "skin": 4,
}
# Organ, primary tumours and normals in TCGA; those with normals first. For LIHC none: the article had none.
PROJECTS = {
    "BRCA": ("breast", 1094, 113), "HNSC": ("head_and_neck", 520, 44), "KIRC": ("kidney", 533, 72),
    "LUAD": ("lung", 516, 59), "LUSC": ("lung", 501, 51), "PRAD": ("prostate", 497, 52),
    "THCA": ("thyroid", 505, 59), "UCEC": ("uterus", 545, 35), "LGG": ("brain", 516, 0),
    "LIHC": ("liver", 371, 0), "OV": ("ovary", 422, 0),
}
# fmt: on
_ORIGINS = {"cell_line": (0.30, 0.18), "patient": (0.70, 0.28)}  # share, share of normals: 3 to 1 in all
_TCGA_NORMALS = 470 / 6450  # the article's 92.7 % cancer
_LEAST = {"microarray": 12, "tcga": 30}  # of each status, origin and tissue, where there are enough samples
_PAIRED = 0.8  # of the TCGA normals come from the patient of a tumour
_STUDY_SIZE, _STUDIES = 40, (3, 8)  # samples in a study; least and most studies of a tissue and origin
_SUBTYPES = (0.5, 0.3, 0.2)
_SUBTYPE_SHARE = 0.5  # of the variance that tumours have beyond normals
_INTENSITIES = (2.0, 16.0)  # log2, what a scanner tells apart
_READS_PER_TPM = 5.7  # log2: brings 20,000 genes to a sum of about a million
_LEAST_READS = -1.0  # log2: half a normalised read is none
_BLOCK_BYTES = 64 * 2**20
_CALIBRATION = files(__package__) / "calibration.json"

Part = tuple[np.ndarray, np.ndarray]  # weights [samples, programs], programs [programs, genes]


@dataclass(frozen=True)
class Simulation:
    """What is to be simulated.

    Parameters
    ----------
    dataset : {"microarray", "tcga"}
        Log2 intensities of patients and cell lines, or RNA-seq of patients.
    samples, genes : int
        Size of the cohort.
    tissues : int
        Number of tissues (microarray) or projects (TCGA), 1 to 11.
    seed : int
        Each part has a stream of its own: a sweep over `sharing` or `shift` changes nothing else.
    sharing : float
        Correlation between tissues of the cancer program: 0 each its own, 1 one for all.
    shift : float
        Microarray only. 0: cell lines are like patients. 1: their common shift is as large as a tissue's
        program, of which they keep half (a quarter at 2).

    Raises
    ------
    InputError
        A value is out of its range.
    """

    dataset: str
    samples: int
    genes: int
    tissues: int
    seed: int = 0
    sharing: float = 0.5
    shift: float = 1.0

    def __post_init__(self):
        """Refuse what cannot be simulated."""
        if self.dataset not in PRESETS:
            raise InputError(f"dataset `{self.dataset}` cannot be simulated: choose {' or '.join(PRESETS)}")
        for field in fields(self)[1:]:  # 1 and 1.0 must give one name
            object.__setattr__(self, field.name, field.type(getattr(self, field.name)))
        ranges = {"tissues": (1, 11), "genes": (50, 10**6), "samples": (4 * self._cells, 10**6)}
        ranges |= {"seed": (0, 2**32 - 1), "sharing": (0, 1), "shift": (0, 10)}
        for field, (low, high) in ranges.items():
            if not low <= getattr(self, field) <= high:
                raise InputError(
                    f"{field}={getattr(self, field)} is out of range for simulated-{self.dataset} with"
                    f" {self.tissues} tissues: give {low} to {high}"
                )
        if self.dataset == "tcga" and self.shift != 1:
            raise InputError("shift moves cell lines, of which simulated-tcga has none: leave it out")

    @property
    def _cells(self) -> int:
        """Combinations of status, origin and tissue that occur."""
        both = sum(normals > 0 for _, _, normals in list(PROJECTS.values())[: self.tissues])
        return 4 * self.tissues if self.dataset == "microarray" else self.tissues + both

    @property
    def name(self) -> str:
        """The cohort's one name: its preset or its sizes, then what differs from the defaults."""
        sizes = {"samples": self.samples, "genes": self.genes, "tissues": self.tissues}
        presets = {size: preset for preset, size in PRESETS[self.dataset].items()}
        first = presets.get(tuple(sizes.values()), ",".join(f"{k}={v}" for k, v in sizes.items()))
        rest = [f"{f.name}={v}" for f in fields(self)[4:] if (v := getattr(self, f.name)) != f.default]
        return f"simulated-{self.dataset}:{','.join([first, *rest])}"

    @property
    def digest(self) -> str:
        """16 hexadecimal digits for the name, `SIMULATOR` and the calibration."""
        content = f"{self.name}\n{SIMULATOR}\n".encode() + _CALIBRATION.read_bytes()
        return hashlib.sha256(content).hexdigest()[:16]

    @classmethod
    def from_name(cls, name: str) -> "Simulation":
        """Read a name: ``simulated-tcga:demo,seed=2``, ``simulated-tcga:samples=300,genes=200,tissues=4``.

        Parameters
        ----------
        name : str
            The dataset, a colon, then a preset, ``key=value`` pairs, or both, with commas.

        Returns
        -------
        Simulation
            Its own ``name`` may be shorter than the one given.

        Raises
        ------
        InputError
            The name cannot be read, or a value is out of its range.
        """
        start, _, rest = name.partition(":")
        known = {f"simulated-{dataset}": dataset for dataset in PRESETS}
        if start not in known:
            raise InputError(f"cohort {name} cannot be simulated: begin with {': or '.join(known)}:")
        dataset = known[start]
        presets, types = PRESETS[dataset], {field.name: field.type for field in fields(cls)[1:]}
        first, _, others = rest.partition(",")
        values = {}
        if first in presets:
            values, rest = dict(zip(("samples", "genes", "tissues"), presets[first], strict=True)), others
        for part in filter(None, rest.split(",")):
            key, _, text = part.partition("=")
            try:
                values[key.strip()] = types[key.strip()](text)
            except (KeyError, ValueError):
                raise InputError(
                    f"cohort {name}: `{part}` should be a preset ({', '.join(presets)}) in first place, or a"
                    f" number for one of {', '.join(types)}"
                ) from None
        missing = [key for key in ("samples", "genes", "tissues") if key not in values]
        if missing:
            raise InputError(f"cohort {name}: add {', '.join(missing)}, or begin with one of {', '.join(presets)}")
        return cls(dataset, **values)


def simulate(simulation: Simulation, X: np.ndarray | None = None) -> "AnnData":
    """Make a simulated cohort.

    Parameters
    ----------
    simulation : Simulation
        Sizes, seed and the two swept parameters.
    X : ndarray, shape (samples, genes), float32, optional
        Where to write: an array, or a writable memory map, whose pages are let go as they are written. Besides
        it, memory holds the programs (up to 300 rows of it, twice for a moment) and a block of 64 MiB.

    Returns
    -------
    AnnData
        The cohort, as `gexlib.cohorts.schema` describes it; its ``X`` is the array given.

    Raises
    ------
    InputError
        `X` does not fit.
    """
    shape = (simulation.samples, simulation.genes)
    X = np.empty(shape, dtype=np.float32) if X is None else X
    if X.shape != shape or X.dtype != np.float32 or not X.flags.writeable:
        raise InputError(f"X does not fit {simulation.name}: give a writable float32 array of shape {shape}")
    obs, genes = _samples(simulation), _genes(simulation)
    parts = [
        (np.ones((len(obs), 1)), genes.baseline[None]),
        _tissue_programs(simulation, genes, obs),
        _study_effects(simulation, genes, obs),
        _cancer_programs(simulation, genes, obs),
        _cell_line_shift(simulation, genes, obs),
        _co_expression(simulation, genes, obs),
    ]
    weights = np.hstack([w for w, _ in parts]).astype(np.float32)
    programs = np.vstack([p for _, p in parts])
    del parts
    _fill(X, simulation, weights, programs, genes.sd, np.sqrt(genes.noise * genes.variance(obs)))
    real, shifted = CALIBRATED_ON[simulation.dataset], simulation.dataset == "microarray"
    swept = f"sharing {simulation.sharing}" + f", shift {simulation.shift}" * shifted
    uns = {
        "name": simulation.name,
        "source": f"simulated; its parts are as large as in {real}: {calibration()[real]['source']}",
        "scale": SCALE[simulation.dataset],
        "simulated": True,
        "digest": simulation.digest,
        "notes": [
            "Simulated data: not measurements.",
            f"Chosen, not measured: {swept}, the counts by tissue, the sizes of studies and subtypes.",
        ],
    }
    prefix = "probe" if shifted else "gene"
    from anndata import AnnData

    return AnnData(X, obs, pd.DataFrame(index=[f"{prefix}{i:06d}" for i in range(shape[1])]), uns)


@cache
def calibration() -> dict:
    """Return the committed statistics of real cohorts, each with its source, digest and command."""
    return json.loads(_CALIBRATION.read_bytes())


@dataclass(frozen=True)
class _Genes:
    """What the parts need to know of the genes; programs are in units of sd until they are summed."""

    real: dict  # the calibration
    baseline: np.ndarray  # [genes], log2
    sd: np.ndarray  # [genes], log2, within a study
    modules: np.ndarray  # [modules, genes]
    noise: float  # share of the variance that no module explains

    def program(self, rng: np.random.Generator, kind: str) -> np.ndarray:
        """Return a random program [genes], mean square 1, in part along the modules: genes move together."""
        aligned = self.real[f"{kind}_aligned"]
        common = rng.standard_normal(len(self.modules), dtype=np.float32) @ self.modules
        own = rng.standard_normal(len(self.sd), dtype=np.float32)
        return math.sqrt(aligned) / float(common.std()) * common + math.sqrt(1 - aligned) * own

    def shaped(self, program: np.ndarray, kind: str) -> np.ndarray:
        """Return a program, Gaussian over the genes, with the quantiles of the real ones."""
        return np.interp(program, ndtri(PROBABILITIES), self.real[f"{kind}_shape"]).astype(np.float32)

    @property
    def subtype_variance(self) -> float:
        """Variance between the subtypes of a kind."""
        return _SUBTYPE_SHARE * max(self.real["variance_cancer"] - self.real["variance_normal"], 0.0)

    def variance(self, obs: pd.DataFrame) -> np.ndarray:
        """Return each sample's variance within its study and subtype."""
        tumour = self.real["variance_cancer"] - self.subtype_variance
        return np.where(obs["status"] == "cancer", tumour, self.real["variance_normal"])


def _genes(simulation: Simulation) -> _Genes:
    real = calibration()[CALIBRATED_ON[simulation.dataset]]["statistics"]
    rng, n = _stream(simulation, "genes"), simulation.genes
    rank = (rng.permutation(n) + 0.5) / n  # of the mean: few genes, too, cover the whole range
    sd, table = np.empty(n, dtype=np.float32), real["gene_sd"]
    for i, quantiles in enumerate(table):
        mine = (rank * len(table)).astype(int) == i
        sd[mine] = np.interp(rng.random(mine.sum()), SD_PROBABILITIES, quantiles)
    modules = rng.standard_normal((len(real["eigenvalues"]), n), dtype=np.float32)
    modules *= np.sqrt(real["eigenvalues"], dtype=np.float32)[:, None]
    baseline = np.interp(rank, PROBABILITIES, real["gene_mean"]).astype(np.float32)
    return _Genes(real, baseline, sd, modules, 1 - sum(real["eigenvalues"]))


def _tissue_programs(simulation: Simulation, genes: _Genes, obs: pd.DataFrame) -> Part:
    """Return what makes a tissue; cell lines keep only a part of it."""
    rng, scale = _stream(simulation, "tissues"), math.sqrt(genes.real["tissue_variance"]) * genes.sd
    code, names = pd.factorize(obs["tissue"], sort=True)
    kept = np.where(obs["origin"] == "cell_line", 0.5**simulation.shift, 1.0)
    programs = np.array([genes.shaped(genes.program(rng, "tissue"), "tissue") for _ in names])
    return _one_hot(code, len(names)) * kept[:, None], programs * scale


def _study_effects(simulation: Simulation, genes: _Genes, obs: pd.DataFrame) -> Part:
    """Return what the samples of a study share, whatever their status."""
    rng, scale = _stream(simulation, "studies"), math.sqrt(genes.real["study_variance"]) * genes.sd
    code, names = pd.factorize(obs["study"], sort=True)
    return _one_hot(code, len(names)), np.array([scale * genes.program(rng, "effect") for _ in names])


def _cancer_programs(simulation: Simulation, genes: _Genes, obs: pd.DataFrame) -> Part:
    """Return cancer minus normal, in part shared and in part own, and the subtypes around it."""
    rng, shares = _stream(simulation, "cancer"), np.array(_SUBTYPES, dtype=np.float32)
    kind = obs["tissue"] if simulation.dataset == "microarray" else obs["cancer_type"]
    code, names = pd.factorize(kind, sort=True)
    strength = np.quantile(genes.real["effect_rms"], (rng.permutation(len(names)) + 0.5) / len(names))
    shared, effects, subtypes = genes.program(rng, "effect"), [], []
    for size in strength:
        own = genes.program(rng, "effect")
        mixed = math.sqrt(simulation.sharing) * shared + math.sqrt(1 - simulation.sharing) * own
        effects.append(float(size) * genes.shaped(mixed, "effect"))
        offsets = np.array([genes.program(rng, "effect") for _ in shares])
        offsets -= shares @ offsets  # the effect stays the mean of the kind's tumours
        subtypes.append(offsets * math.sqrt(genes.subtype_variance / (1 - float(shares @ shares))))
    cancer = (obs["status"] == "cancer").to_numpy()
    subtype = code * len(shares) + rng.choice(len(shares), size=len(obs), p=_SUBTYPES)
    weights = [_one_hot(code, len(names)), cancer[:, None] * _one_hot(subtype, len(names) * len(shares))]
    content = _tumour_content(rng, genes, np.array(effects), code, cancer)
    return np.hstack(weights) * content[:, None], np.vstack([*effects, *subtypes]) * genes.sd


def _tumour_content(rng: np.random.Generator, genes: _Genes, effects, code, cancer) -> np.ndarray:
    """Return how much of the cancer program each sample has: 1 in the mean tumour, 0 in the mean normal.

    Co-expression alone spreads samples along the effect; content adds what the spread of the real ones has
    beyond that. Effects weaker than any in that cohort spread as its weakest does: nothing is extrapolated.
    """
    real = calibration()[CONTENT_FROM]["statistics"]
    length = (effects**2).sum(axis=1)  # [kinds]
    explained = (((effects @ genes.modules.T) ** 2).sum(axis=1) + genes.noise * length) / length**2
    rms = np.maximum(np.sqrt(length / effects.shape[1]), min(real["effect_rms"]))
    content = cancer.astype(float)
    for status, rows in (("cancer", np.flatnonzero(cancer)), ("normal", np.flatnonzero(~cancer))):
        wanted = (real[f"content_{status}"] / rms) ** 2
        missing = np.sqrt(np.maximum(wanted - genes.real[f"variance_{status}"] * explained, 0))
        shape = np.interp(rng.random(len(rows)), PROBABILITIES, real[f"content_{status}_shape"])
        content[rows] += missing[code[rows]] * shape
    return content


def _cell_line_shift(simulation: Simulation, genes: _Genes, obs: pd.DataFrame) -> Part:
    """Return what all cell lines share."""
    weight = simulation.shift * (obs["origin"] == "cell_line").to_numpy(dtype=float)
    program = genes.program(_stream(simulation, "cell lines"), "tissue")
    return weight[:, None], (math.sqrt(genes.real["tissue_variance"]) * genes.sd * program)[None]


def _co_expression(simulation: Simulation, genes: _Genes, obs: pd.DataFrame) -> Part:
    """Return modules of genes that go up and down together from sample to sample."""
    scores = _stream(simulation, "co-expression").standard_normal((len(obs), len(genes.modules)))
    return scores * np.sqrt(genes.variance(obs))[:, None], genes.modules * genes.sd


def _fill(X: np.ndarray, simulation: Simulation, weights, programs, sd, spread) -> None:
    """Write weights @ programs + noise, on the scale of the dataset, block by block."""
    rows = max(1, _BLOCK_BYTES // (4 * simulation.genes))
    noise = np.empty((min(rows, len(X)), simulation.genes), dtype=np.float32)
    key = zlib.crc32(f"{simulation.dataset} noise".encode())
    for start in range(0, len(X), rows):
        block = X[start : start + rows]
        np.matmul(weights[start : start + rows], programs, out=block)
        for i in range(len(block)):  # a stream a sample: values do not depend on the size of a block
            rng = np.random.Generator(np.random.SFC64([simulation.seed, key, start + i]))
            rng.standard_normal(out=noise[i], dtype=np.float32)
            noise[i] *= sd
            noise[i] *= spread[start + i]
        block += noise[: len(block)]
        if simulation.dataset == "microarray":
            np.clip(block, *_INTENSITIES, out=block)
        else:
            block[block < _LEAST_READS] = -np.inf
            block -= _READS_PER_TPM
            np.log1p(np.exp2(block, out=block), out=block)
            block /= math.log(2)
        if isinstance(X, np.memmap):
            X.flush()
            X._mmap.madvise(MADV_DONTNEED)


def _samples(simulation: Simulation) -> pd.DataFrame:
    """Return the labels: how many of what, in which study, from which patient; in random order."""
    frames = []
    for (tissue, project, origin), (tumours, normals) in _counts(simulation).items():
        total = tumours + normals
        pattern = ["both", "both", "cancer"] if project else ["both", "both", "cancer", "normal"]
        holds = np.resize(pattern, np.clip(total // _STUDY_SIZE, *_STUDIES))
        study = np.r_[
            np.resize(np.flatnonzero(holds != "normal"), tumours),
            np.resize(np.flatnonzero(holds != "cancer"), normals),
        ]
        patient = np.arange(total)
        if project:  # the other sample of a pair is a tumour from the same site
            tumour = np.flatnonzero(holds[study[:tumours]] == "both")[: round(_PAIRED * normals)]
            pairs = slice(tumours, tumours + len(tumour))
            patient[pairs], study[pairs] = tumour, study[tumour]
        place = project or f"{tissue} {origin}"
        labels = {
            "status": np.repeat(["cancer", "normal"], [tumours, normals]),
            "origin": origin,
            "tissue": tissue,
            "cancer_type": project,
            "study": [f"{place} study {number + 1}" for number in study],
            "patient": [f"{place} donor {number + 1}" for number in patient],
        }
        frames.append(pd.DataFrame(labels))
    obs = pd.concat(frames, ignore_index=True)
    obs = obs.iloc[_stream(simulation, "order").permutation(len(obs))]
    return obs.set_axis([f"S{i:06d}" for i in range(len(obs))])


def _counts(simulation: Simulation) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Return tumours and normals for each (tissue, project, origin)."""
    least = min(_LEAST[simulation.dataset], simulation.samples // (2 * simulation._cells))
    if simulation.dataset == "microarray":
        tissues = list(TISSUES)[: simulation.tissues]
        origins = np.array([(share * (1 - normal), share * normal) for share, normal in _ORIGINS.values()])
        weights = np.multiply.outer([TISSUES[tissue] for tissue in tissues], origins)
        counts = _allocate(simulation.samples, weights.ravel(), least).reshape(-1, 2).tolist()
        places = [(tissue, "", origin) for tissue in tissues for origin in _ORIGINS]
    else:
        projects = list(PROJECTS.items())[: simulation.tissues]
        tumours, normals = (np.array([row[i] for _, row in projects]) for i in (1, 2))
        total = max(round(_TCGA_NORMALS * simulation.samples), least * (normals > 0).sum())
        normals[normals > 0] = _allocate(total, normals[normals > 0], least)
        tumours = _allocate(simulation.samples - total, tumours, least)
        counts = zip(tumours.tolist(), normals.tolist(), strict=True)
        places = [(organ, project, "patient") for project, (organ, _, _) in projects]
    return dict(zip(places, counts, strict=True))


def _allocate(total: int, weights: np.ndarray, least: int) -> np.ndarray:
    """Share out total in proportion to the weights, nobody getting fewer than least."""
    short = np.zeros(len(weights), dtype=bool)
    while True:
        rest = weights * ~short
        ideal = np.where(short, least, rest * (total - least * short.sum()) / rest.sum())
        if not (ideal < least).any():
            break
        short |= ideal < least
    counts = ideal.astype(int)
    counts[np.argsort(counts - ideal, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _stream(simulation: Simulation, part: str) -> np.random.Generator:
    """Return the random numbers of one part."""
    return np.random.default_rng([simulation.seed, zlib.crc32(f"{simulation.dataset} {part}".encode())])


def _one_hot(code: np.ndarray, number: int) -> np.ndarray:
    return (code[:, None] == np.arange(number)).astype(np.float32)
