"""Between cell lines and patient data (article: "Between cell lines and patient data", Table 5, Fig. 4).

The samples of one cohort come from two domains: cell lines and patients or, in a joint cohort, two platforms.
A source network learns cancer against normal on one domain. It is tested there and, as it is, on the other
(Table 5); then it is fine-tuned on n samples of the other and compared with a network trained from scratch on
the same n samples (Fig. 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gexlib import statistics
from gexlib.cohorts import open_cohort
from gexlib.cohorts.schema import check_two_classes
from gexlib.cohorts.simulate import Simulation
from gexlib.errors import InputError
from gexlib.experiments import transfers
from gexlib.experiments.base import as_list, cell_problem, samples
from gexlib.experiments.transfers import MAIN_SCALERS, Transfer, TransferParameters, arm_cells, check_transfer
from gexlib.models import MLP
from gexlib.results import Cell
from gexlib.tasks import Problem, holdout, platform, problem, seed_of

if TYPE_CHECKING:
    from anndata import AnnData

PROTOCOL = 1
OWN = "own"  # the source's network on the test samples of its own domain
DOMAINS = ("auto", "origin", "platform")
PARTS = 5  # of the split: one is held out

#: Rules that stop training on the target, as changes of `gexlib.training.Training`; the first in use is the main one.
STOPPING = {
    "patience": {},  # as `training` says
    "first": {"patience": 0},  # article: when the validation loss increases
    "fixed": {"validation": 0.0},  # no validation set, `fixed_epochs`
}
#: Below so many samples `gexlib.training.validation_split` finds none to validate on: all rules are the fixed one.
LEAST_VALIDATED = 40


@dataclass(frozen=True)
class Parameters(TransferParameters):
    """What a notebook may set, beside `TransferParameters`.

    Attributes
    ----------
    domain : str
        The two domains: "origin" (cell lines and patients), "platform" (of a joint cohort), or "auto":
        platform where the cohort has it, else origin.
    directions : list of str
        Source and target, such as "patient:cell_line"; empty: both ways. A size n beyond the target's training
        samples is left out for that direction.
    repeats : int
        Splits into training and test samples, each with source networks of its own (article: 10).
    split : str
        "random" (by patient where patients repeat), "patient" or "study".
    stopping : list of str
        Rules that stop training on the target, any of `STOPPING`. Source networks all stop as `training` says.
    stopping_n : list of int
        Sizes at which the further rules, and the further scalers, are run, with the fewest frozen layers;
        empty: all of n. Sizes that are not among n are left out. The main rule and the main scaler, the first
        named of `STOPPING` and of `MAIN_SCALERS`, are run at every n with every F.
    sweep : list of str
        Simulated cohorts, run with F = 0 only and without classical methods.
    sweep_n : list of int
        Their sizes n.
    """

    cohort: str | list[str] = "simulated-microarray:smoke"
    n: list[int] = field(default_factory=lambda: [25, 50])
    frozen: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    domain: str = "auto"
    directions: list[str] = field(default_factory=list)
    repeats: int = 10
    split: str = "random"
    stopping: list[str] = field(default_factory=lambda: ["patience"])
    stopping_n: list[int] = field(default_factory=list)
    sweep: list[str] = field(default_factory=list)
    sweep_n: list[int] = field(default_factory=lambda: [25])


def cells(parameters: Parameters) -> list[Cell]:
    """List the cells: own and zero-shot once a direction and repeat; the other arms for every n.

    Raises
    ------
    InputError
        A cohort without two domains, a direction that it lacks, a size beyond every target's training samples.
    """
    p = parameters
    check_transfer(p)
    unknown = [rule for rule in p.stopping if rule not in STOPPING]
    if unknown or not p.stopping:
        raise InputError(f"stopping={p.stopping}: name one or more of {', '.join(STOPPING)}.")
    if p.domain not in DOMAINS:
        raise InputError(f"domain '{p.domain}' is not known: use one of {', '.join(DOMAINS)}.")
    if p.repeats < 1:
        raise InputError(f"repeats={p.repeats}: it must be 1 or more.")
    for name in p.sweep:
        Simulation.from_name(name)
    p = replace(
        p,
        scaler=[scaler for scaler in MAIN_SCALERS if scaler in p.scaler],
        stopping=[rule for rule in STOPPING if rule in p.stopping],
    )
    first = {"scaler": p.scaler[:1], "stopping": p.stopping[:1]}
    swept = replace(p, **first, n=p.sweep_n, frozen=[0], methods=[], pooled=[], stopping_n=[])
    found = [*_cells_of(as_list(p.cohort), p, False), *_cells_of(p.sweep, swept, True)]
    # a run that stops early then has the same number of repeats of everything
    return sorted(found, key=lambda cell: cell.parameters["repeat"])


def notes(parameters: Parameters) -> list[str]:
    """Say which two domains of each cohort are compared, where ``domain`` leaves it to the cohort."""
    found = []
    for name in as_list(parameters.cohort) if parameters.domain == "auto" else ():
        domain, sides = domains(open_cohort(name), parameters.domain)
        found.append(f"{name}: domain=auto is {domain} here: {' and '.join(sides)} are compared.")
    return found


def _cells_of(cohorts: list[str], p: Parameters, sweep: bool) -> list[Cell]:
    """List the cells of some cohorts; `sweep` is what their rows say of themselves."""
    found, known, largest = [], {}, 0
    for name in cohorts:
        cohort = open_cohort(name)
        check_two_classes(cohort)
        column, (one, other) = domains(cohort, p.domain)
        both = {f"{one}:{other}": (one, other), f"{other}:{one}": (other, one)}
        known |= both
        whole = problem(cohort, f"{platform(cohort)}/pan", p.split)
        parts = [divide(cohort, whole, column, p.seed, repeat) for repeat in range(p.repeats)]
        for source, target in (both[d] for d in both if d in p.directions or not p.directions):
            available = min(len(train[target].rows) for train, _ in parts)
            largest = max(largest, available)
            for repeat in range(p.repeats):
                common = {
                    "cohort": cohort.uns["name"], "domain": column, "source": source, "target": target,
                    "split": p.split, "repeat": repeat, "seed": p.seed, "sweep": sweep,
                }  # fmt: skip
                for cell in _arms(p, common, [n for n in p.n if n <= available]):
                    found.append(Cell("cell_lines_and_patients", cell, cohort.uns["digest"], PROTOCOL))
    missing = [d for d in p.directions if d not in known]
    if cohorts and missing:
        raise InputError(f"directions: '{missing[0]}' is not one of {', '.join(cohorts)}; use {', '.join(known)}.")
    for n in p.n if cohorts else ():
        if not 4 <= n <= largest:
            name = "sweep_n" if sweep else "n"
            raise InputError(f"{name}: {n} target samples cannot be drawn from {largest}; use 4 to {largest}.")
    return found


def _arms(p: Parameters, common: dict, sizes: list[int]) -> Iterator[dict]:
    """Yield the parameters of the cells of one direction and repeat: the main arm, then the slices."""
    main, *further = p.stopping
    networks = {"network": p.network, "training": p.training}
    here = replace(p, scaler=p.scaler[:1])
    for cell in arm_cells(_stopped(here, main), common, sizes):
        if cell["arm"] == "zero_shot":
            yield {**common, **networks, "arm": OWN, "scaler": cell["scaler"]}
            yield {**cell, "training": p.training}
        else:
            yield _labelled(cell, p, main)
    slices = [n for n in sizes if n in p.stopping_n or not p.stopping_n]
    bare = replace(p, methods=[], pooled=[], frozen=sorted(p.frozen)[:1])
    arms = [(replace(bare, scaler=[scaler]), main, slices) for scaler in p.scaler[1:]]
    arms += [
        (replace(bare, scaler=p.scaler[:1]), rule, [n for n in slices if n >= LEAST_VALIDATED]) for rule in further
    ]
    for arm, rule, at in arms:
        for cell in arm_cells(_stopped(arm, rule), common, at):
            if cell["arm"] != "zero_shot":
                yield _labelled(cell, p, rule)


def _stopped(p: Parameters, rule: str) -> Parameters:
    """Return the parameters with training on the target stopped by a rule."""
    return replace(p, training={**p.training, **STOPPING[rule]})


def _labelled(cell: dict, p: Parameters, rule: str) -> dict:
    """Say in a network's cell which rule stops it, and how its source network is trained."""
    if cell["arm"] == "baseline":
        return {**cell, "stopping": rule}
    return {**cell, "stopping": rule, "source_training": p.training} if cell["arm"] == "fine_tuned" else cell


