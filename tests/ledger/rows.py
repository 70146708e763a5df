"""Tidy rows with effects that are known, for the tests of the ledger."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from gexlib.results import canonical, table
from gexlib.search import Space, draw

RULE = {"cohort": "tcga-hypoxia", "cohort_digest": "d", "simulated": False, "metric": "accuracy", "split": "patient"}


def comparison(levels: Callable[[str, int], float], task="tcga/pan", sizes=(100, 1000, 6000), noise=0.001, **more):
    """Accuracy of each method at each size as `levels(method, n)` says, ten splits; the largest size is the full."""
    random = np.random.default_rng(0)
    methods = ("nn_default", "lasso", "svm_rbf", "random_forest", "xgboost", "svm_linear", "majority")
    return table(
        {
            **RULE, "experiment": "comparison", "task": task, "method": method, "arm": "balanced", "n": n,
            "n_test": n // 10, "repeat": repeat, "value": levels(method, n) + noise * random.normal(),
            "full": n == max(sizes), "key": f"{task}{method}{n}{repeat}", **more,
        }
        for method in methods
        for n in sizes
        for repeat in range(10)
    )  # fmt: skip


def transfer(gain: Callable[[str, str, int, int], float], pairs, experiment="pan_to_specific", sizes=(8, 32), **more):
    """Accuracy of baselines and fine-tuned networks; `gain(source, target, n, F)`, ten folds."""
    random, rows = np.random.default_rng(0), []
    for target in dict.fromkeys(target for _, target in pairs):
        for n in sizes:
            for fold in range(10):
                base = 0.8 + 0.02 * random.normal()
                common = {
                    **RULE, "experiment": experiment, "task": f"tcga/{target}", "method": "nn_default", "n": n,
                    "target": target, "repeat": 0, "fold": fold, "scaler": "source", **more,
                }  # fmt: skip
                rows.append({**common, "arm": "baseline", "value": base, "key": f"{target}{n}{fold}"})
                for source in [source for source, of in pairs if of == target]:
                    for frozen in (0, 2):
                        value = base + gain(source, target, n, frozen) + 0.001 * random.normal()
                        key = f"{source}{target}{n}{fold}{frozen}"
                        rows.append(
                            {
                                **common,
                                "arm": "fine_tuned",
                                "source": source,
                                "frozen": frozen,
                                "value": value,
                                "key": key,
                            }
                        )
    return table(rows)


def encoders(gain: Callable[[str, str, int, int], float], targets, **more):
    """As `transfer`, pre-trained by denoising autoencoders."""
    pairs = [("unlabelled", target) for target in targets]
    rows = transfer(gain, pairs, "unsupervised", cohort="tcga-pairs", **more)
    ways = {"scheme": "layers", "noise": 0.1, "loss": "squared"}
    return rows.assign(**{name: np.where(rows["arm"] == "fine_tuned", way, None) for name, way in ways.items()})


def draws(accuracy: Callable[[dict], float], task="tcga/pan", count=400, failed=lambda drawn: False, **more):
    """Rows of a random search, accuracy as the hyper-parameters say."""
    random, rows = np.random.default_rng(0), []
    for number in range(count):
        drawn = draw(Space(), number)
        cell = canonical(["sensitivity", {"space": {}, "training": {}, "seed": 0}, "d", 1])
        common = {
            **RULE, "experiment": "sensitivity", "cohort": "tcga-pairs", "task": task, "method": "nn_drawn",
            "arm": "draw", "n": 100, "n_test": 100, "repeat": number, "scored_on": "validation", "network_seed": 0,
            "epochs": 9, "diverged": failed(drawn), "key": f"{task}{number}", "cell": cell, **drawn, **more,
        }  # fmt: skip
        value = accuracy(drawn) + 0.001 * random.normal()
        rows += [{**common, "metric": metric, "value": value} for metric in ("accuracy", "roc_auc", "log_loss")]
    return table(rows)


def origins(gain: Callable[[str, int, int], float], own=None, sizes=(25, 100, 400, 1000), **more):
    """Rows between cell lines and patients; `gain(target, n, F)`, `own` the accuracy by (source, target)."""
    random, rows = np.random.default_rng(0), []
    own = own or {}
    for target, source in (("patient", "cell_line"), ("cell_line", "patient")):
        common = {
            **RULE, "experiment": "cell_lines_and_patients", "cohort": "article-microarray", "task": "microarray/pan",
            "method": "nn_default", "scaler": "source", "domain": "origin", "sweep": False, "n_source": 100,
            "test_cancer": 0.6, "early_stopping": True,
        }  # fmt: skip
        for repeat in range(10):
            for arm, of in (("own", source), ("zero_shot", target)):
                value = own.get((source, of), 0.9) + 0.001 * random.normal()
                more_of = {"source": source, "target": of, "arm": arm, "n": 0, "repeat": repeat, "value": value}
                rows.append({**common, **more_of, "stopping": None, "key": f"{arm}{source}{of}{repeat}", **more})
            for n in sizes:
                base = 0.6 + 0.001 * random.normal()
                here = {**common, "source": source, "target": target, "n": n, "repeat": repeat, "stopping": "patience"}
                rows.append({**here, "source": None, "arm": "baseline", "value": base, "epochs": 40 + repeat, **more})
                for frozen in (0, 1, 2):
                    value = base + gain(target, n, frozen) + 0.001 * random.normal()
                    tuned = {"arm": "fine_tuned", "frozen": frozen, "value": value, "epochs": 20 + repeat % 3}
                    rows.append({**here, **tuned, **more})
    return table(rows)


def concat(*parts: pd.DataFrame) -> pd.DataFrame:
    """Put rows together."""
    return pd.concat(parts, ignore_index=True)
