"""Tuning of classical methods with the work of a fold done once, beside scikit-learn pipelines, on one thread.

Run ``python benchmarks/classical.py`` (part of ``make bench``). What is compared is the inner cross-validation of all
candidates of a method: `gexlib.baselines.inner_scores` against `cross_val_score` of a pipeline a candidate, as a user
writes it. Rounds are interleaved and the best of them counts. Both must find the same scores.
"""

import argparse
import time

import numpy as np
import torch
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import ParameterGrid, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from gexlib import provenance
from gexlib.baselines import fold_statistics, inner_scores

SAMPLES, GENES = 1000, 20_000
HEAD = ("inner cross-validation", "folds", "candidates", "pipelines, s", "shared, s", "ratio", "largest difference")


def data(n: int, genes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples of two classes that differ a little in a tenth of the genes."""
    random = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = 8 + random.standard_normal((n, genes), dtype=np.float32)
    X[:, : genes // 10] += 0.1 * (2 * y[:, None] - 1)
    return X, y


def searches(genes: int) -> list[tuple[str, int, object, dict]]:
    """Name the searches: title, folds, classifier, parameters tried."""
    logistic = LogisticRegression(l1_ratio=1.0, solver="liblinear", random_state=0)
    sizes = [k for k in (50, 200, 1000, 5000) if k < genes]
    return [
        ("linear SVM on all genes", 2, SVC(kernel="linear"), {"select__k": [genes], "C": np.logspace(-4, 0, 5)}),
        ("t-test and Gaussian SVM", 5, SVC(kernel="rbf"), {"select__k": sizes, "C": [0.1, 1.0, 10.0]}),
        ("t-test and LASSO", 3, logistic, {"select__k": sizes[:3], "C": [0.01, 0.1, 1.0]}),
    ]


def pipelines(bare, X, y, splits, tried) -> np.ndarray:
    """Cross-validate a pipeline a candidate."""
    steps = [("scale", StandardScaler()), ("select", SelectKBest(f_classif)), ("classify", bare)]
    if {one["select__k"] for one in tried} == {X.shape[1]}:
        steps[1] = ("select", None)  # as nobody selects who wants all
        tried = [{"classify__C": one["classify__C"]} for one in tried]
    pipeline = Pipeline(steps)
    return np.array(
        [
            cross_val_score(pipeline.set_params(**one), X, y, cv=splits, scoring="balanced_accuracy").mean()
            for one in tried
        ]
    )


def best_of(ways: dict, rounds: int) -> tuple[dict, dict]:
    """Run ways in turn: the best seconds of each, and what it found."""
    best, found = dict.fromkeys(ways, float("inf")), {}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            found[name] = way()
            best[name] = min(best[name], time.perf_counter() - begun)
    return best, found


def line(title: str, folds: int, tried: int, ways: dict, rounds: int) -> list[str]:
    """Time one comparison: a line of the table."""
    best, found = best_of(ways, rounds)
    slow, fast = best.values()
    apart = np.max(np.abs(np.subtract(*found.values())))
    return [title, f"{folds}", f"{tried}", f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}", f"{apart:.1g}"]


def table(n: int = SAMPLES, genes: int = GENES, rounds: int = 1) -> str:
    """Measure and set the table in Markdown."""
    X, y = data(n, genes)
    lines = [list(HEAD), ["---"] * len(HEAD)]
    for title, folds, bare, values in searches(genes):
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=0).split(X, y))
        own = {key if key.startswith("select") else f"classify__{key}": v for key, v in values.items()}
        tried = list(ParameterGrid(own))
        ways = {
            "pipelines": lambda: pipelines(bare, X, y, splits, tried),  # noqa: B023  (called before the next turn)
            "shared": lambda: inner_scores(bare, X, y, splits, tried, {}, balanced_accuracy_score),  # noqa: B023
        }
        lines.append(line(title, folds, len(tried), ways, rounds))
    trains = [train for train, _ in StratifiedKFold(10, shuffle=True, random_state=0).split(X, y)]
    ways = {
        "pipelines": lambda: np.array([f_classif(X[train].astype(float), y[train])[0] for train in trains]),
        "shared": lambda: fold_statistics(X, y, trains),
    }
    lines.append(line("t-statistics alone", 10, 1, ways, rounds + 1))
    return "\n".join("| " + " | ".join(words) + " |" for words in lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--genes", type=int, default=GENES)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    host = provenance.host()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        print(f"## Classical methods, {given.samples:,} samples, {given.genes:,} genes\n")
        print(table(given.samples, given.genes, given.rounds))
    print(f"\n{host['cores']} cores, {host['memory_gib']:.0f} GiB; one thread; commit {provenance.commit()[0]}.")


if __name__ == "__main__":
    main()
