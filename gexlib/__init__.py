"""Models, training and transfer for cancer prediction from gene expression, and the study that uses them."""

import os

__version__ = "0.1.0"

# Large arrays in huge pages, where the system grants them on request (Linux): a training step at the article's width
# takes a seventh less (``benchmarks/run.py``). torch reads it when it is imported, so after this line.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
