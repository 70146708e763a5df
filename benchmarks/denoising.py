"""Choose how autoencoders are trained, once, on simulated data, by how well they reconstruct held-out samples.

Run ``python benchmarks/denoising.py``. It prints, for each scheme, learning rate and batch size, the loss on
held-out samples before training and at its best (1: no better than every input's mean), the epochs run and
the seconds. No status is used, no prediction made. `gexlib.transfer.Denoising` holds the choice.
"""

import itertools
import time

import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler

from gexlib.cohorts import open_cohort
from gexlib.experiments.unsupervised import reconstruction
from gexlib.tasks import holdout, problem
from gexlib.transfer import Denoising, new_network, pretrain_denoising

COHORTS = {"simulated-microarray:demo": "microarray/pan", "simulated-tcga:demo": "tcga/pan"}
RATES = (0.0003, 0.001, 0.003)
BATCHES = (32, 64, 128)


def score(name: str, denoising: Denoising) -> dict:
    """Pre-train one network and sum up how it reconstructs."""
    cohort = open_cohort(name)
    whole = problem(cohort, COHORTS[name])
    samples = whole.take(holdout(whole, 0)[0])
    X = StandardScaler().fit_transform(cohort.X[samples.rows])
    begun = time.perf_counter()
    _, history = pretrain_denoising(new_network(X.shape[1], 2), X, denoising, samples.groups)
    return {
        "cohort": name, "scheme": denoising.scheme, "rate": denoising.learning_rate, "batch": denoising.batch_size,
        **reconstruction(history), "seconds": time.perf_counter() - begun,
    }  # fmt: skip


def main() -> None:
    """Print one line a cohort, scheme, learning rate and batch size."""
    torch.set_num_threads(1)
    jobs = itertools.product(COHORTS, ("layers", "whole"), RATES, BATCHES)
    table = pd.DataFrame(
        score(name, Denoising(scheme=scheme, learning_rate=rate, batch_size=batch))
        for name, scheme, rate, batch in jobs
    )
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
