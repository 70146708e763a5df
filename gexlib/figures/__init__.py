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
    caption,
    save,
    style,
)
from gexlib.figures.transfer import (
    gain_curves,
    transfer_curves,
)

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
    "caption",
    "class_balance",
    "experiment_map",
    "gain_curves",
    "learning_curves",
    "method_bars",
    "pca",
    "save",
    "simulation_check",
    "style",
    "transfer_curves",
]
