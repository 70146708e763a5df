"""Choose the learning rate and the number of epochs without early stopping, once, on simulated data.

Run ``python benchmarks/learning_rate.py``. It prints balanced accuracy and log loss on held-out samples for
each learning rate, at n = 400 (early stopping) and at n = 8 and 32 (a fixed number of epochs), averaged over
the simulated demo cohorts' pan-cancer tasks and seeds. `gexlib.training.Training` holds the choice.
"""

import itertools

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.preprocessing import StandardScaler

from gexlib.cohorts import open_cohort
from gexlib.tasks import holdout, problem, subset
from gexlib.training import Training, predict_proba
from gexlib.transfer import train_network

COHORTS = {"simulated-microarray:demo": "microarray/pan", "simulated-tcga:demo": "tcga/pan"}
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
EPOCHS = (10, 30, 100)
SMALL = (8, 32)
LARGE = 400


def score(name: str, rate: float, n: int, epochs: int, seed: int) -> dict:
    """Train one network and score it on the held-out fifth."""
    cohort = open_cohort(name)
    whole = problem(cohort, COHORTS[name])
    train, test = (whole.take(rows) for rows in holdout(whole, seed))
    train = train.take(subset(train.y, n, seed))
    scaler = StandardScaler().fit(cohort.X[train.rows])
    training = Training(learning_rate=rate, fixed_epochs=epochs)
    model, history = train_network(
        scaler.transform(cohort.X[train.rows]), train.y, 2, training, groups=train.groups, seed=seed
    )
    p = predict_proba(model, scaler.transform(cohort.X[test.rows]))
    return {
        "cohort": name, "rate": rate, "n": n, "epochs": epochs if n < LARGE else "early stopping",
        "run": len(history), "balanced accuracy": balanced_accuracy_score(test.y, p.argmax(1)),
        "log loss": log_loss(test.y, np.clip(p, 1e-12, 1)),
    }  # fmt: skip


def main(seeds: int = 4) -> None:
    """Print the mean over seeds and cohorts."""
    for name in COHORTS:
        open_cohort(name)
    large = [(name, rate, LARGE, 1, seed) for name, rate, seed in itertools.product(COHORTS, RATES, range(seeds))]
    small = list(itertools.product(COHORTS, RATES, SMALL, EPOCHS, range(seeds)))
    table = pd.DataFrame(Parallel(-1)(delayed(score)(*job) for job in large + small))
    means = table.groupby(["n", "epochs", "rate"])[["balanced accuracy", "log loss", "run"]].mean()
    print(means.round(3).unstack("rate").to_string())


if __name__ == "__main__":
    main()
