"""The figures of the book, all from tidy tables and all in one look.

A figure never trains and never reads a file: it takes a table and returns a matplotlib ``Figure`` that
belongs to no pyplot state. `gexlib.figures.look` holds what they share; a module a group of sections draws.
"""

from gexlib.figures.cohorts import (
    class_balance,
    experiment_map,
    pca,
    simulation_check,
)
from gexlib.figures.comparison import (
    learning_curves,
    method_bars,
    split_dots,
    task_dots,
)
from gexlib.figures.look import (
    ARM_COLOURS,
    ARM_LABELS,
    FROZEN_COLOURS,
    INK,
    METHOD_COLOURS,
    METHOD_LABELS,
    METRIC_LABELS,
    RC,
    STATUS_COLOURS,
    save,
    style,
)
from gexlib.figures.origins import (
    epochs_curves,
    gain_boxes,
    origin_matrix,
    sweep_curves,
)
from gexlib.figures.pairs import (
    gain_heatmap,
    pair_grid,
)
from gexlib.figures.sensitivity import (
    importance_bars,
    residual_pairs,
    sensitivity_grid,
)
from gexlib.figures.transfer import (
    gain_curves,
    transfer_curves,
)
from gexlib.figures.unsupervised import (
    gain_by_target,
    schemes,
)
from gexlib.figures.verdicts import verdict_bars

__all__ = [
    "ARM_COLOURS",
    "ARM_LABELS",
    "FROZEN_COLOURS",
    "INK",
    "METHOD_COLOURS",
    "METHOD_LABELS",
    "METRIC_LABELS",
    "RC",
    "STATUS_COLOURS",
    "class_balance",
    "epochs_curves",
    "experiment_map",
    "gain_boxes",
    "gain_by_target",
    "gain_curves",
    "gain_heatmap",
    "importance_bars",
    "learning_curves",
    "method_bars",
    "origin_matrix",
    "pair_grid",
    "pca",
    "residual_pairs",
    "save",
    "schemes",
    "sensitivity_grid",
    "simulation_check",
    "split_dots",
    "style",
    "sweep_curves",
    "task_dots",
    "transfer_curves",
    "verdict_bars",
]
