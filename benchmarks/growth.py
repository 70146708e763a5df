"""How the cost of a network grows: seconds and memory against samples and genes, on one thread.

Run ``python benchmarks/growth.py``: a quarter of an hour on one core. One network is trained from nothing for twenty
epochs of SGD, all set-up counted, over all genes and in sample space, each in a process of its own, whose peak memory
is measured (X is held in memory by both). Over all genes, where an epoch costs what the next one does, as many epochs
as make `STEPS` steps are timed and counted for twenty. Writes ``cost.csv`` and ``cost.svg`` where ``--out`` says, which
the book's appendix shows.
"""

import argparse
import json
import subprocess
import sys
import time
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.ticker import NullFormatter
from threadpoolctl import threadpool_limits

from gexlib import provenance
from gexlib.figures import look, save
from gexlib.files import atomic_path
from gexlib.runner import keep_memory
from gexlib.training import Training, fit, predict_proba
from gexlib.transfer import new_network

SAMPLES, GENES = (25, 100, 400, 1000, 2500, 5000), (2000, 10_000, 20_000, 54_675)
WAYS = {"plain": "over all genes", "gram": "in sample space"}
EPOCHS, STEPS, TEST = 20, 100, 200
LOOKS = dict(zip(GENES, (("o", look.BLUE), ("v", look.GREEN), ("^", look.ORANGE), ("s", look.VERMILION)), strict=True))


def train(n: int, genes: int, way: str, epochs: int = EPOCHS) -> dict:
    """Train one network in one way, here: seconds of `epochs` epochs with all set-up, and what was timed of them."""
    keep_memory()  # as the workers of a run do
    random = np.random.default_rng(0)
    X, y = random.standard_normal((n + TEST, genes), dtype=np.float32), np.arange(n) % 2
    model = new_network(genes, 2)
    fit(new_network(50, 2), X[:8, :50], y[:8], Training(fixed_epochs=2), first_layer=way)  # what torch sets up once
    timed = epochs if way == "gram" else min(epochs, ceil(STEPS / ceil(n / Training.batch_size)))
    begun = time.perf_counter()
    fit(model, X[:n], y, Training(fixed_epochs=timed, validation=0.0), first_layer=way)
    trained = time.perf_counter()
    predict_proba(model, X[n:])
    ended = time.perf_counter()
    seconds = (trained - begun) * epochs / timed + ended - trained
    return {"samples": n, "genes": genes, "way": WAYS[way], "seconds": round(seconds, 3), "epochs_timed": timed}


def peak() -> float:
    """Most memory that this process has held, GiB."""
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def measured(n: int, genes: int, way: str) -> dict:
    """Train one network in a process of its own."""
    program = [sys.executable, __file__, "--one", str(n), str(genes), way]
    return json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def figure(table: pd.DataFrame):
    """Draw seconds and memory against the samples, one curve a number of genes."""
    panels = [(f"{what}, {way}", table[table["way"] == way]) for what in ("Time", "Memory") for way in WAYS.values()]
    drawn, axes = look.grid(panels, table, "Training samples", "", height=2.4)
    for k, (axis, (_, panel)) in enumerate(zip(axes, panels, strict=True)):
        column, label = ("seconds", "Seconds a network") if k < 2 else ("gibibytes", "Peak memory, GiB")
        for genes, part in panel.groupby("genes"):
            marker, colour = LOOKS[genes]
            axis.plot(part["samples"], part[column], color=colour, marker=marker, label=f"{genes:,} genes")
        if k < 2:
            axis.set_yscale("log")
            axis.yaxis.set(major_formatter="{x:g}", minor_formatter=NullFormatter())
        axis.set_ylim(table[column].min() * 0.7 if k < 2 else 0, table[column].max() * (1.4 if k < 2 else 1.1))
        axis.set_ylabel(label if k % 2 == 0 else "")
        look.size_axis(axis, panel["samples"])
    return look.legend(drawn)


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """Set the two ways beside each other, a line a number of genes and samples, with where it was measured."""
    names = {"seconds": "s", "gibibytes": "GiB"}
    wide = table.pivot(index=["genes", "samples"], columns="way", values=list(names))
    wide.columns = [f"{way}, {names[what]}" for what, way in wide.columns]
    plain, gram = (wide[f"{way}, s"] for way in WAYS.values())
    wide.insert(2, "ratio", (plain / gram).round(1))
    host = provenance.host()
    machine = f"{host['cores']} cores, {host['memory_gib']:.0f} GiB"
    return wide.reset_index().assign(machine=machine, commit=provenance.commit()[0], date=provenance.now()[:10])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write cost.csv and cost.svg there")
    parser.add_argument("--one", nargs=3, metavar=("SAMPLES", "GENES", "WAY"), help="train one network here, print it")
    given = parser.parse_args()
    if given.one:
        torch.set_num_threads(1)
        with threadpool_limits(1):
            found = train(int(given.one[0]), int(given.one[1]), given.one[2])
        print(json.dumps(found | {"gibibytes": round(peak(), 2)}))
        return
    rows = []
    for genes, n, way in product(GENES, SAMPLES, WAYS):
        rows.append(measured(n, genes, way))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    if given.out:
        with atomic_path(given.out / "cost.csv") as path:
            beside(table).to_csv(path, index=False)
        with look.style():
            drawn = figure(table)
        save(drawn, given.out / "cost")[1].unlink()  # the bitmap


if __name__ == "__main__":
    main()
