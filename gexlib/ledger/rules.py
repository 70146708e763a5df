"""How each statement of the article is decided: what is measured, and where it should lie.

Where follows from the statement's type, value and margin in ``book/published.csv``: no number of the article is written
here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gexlib.ledger import measures
from gexlib.ledger.claims import Claim, claims, stated
from gexlib.ledger.evidence import Region
from gexlib.ledger.measures import Measure

#: "No difference" within this many points, where a statement has no margin of its own (the protocol's).
MARGIN = 1.0


def by_type(claim: Claim) -> Region:
    """Return where a statement's type puts its quantities."""
    match claim.type, claim.text:
        case "value", _:
            return Region(claim.value - claim.margin, claim.value + claim.margin)
        case "no difference", _:
            return Region(-claim.margin, claim.margin)
        case ("order", _) | ("direction", "up"):
            return Region(low=0)
        case "direction", "down":
            return Region(high=0)
    raise ValueError(f"{claim.id}: a {claim.type} needs a rule that says where its quantities lie")


def above_zero(_: Claim) -> Region:
    """Return the region of what is positive."""
    return Region(low=0)


def below_zero(_: Claim) -> Region:
    """Return the region of what is negative."""
    return Region(high=0)


def never_above(_: Claim) -> Region:
    """Return the region of what is not positive, or equal to 0 within the margin."""
    return Region(high=0, slack=MARGIN)


def below_value(claim: Claim) -> Region:
    """Return the region of what is below the statement's number."""
    return Region(high=claim.value)


def costs_less(claim: Claim) -> Region:
    """Return the region of gains that are losses of less than the statement's number."""
    return Region(low=-claim.value)


@dataclass(frozen=True)
class Rule:
    """How a statement is decided.

    Attributes
    ----------
    quantity : str
        What is measured, in words; the ledger prints it.
    measure : callable
        (rows of one cohort, claim) -> estimates, in `unit`; none where the rows cannot say.
    region : callable
        claim -> where they should lie.
    share : float
        Of the quantities, how many should (see `evidence.outcome`).
    unit : str
    repetition : str
        What a repetition is where it is not the section's (`REPETITIONS`).
    """

    quantity: str
    measure: Measure
    region: Callable[[Claim], Region] = by_type
    share: float = 1.0
    unit: str = "points"
    repetition: str = ""


#: What the intervals of a section are about.
REPETITIONS = {
    "data": "samples",
    "sensitivity": "draws",
    "comparison": "splits",
    "cell-lines-and-patients": "repeats",
    "pan-to-specific": "folds",
    "cancer-to-cancer": "folds",
    "unsupervised": "folds",
}


#: What the authors chose or had: nothing that other samples could confirm or contradict.
DESIGN = frozenset(
    """
    study/tasks study/networks
    data/source-arrays data/microarray-genes data/microarray-tissue-size data/microarray-tasks data/microarray-tissues
    data/microarray-class-ratio data/microarray-train data/microarray-test data/tcga-project-size data/tcga-tasks
    data/tcga-without-normals data/tcga-train data/tcga-test-status data/tcga-test-type data/target-smallest
    data/target-largest sensitivity/draws sensitivity/fit-share comparison/inner-folds comparison/specific-smallest
    comparison/specific-largest cell-lines-and-patients/repeats cell-lines-and-patients/cell-lines-n
    cell-lines-and-patients/patients-n cell-lines-and-patients/smallest-n cell-lines-and-patients/largest-n
    cell-lines-and-patients/most-frozen pan-to-specific/folds unsupervised/labelled
    unsupervised/unlabelled-microarray unsupervised/unlabelled-tcga
    """.split()
)

_SMALL, _LARGE = "comparison/small-n", "comparison/large-n"
_FEWEST, _EVERY = "gain at the fewest target samples", "gain at every number of target samples"