def domains(cohort: AnnData, domain: str) -> tuple[str, list[str]]:
    """Return the label that tells the domains of a cohort apart, and the names of the two, sorted.

    Raises
    ------
    InputError
        There are not two.
    """
    name = cohort.uns["name"]
    if domain == "auto":
        domain = "platform" if "platform" in cohort.obs else "origin"
    if domain not in cohort.obs:
        raise InputError(f"domain={domain}: {name} has no such label; use origin or a joint cohort.")
    found = sorted(set(cohort.obs[domain]) - {""})
    if len(found) != 2:
        raise InputError(
            f"domain={domain}: {name} has {' and '.join(found) or 'none'}; choose a cohort with two, such as "
            "simulated-microarray:demo."
        )
    return domain, found


def divide(
    cohort: AnnData, whole: Problem, column: str, seed: int, repeat: int
) -> tuple[dict[str, Problem], dict[str, Problem]]:
    """Split all samples once, by patient, and sort both sides by domain: training and test samples of each.

    The split keeps the proportions of status and domain. Samples of no known domain are left out.

    Raises
    ------
    InputError
        A domain has too few samples of a status for a training and a test side.
    """
    label = cohort.obs[column].to_numpy(str)[whole.rows]
    known = np.flatnonzero(label != "")
    names, of_domain = np.unique(label[known], return_inverse=True)
    status = whole.take(known)
    strata = replace(
        status, y=2 * of_domain + status.y, classes=tuple(f"{d}, {s}" for d in names for s in status.classes)
    )
    for k, name in enumerate(strata.classes):
        groups = len(np.unique(strata.groups[strata.y == k]))
        if groups < PARTS:
            what = "studies" if strata.split == "study" else "patients"
            raise InputError(
                f"domain={column}: {cohort.uns['name']} has samples of {groups} {what} for {name}; "
                f"{PARTS} are needed to hold one part in {PARTS} out."
            )
    sides = holdout(strata, seed_of(seed, column, repeat), PARTS)
    if len(np.unique(strata.y[sides[1]])) < len(strata.classes):
        raise InputError(
            f"split '{strata.split}': a domain of {cohort.uns['name']} is tested on one class; use random."
        )
    train, test = ({name: status.take(side[of_domain[side] == k]) for k, name in enumerate(names)} for side in sides)
    return train, test


