"""Models, training and transfer for cancer prediction from gene expression, and the study that uses them."""

__version__ = "0.1.0"