RULES: dict[str, Rule] = {
    "data/tcga-cancer-share": Rule("share of cancer samples", measures.cancer_share, unit="percent"),
    # sensitivity
    "sensitivity/layers-range": Rule(
        "median accuracy of the best number of layers minus the worst, chosen and measured on different draws",
        measures.best_minus_worst("layers"),
        below_value,
    ),
    "sensitivity/neurons-range": Rule(
        "median accuracy of the best eighth of the numbers of neurons minus the worst, each on draws of its own",
        measures.best_minus_worst("neurons", boxes=8),
        below_value,
    ),
    "sensitivity/small-networks": Rule(
        "median accuracy of the third of draws with the fewest neurons minus that with the most, type task",
        measures.medians(
            {
                "small minus large": (
                    lambda d: d["neurons"] <= d["neurons"].quantile(1 / 3),
                    lambda d: d["neurons"] >= d["neurons"].quantile(2 / 3),
                )
            },
            "/type",
        ),
    ),
    "sensitivity/deep-decline": Rule(
        "median accuracy of deeper networks minus that of the others", measures.deep_decline, below_zero
    ),
    "sensitivity/residual": Rule("accuracy with residual connections minus without, same draws", measures.residual),
    "sensitivity/tcga-status-layers": Rule(
        "median accuracy with four layers minus that with one, status task",
        measures.medians({"four minus one": (lambda d: d["layers"] == 4, lambda d: d["layers"] == 1)}, "/pan"),
    ),
    "sensitivity/optimisers": Rule(
        "accuracy that one draw in twenty passes, an optimiser minus another", measures.optimisers
    ),
    "sensitivity/learning-rate": Rule(
        "learning rate of SGD over that of the other, median of the best tenth of draws",
        measures.against_sgd(measures.rates_of_best, lambda sgd, other: np.median(sgd, -1) - np.median(other, -1)),
        unit="powers of ten",
    ),
    "sensitivity/sgd-stable": Rule(
        "share of draws that fail, the other minus SGD",
        measures.against_sgd(measures.failed, lambda sgd, other: 100 * (other.mean(-1) - sgd.mean(-1))),
    ),
    "sensitivity/batch-norm": Rule(
        "median accuracy with batch normalisation minus without: type task, and against other tasks",
        measures.batch_norm,
    ),
    "sensitivity/batch-size": Rule(
        "rank correlation of batch size and accuracy", measures.batch_size, unit="rank correlation"
    ),
    "sensitivity/regularisation-small": Rule(
        "median accuracy with little regularisation minus next to none",
        measures.medians(
            {
                "dropout": (lambda d: d["dropout"].between(0.1, 0.3), lambda d: d["dropout"] < 0.1),
                "L1": (measures.weighted("l1", 1e-7, 1e-5), measures.weighted("l1", 0, 0)),
            }
        ),
    ),
    "sensitivity/regularisation-large": Rule(
        "median accuracy with strong regularisation minus weak",
        measures.medians(
            {
                "dropout": (lambda d: d["dropout"] > 0.6, lambda d: d["dropout"] < 0.3),
                "L1": (measures.weighted("l1", 1e-2, 1), measures.weighted("l1", 0, 1e-5)),
            }
        ),
    ),
    "sensitivity/l2": Rule(
        "median accuracy with L2 minus L1 of the same weight",
        measures.medians(
            {f"{w:g}": (measures.weighted("l2", w, w), measures.weighted("l1", w, w)) for w in (1e-6, 1e-4, 1e-2)}
        ),
    ),
    # comparison
    "comparison/nn-first": Rule(
        "accuracy of the network minus each other method", measures.leads(None, measures.is_pan)
    ),
    "comparison/microarray-nn": Rule("accuracy of the network", measures.level("microarray/pan", None)),
    "comparison/microarray-svm-rbf": Rule("accuracy of the Gaussian SVM", measures.level("microarray/pan", "svm_rbf")),
    "comparison/microarray-p": Rule(
        "p-value of the paired test of the network with each method", measures.p_values, below_value, unit="p"
    ),
    "comparison/tcga-status": Rule(
        "accuracy of the network minus each other method", measures.leads(None, lambda task: task == "tcga/pan")
    ),
    "comparison/tcga-type": Rule(
        "accuracy of the network minus each other method", measures.leads(None, lambda task: task == "tcga/type")
    ),
    "comparison/lasso": Rule(
        "accuracy of each other method minus LASSO", measures.leads("lasso", measures.is_pan, sign=-1)
    ),
    "comparison/tcga-accuracy": Rule("accuracy of each method", measures.level("tcga", "")),
    _SMALL: Rule(
        "accuracy of the network minus the median classical method, at each size below",
        measures.behind_at(lambda claim: (0, claim.value)),
        below_zero,
    ),
    "comparison/middle-n": Rule(
        "accuracy of the network minus the median classical method, at each size between",
        measures.behind_at(lambda claim: (stated(_SMALL), stated(_LARGE) + 1)),
    ),
    _LARGE: Rule(
        "accuracy of the network minus each classical method, at each size above", measures.best_at, above_zero
    ),
    "comparison/gap": Rule(
        "lead of the network over the median classical method, largest size minus smallest above",
        measures.growing_lead(lambda claim: stated(_LARGE)),
    ),
    "comparison/classical-flat": Rule(
        "growth of the network's accuracy minus that of the median classical method, above",
        measures.growing_lead(lambda claim: claim.value),
        above_zero,
    ),
    "comparison/specific": Rule(
        "accuracy of the network minus each other method, every single-cancer task",
        measures.leads(None, lambda task: not measures.is_pan(task)),
    ),
    # between origins
    "cell-lines-and-patients/cell-lines-on-cell-lines": Rule(
        "accuracy", measures.table5(measures.CELL_LINE, measures.CELL_LINE)
    ),
    "cell-lines-and-patients/cell-lines-on-patients": Rule(
        "accuracy", measures.table5(measures.CELL_LINE, measures.PATIENT)
    ),
    "cell-lines-and-patients/patients-on-patients": Rule(
        "accuracy", measures.table5(measures.PATIENT, measures.PATIENT)
    ),
    "cell-lines-and-patients/patients-on-cell-lines": Rule(
        "accuracy", measures.table5(measures.PATIENT, measures.CELL_LINE)
    ),
    "cell-lines-and-patients/cell-lines-easier": Rule("accuracy on cell lines minus on patients", measures.easier),
    **{
        f"cell-lines-and-patients/to-{label}-{name}": Rule("accuracy", measures.accuracy_at_fewest(target, arm))
        for label, target in (("patients", measures.PATIENT), ("cell-lines", measures.CELL_LINE))
        for name, arm in (("baseline", "baseline"), ("fine-tuned", "fine_tuned"))
    },
    **{
        f"cell-lines-and-patients/to-{label}-helps": Rule(
            "gain at each number of target samples below",
            measures.gains_to([target], lambda target, n: n < measures.helps_below(target)),
            above_zero,
        )
        for label, target in (("patients", measures.PATIENT), ("cell-lines", measures.CELL_LINE))
    },
    "cell-lines-and-patients/after-threshold": Rule(
        "gain at each number of target samples from there on",
        measures.gains_to([measures.PATIENT, measures.CELL_LINE], lambda target, n: n >= measures.helps_below(target)),
    ),
    "cell-lines-and-patients/to-patients-gain": Rule(
        "largest mean gain", measures.largest_gain(measures.PATIENT), unit="accuracy"
    ),
    "cell-lines-and-patients/to-cell-lines-gain": Rule(
        "largest mean gain", measures.largest_gain(measures.CELL_LINE), unit="accuracy"
    ),
    "cell-lines-and-patients/better-direction": Rule(
        "gain to cell lines minus gain to patients", measures.better_direction
    ),
    "cell-lines-and-patients/frozen-order": Rule(
        "gain with fewer frozen layers minus with more", measures.frozen_order
    ),
    "cell-lines-and-patients/frozen-harm": Rule("lowest gain of each curve with frozen layers", measures.frozen_harm),
    "cell-lines-and-patients/baseline-majority": Rule(
        "accuracy of the baseline minus the share of the larger class, fewest target samples", measures.majority
    ),
    "cell-lines-and-patients/epochs": Rule(
        "epochs of fine-tuning minus those of the baseline", measures.epochs, below_zero, unit="epochs"
    ),
    # from all cancers to one
    **{
        claim.id: Rule(
            _EVERY if claim.type == "no difference" else _FEWEST,
            measures.of_target(measures.pan_gains, "all" if claim.type == "no difference" else "smallest"),
        )
        for claim in claims().values()
        if claim.section == "pan-to-specific" and claim.where.startswith("From") and claim.type != "threshold"
    },
    **{
        f"pan-to-specific/{target}-large-n": Rule(
            "gain at the most target samples", measures.of_target(measures.pan_gains, "largest"), costs_less
        )
        for target in ("lung", "HNSC", "UCEC")
    },
    "pan-to-specific/smaller-n-more-gain": Rule(
        "mean gain over targets, at the most samples minus at the fewest", measures.smaller_n, repetition="cancers"
    ),
    "pan-to-specific/less-than-origins": Rule(
        "gain between origins minus gain to one cancer", measures.less_than_origins
    ),
    # from one cancer to another
    **{
        claim.id: Rule(_FEWEST, measures.of_pair)
        for claim in claims().values()
        if "-to-" in claim.subject and claim.section == "cancer-to-cancer"
    },
    "cancer-to-cancer/diagonal": Rule(
        "gain where source and target are one cancer, mean over cancers, each size",
        measures.over_targets(measures.pair_gains, lambda t: t["source"] == t["target"], "n"),
        repetition="cancers",
    ),
    "cancer-to-cancer/others": Rule(
        "gain of each pair of cancers at each size; most of them",
        measures.of_all(measures.pair_gains, measures.other_pairs),
        share=0.5,
    ),
    "cancer-to-cancer/harm": Rule(
        "gain of each pair of cancers at each size; 95 % of them",
        measures.of_all(measures.pair_gains, lambda t: t["source"] != t["target"]),
        lambda claim: Region(low=-claim.margin),
        share=0.95,
    ),
    # denoising autoencoders
    **{
        claim.id: Rule(
            _EVERY if claim.type == "no difference" else _FEWEST,
            measures.of_target(measures.encoder_gains, "all" if claim.type == "no difference" else "smallest"),
        )
        for claim in claims().values()
        if claim.section == "unsupervised" and ", Fig. " in claim.where
    },
    "unsupervised/never-above": Rule(
        "gain on each target at each number of samples",
        measures.of_all(measures.encoder_gains, lambda t: t["n"] > 0),
        never_above,
    ),
    "unsupervised/frozen": Rule(
        "gain with frozen layers, mean over targets and sizes",
        measures.over_targets(measures.frozen_gains, lambda t: t["frozen"] > 0, "frozen"),
        repetition="cancers",
    ),
}