class Direction(Transfer):
    """From one domain to the other in one repeat: a `Transfer` that also tests the source's network at home.

    `home` holds the test samples of the source's domain. The source's network is trained alike whatever rule
    stops training on the target.
    """

    def __init__(self, *arguments, home: Problem):
        super().__init__(*arguments)
        self.home = home

    def source_model(self, p: dict, source: str) -> MLP:
        """Train the source's network, or return it where it is trained."""
        return super().source_model({**p, "training": p.get("source_training", p["training"])}, source)

    def rows(self, cell: Cell, source: str, /, **axes) -> list[dict]:
        """Run a cell's arm; `OWN` is the source's network as it is, on test samples of its own domain."""
        p = cell.parameters
        if p["arm"] != OWN:
            return super().rows(cell, source, **axes)
        at_home = Transfer(
            self.X, self.sources, self.sources[source], self.home, self.pan, self.source_seed, self.target_seed
        )
        at_home._networks, at_home._scalers = self._networks, self._scalers
        return at_home.rows(replace(cell, parameters={**p, "arm": "zero_shot"}), source, arm=OWN, **axes)


def group(cell: Cell) -> str:
    """Return the group of a cell: all of one direction and repeat share the source's network."""
    p = cell.parameters
    return "|".join(str(p[axis]) for axis in ("cohort", "domain", "source", "target", "split", "repeat", "seed"))


def direction_of(cell: Cell) -> Direction:
    """Set up the direction and repeat of a cell."""
    p = cell.parameters
    cohort = samples(p["cohort"], cell.cohort_digest)
    pan = cell_problem(p["cohort"], cell.cohort_digest, f"{platform(cohort)}/pan", p["split"])
    train, test = divide(cohort, pan, p["domain"], p["seed"], p["repeat"])
    source, target = p["source"], p["target"]
    seeds = seed_of(p["seed"], source, p["repeat"]), seed_of(p["seed"], target, p["repeat"], "target")
    sources = {source: train[source]}
    return Direction(cohort.X, sources, train[target], test[target], pan, *seeds, home=test[source])


def evaluate(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[dict]]]:
    """Run the cells of one direction and repeat; the source's network is trained when a cell first needs it."""
    direction = None
    for cell in cells:
        direction = direction or direction_of(cell)
        p = cell.parameters
        source = p["source"]
        tested = direction.home if p["arm"] == OWN else direction.test
        yield cell, direction.rows(
            cell, source, source=source, target=source if p["arm"] == OWN else p["target"], repeat=p["repeat"],
            domain=p["domain"], sweep=p["sweep"], stopping=p.get("stopping"),
            n_source=len(direction.sources[source].rows), test_cancer=float(tested.y.mean()),
        )  # fmt: skip


# Tables


def _flag(rows: pd.DataFrame, name: str) -> pd.Series:
    """Whether a column is true; false where rows do not have it, as before anything is recorded."""
    return rows[name].eq(True).fillna(False).astype(bool) if name in rows else pd.Series(False, index=rows.index)


def headline(rows: pd.DataFrame, domain: str = "") -> pd.DataFrame:
    """Rows that are not of the sweep; of one kind of domain only where `domain` names it."""
    kept = rows[~_flag(rows, "sweep")]
    return kept[kept["domain"] == domain] if domain and len(kept) else kept


def _mains(rows: pd.DataFrame, name: str, order: Iterable[str]) -> list[str]:
    """Values of a column that occur, in the order given: the first is the main one."""
    return [value for value in order if (rows[name] == value).any()]


def fig4(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of Fig. 4 and what stands beside it: main scaler and rule of stopping, every F; without those of `OWN`."""
    rows, parts = headline(rows), []
    for _, part in rows[rows["arm"] != OWN].groupby("cohort"):
        for name, order in (("scaler", MAIN_SCALERS), ("stopping", STOPPING)):
            main = _mains(part[part["arm"] != "pooled"], name, order)[:1]
            part = part[part[name].isna() | part[name].isin(main)]
        parts.append(part)
    return pd.concat(parts) if parts else rows


def main_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `fig4` with the fewest frozen layers, and of the classical methods the best by its inner score."""
    parts = [transfers.main_lines(part) for _, part in fig4(rows).groupby("cohort")]
    return pd.concat(parts) if parts else rows


def summarise(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Fig. 4 as a table: every arm and rule of stopping in each direction at every n, and its gain.

    A pair is a repeat: another split, another source network, other target samples.
    """
    rows, parts = headline(rows), []
    for _, part in rows[rows["arm"] != OWN].groupby("cohort"):
        found = _mains(part, "stopping", STOPPING)
        for rule in found:
            # what no rule stops, classical methods and the source's network as it is, stands beside the main one
            kept = part[(part["stopping"] == rule) | (part["stopping"].isna() & (rule == found[0]))]
            parts.append(statistics.compare_arms(kept, metric, unit="repeat").assign(stopping=rule))
    return pd.concat(parts, ignore_index=True)


def arms(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Gain under each scaler and rule of stopping, where a size was run with several, with the fewest frozen layers."""
    table = summarise(rows, metric)
    table = table[(table["arm"] == "fine_tuned") & (table["frozen"] == table["frozen"].min())]
    several = table.groupby(["cohort", "source", "target", "n"])["mean"].transform("size") > 1
    return _beside_baseline(table[several]).sort_values(["cohort", "target", "n", "scaler"], kind="stable")


def _beside_baseline(table: pd.DataFrame) -> pd.DataFrame:
    """Add the baseline's mean over the same pairs."""
    return table.assign(baseline=table["mean"] - table["difference"])


def table5(rows: pd.DataFrame, metrics=("accuracy", "balanced_accuracy", "roc_auc")) -> pd.DataFrame:
    """Table 5: the network of each domain on the test samples of both, means over repeats.

    Returns
    -------
    DataFrame
        One row a (cohort, source, target): ``n_source`` (training samples), ``majority`` (accuracy of always
        naming the larger class of the test samples), and each metric with its 95 % interval, ``<metric>_low``,
        ``<metric>_high``.
    """
    keys = ["cohort", "source", "target"]
    rows = headline(rows)
    rows = rows[rows["arm"].isin([OWN, "zero_shot"])]
    facts = rows.assign(majority=rows["test_cancer"].where(rows["test_cancer"] > 0.5, 1 - rows["test_cancer"]))
    found = facts.groupby(keys).agg(n_source=("n_source", "median"), majority=("majority", "mean"))
    found["n_source"] = found["n_source"].astype(int)
    for metric in metrics:
        part = statistics.summarise(rows, metric, keys).set_index(keys)[["mean", "low", "high"]]
        found = found.join(part.set_axis([metric, f"{metric}_low", f"{metric}_high"], axis=1))
    return found.reset_index()


def epochs(rows: pd.DataFrame) -> pd.DataFrame:
    """Epochs to the end of training, fine-tuned beside baseline, where training stopped early.

    Returns
    -------
    DataFrame
        Columns of `statistics.compare_arms` (``mean`` and ``difference`` in epochs), ``baseline`` and
        ``stopping``; no rows where nothing stopped early.
    """
    rows = headline(rows)
    rows = rows[_flag(rows, "early_stopping") & (rows["metric"] == "accuracy")]
    rows = rows.assign(metric="epochs", value=rows["epochs"].astype(float))
    if rows.empty:
        return pd.DataFrame(columns=[*statistics.ARM_AXES, "mean", "difference", "baseline", "stopping"])
    table = summarise(rows, "epochs")
    return _beside_baseline(table[table["arm"] == "fine_tuned"]).reset_index(drop=True)


def sweep(rows: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Gain with F = 0 on the simulated cohorts of the sweep.

    Returns
    -------
    DataFrame
        One row a (cohort, source, target, n): ``sharing`` and ``shift`` of the simulation, means of ``baseline``,
        ``fine_tuned`` and ``zero_shot``, ``gain`` with its 95 % interval ``gain_low``, ``gain_high``, ``p_raw``,
        ``n_pairs``; no rows without a sweep.
    """
    columns = [
        "sharing", "shift", "cohort", "source", "target", "n", "baseline", "fine_tuned", "zero_shot", "gain",
        "gain_low", "gain_high", "p_raw", "n_pairs",
    ]  # fmt: skip
    rows = rows[_flag(rows, "sweep") & (rows["arm"] != OWN)]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    table = _beside_baseline(statistics.compare_arms(rows, metric, unit="repeat"))
    keys = ["cohort", "source", "target"]
    zero = table[table["arm"] == "zero_shot"].set_index(keys)["mean"].rename("zero_shot")
    table = table[table["arm"] == "fine_tuned"].join(zero, on=keys)
    simulated = table["cohort"].map(Simulation.from_name)
    table = table.assign(sharing=simulated.map(lambda s: s.sharing), shift=simulated.map(lambda s: s.shift))
    names = {"mean": "fine_tuned", "difference": "gain", "difference_low": "gain_low", "difference_high": "gain_high"}
    order = ["source", "n", "shift", "sharing"]
    return table.rename(columns=names)[columns].sort_values(order, ignore_index=True)
