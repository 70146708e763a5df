"""Training of networks: weighted loss, optimisers, early stopping (article, "Deep neural network").

What the article leaves open is decided in `Training`; the book's method chapter prints its defaults.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.nn import functional

from gexlib.checks import plain_steps, rounding
from gexlib.errors import InputError
from gexlib.gram import pays, pool_of, sample_space, why_not
from gexlib.models import MLP
from gexlib.rehearsal import only_noted
from gexlib.splits import PatientKFold


@dataclass(frozen=True)
class Training:
    """How a network is trained. Every value is an assumption of ours unless marked *article*.

    Attributes
    ----------
    optimiser : {"sgd", "rmsprop", "adam"}
        Article: SGD with momentum, RMSprop, Adam.
    learning_rate : float
        Chosen once on simulated data (``benchmarks/learning_rate.py``).
    momentum : float
        Of SGD.
    batch_size : int
        All samples when there are fewer.
    epochs : int
        The most, with early stopping.
    fixed_epochs : int
        Number of epochs where no validation set can be formed; chosen like `learning_rate`.
    patience : int
        Epochs without a lower validation loss before training stops and the best weights are restored.
        The article stops at the first increase: 0.
    validation : float
        Share of the samples held out for early stopping.
    l1, l2 : float
        Penalties ``l1 * sum |w|`` and ``l2 / 2 * sum w^2`` on weights, not on biases (article).
    class_weight : {"balanced", "none"}
        Article: weights inversely proportional to the class's share of the training set.
    precision : {"float32", "bf16"}
        Of matrix products. bf16 has three digits and is faster on processors made for it; weights, updates and the
        validation loss keep theirs.
    """

    optimiser: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    batch_size: int = 32
    epochs: int = 200
    fixed_epochs: int = 100
    patience: int = 10
    validation: float = 0.2
    l1: float = 0.0
    l2: float = 0.0
    class_weight: str = "balanced"
    precision: str = "float32"

    def __post_init__(self):
        """Refuse values that no training can use."""
        if self.optimiser not in OPTIMISERS:
            raise InputError(f"optimiser '{self.optimiser}' is not known: use one of {', '.join(OPTIMISERS)}.")
        if self.class_weight not in ("balanced", "none"):
            raise InputError(f"class_weight '{self.class_weight}' is not known: use balanced or none.")
        if self.precision not in ("float32", "bf16"):
            raise InputError(f"precision '{self.precision}' is not known: use float32 or bf16.")
        for name in ("learning_rate", "batch_size", "epochs", "fixed_epochs"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be greater than 0.")
        for name in ("patience", "l1", "l2"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be 0 or greater.")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}: it must be from 0 to below 1.")
        if not 0 <= self.validation <= 0.5:  # `validation_split` holds out a half at most
            raise InputError(f"validation is {self.validation}: it must be a share from 0 to 0.5.")


class FusedRMSprop(torch.optim.Adam):
    """The steps of ``torch.optim.RMSprop``, which has no fused form, by the fused kernel of Adam, up to rounding.

    Adam without its first average divides a gradient by ``sqrt(v / c) + eps``, ``c = 1 - 0.99^t`` at step t, RMSprop by
    ``sqrt(v) + eps``: the same where learning rate and eps are divided by ``sqrt(c)``.
    """

    def __init__(self, params, lr: float):
        super().__init__(params, lr=lr, betas=(0.0, 0.99), eps=1e-8, fused=True)
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights once."""
        self.steps += 1
        root = (1 - 0.99**self.steps) ** 0.5
        given = [(group["lr"], group["eps"]) for group in self.param_groups]
        for group, (lr, eps) in zip(self.param_groups, given, strict=True):
            group.update(lr=lr / root, eps=eps / root)
        super().step()
        for group, (lr, eps) in zip(self.param_groups, given, strict=True):
            group.update(lr=lr, eps=eps)


OPTIMISERS = {  # fused: one pass over the weights
    "sgd": lambda groups, t: torch.optim.SGD(groups, lr=t.learning_rate, momentum=t.momentum, fused=True),
    "rmsprop": lambda groups, t: (torch.optim.RMSprop if plain_steps() else FusedRMSprop)(groups, t.learning_rate),
    "adam": lambda groups, t: torch.optim.Adam(groups, lr=t.learning_rate, fused=True),
}


@contextmanager
def seeded(seed: int):
    """Seed torch inside the block and leave the caller's random state as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def round_otherwise(weights: Iterable[torch.Tensor]) -> None:
    """Move weights, in place, by one unit in the last place or none, where the environment asks for it.

    Another processor rounds otherwise at every step. How far that can carry a network is seen where it starts from
    weights that differ by no more than rounding (`gexlib.checks.ROUNDING`).
    """
    if number := rounding():
        draws = torch.Generator().manual_seed(number)
        for tensor in weights:
            units = torch.randint(-1, 2, tensor.shape, generator=draws).to(tensor)
            tensor.data.mul_(1 + units * torch.finfo(tensor.dtype).eps)


@contextmanager
def without_denormals():
    """Count numbers below 1e-38 as 0 inside the block, on this thread: processors take many times longer over them.

    The momentum of a weight whose gradient stays 0, as it does below a dead neuron, shrinks to such numbers and stays.
    """
    kept = bool(torch.full((1,), 1e-40) * 1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(not kept)


DEVICE = "GEXLIB_DEVICE"  # setting: where networks are trained if a call does not say


def resolve_device(device: str | None = None) -> torch.device:
    """Return the device of that name; "auto" is a GPU when there is one, None as the setting `DEVICE`, else "cpu".

    Raises
    ------
    InputError
        The name is none of these, or there is no GPU.
    """
    device = device or os.environ.get(DEVICE) or "cpu"
    if device not in ("cpu", "cuda", "auto"):
        raise InputError(f"device '{device}' is not known: use cpu, cuda or auto ({DEVICE} sets it).")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device=cuda: torch finds no GPU here; use cpu or auto ({DEVICE} sets it).")
    return torch.device("cuda" if torch.cuda.is_available() and device != "cpu" else "cpu")


def class_weights(y: np.ndarray, n_classes: int) -> torch.Tensor:
    """Weights ``alpha_k = N / (K n_k)`` of the weighted loss, shape (n_classes,); 0 for an absent class."""
    counts = np.bincount(y, minlength=n_classes)
    return torch.tensor(np.where(counts, len(y) / (n_classes * np.maximum(counts, 1)), 0), dtype=torch.float64)


def weighted_cross_entropy(logits: torch.Tensor, y: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Return ``1/B sum_i alpha_{y_i} CE_i`` for logits [B, K] and labels [B].

    Not ``nn.CrossEntropyLoss(weight=alpha)``: its mean divides by the batch's weights, so that they
    vanish in a batch of one class. The article prints the sum; the learning rate absorbs B.
    """
    return (alpha[y] * functional.cross_entropy(logits, y, reduction="none")).mean()


def batches(n: int, size: int) -> list[torch.Tensor]:
    """Shuffle the rows 0..n-1 and cut them into batches; a last batch of one joins the one before."""
    parts = list(torch.randperm(n).split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def finite(tensor: torch.Tensor) -> bool:
    """Whether every value is finite: the extremes tell (NaN where one value is), in one pass over the weights."""
    low, high = tensor.detach().aminmax()
    return bool(low.isfinite() and high.isfinite())


def validation_split(y: np.ndarray, groups: np.ndarray | None, share: float, seed: int):
    """Split rows into training and validation rows, a group (patient) on one side.

    Returns
    -------
    (train, validation) : arrays of int, or None
        None where no sound validation set exists: fewer than 40 samples, fewer than 5 of a class, or
        groups that leave a class missing on a side.
    """
    present, counts = np.unique(y, return_counts=True)
    if not share or len(y) < 40 or counts.min() < 5:
        return None
    groups = np.arange(len(y)) if groups is None else groups
    if min(len(np.unique(groups[y == k])) for k in present) < 2:
        return None
    folds = min(max(2, round(1 / share)), len(np.unique(groups)))
    for offset in range(5):
        splitter = PatientKFold(folds, shuffle=True, random_state=(seed + offset) % 2**32)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # looked at below
            splits = list(splitter.split(y, y, groups))
        for train, validation in splits:
            if len(np.unique(y[train])) == len(np.unique(y[validation])) == len(present):
                return train, validation
    return None


def fit(
    model: MLP,
    X: np.ndarray,
    y: np.ndarray,
    training: Training = Training(),
    groups: np.ndarray | None = None,
    seed: int = 0,
    device: str | None = None,
    alpha: np.ndarray | None = None,
    first_layer: str = "auto",
) -> list[dict]:
    """Train a network in place.

    Parameters
    ----------
    model : MLP
        Frozen layers (`gexlib.transfer.freeze`) stay as they are; what they make of the samples is computed once.
    X : array of float, shape (n_samples, n_genes)
        Scaled on training samples by the caller. For a network inside a pool (`gexlib.gram.Pool.enter`): numbers of
        the pool's rows, shape (n_samples,).
    y : array of int, shape (n_samples,)
        Class numbers from 0.
    training : Training
        Loss, optimiser and stopping rule.
    groups : array, shape (n_samples,), optional
        Patients: the validation set shares none with the samples trained on.
    seed : int
        Of the validation split, the batches and dropout.
    device : {"cpu", "cuda", "auto"}, optional
        See `resolve_device`.
    alpha : array, shape (n_classes,), optional
        Weight of each class in the loss, in place of those that `training` names.
    first_layer : {"auto", "plain", "gram"}
        How the first layer is trained: over all genes, or in sample space (`gexlib.gram`), which gives the same
        network faster. "auto" takes the sample space wherever that is exact and, its set-up counted, faster.

    Returns
    -------
    history : list of dict
        One entry an epoch: ``epoch``, ``loss``, ``first_layer`` (the way taken, and why if not the sample space) and,
        with early stopping, ``validation_loss`` and ``best`` (true up to the epoch whose weights were kept).
        Training that diverges is a result too: it ends, the last entry has ``diverged``, and the best weights are
        kept or, where there are none, all weights become 0, so that the network predicts every class alike.

    Raises
    ------
    InputError
        The sample space was asked for where it is not exact.
    """
    X = samples_of(model, X)
    rows, held_out = validation_split(y, groups, training.validation, seed) or (np.arange(len(y)), None)
    widths = [*(layer.linear.out_features for layer in model.hidden), model.output.out_features]
    held = 0 if held_out is None else len(held_out)
    if only_noted("network", n=len(rows), held_out=held, widths=widths, frozen=model.frozen, training=training):
        return [{"epoch": 1, "loss": float("nan"), "first_layer": "rehearsed"}]
    pool = pool_of(model)
    place = pool.device if pool else resolve_device(device)
    model.to(place)
    if alpha is None:
        balanced, n_classes = training.class_weight == "balanced", model.output.out_features
        alpha = class_weights(y[rows], n_classes) if balanced else torch.ones(n_classes)
    alpha = torch.as_tensor(alpha, dtype=next(model.parameters()).dtype, device=place)
    way = _way(model, X, training, first_layer, held_out is not None)
    with sample_space(model, X, place) if way == "gram" and not pool else nullcontext(X) as samples:
        if way == "gram":
            model.hidden[0].linear.span(samples[rows])
        history = _train(model, samples, y, rows, held_out, training, alpha, seed)
    return [{**entry, "first_layer": way} for entry in history]


def likely_epochs(training: Training, stops: bool) -> int:
    """Epochs counted on where it is asked whether the sample space pays; early stopping is taken to end after ten."""
    return min(training.epochs, 10) if stops else training.fixed_epochs


def _way(model: MLP, X: np.ndarray, training: Training, first_layer: str, stops: bool) -> str:
    """How the first layer is trained: "gram", or "plain" and why."""
    if first_layer not in ("auto", "plain", "gram"):
        raise InputError(f"first_layer '{first_layer}' is not known: use auto, plain or gram.")
    inside, reason = pool_of(model) is not None, why_not(model, training)
    if first_layer == "plain" and not model.frozen:
        reason = "as asked"
    if inside and reason and not model.frozen:
        raise InputError(f"a network inside a pool cannot be trained so: {reason}; train `over_genes` of it.")
    if first_layer == "gram" and reason:
        raise InputError(f"first_layer=gram: {reason}; use auto.")
    if first_layer == "auto" and not inside and not reason:
        largest = max(float(X.max()), -float(X.min()))  # a sum of its squares must fit into the numbers
        if not np.isfinite(largest):
            reason = "X holds values that are not finite"
        elif not largest < np.sqrt(torch.finfo(next(model.parameters()).dtype).max / X.shape[1]):
            reason = "products of such large values are beyond the range of numbers"
        elif not pays(*X.shape, model.hidden[0].linear.out_features, likely_epochs(training, stops)):
            reason = f"it is not faster for {len(X)} samples of {X.shape[1]} genes"
    return f"plain: {reason}" if reason else "gram"


def _train(
    model: MLP,
    X: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    held_out: np.ndarray | None,
    training: Training,
    alpha: torch.Tensor,
    seed: int,
) -> list[dict]:
    """Train on `rows` of the samples, stop early on those `held_out`, see `fit`."""
    inputs = as_input(model, X[rows])
    labels = torch.as_tensor(y[rows], dtype=torch.long, device=alpha.device)
    below = model.frozen
    held = None if held_out is None else (as_input(model, X[held_out]), y[held_out])
    if below:  # frozen layers make the same of a sample in every epoch
        inputs = evaluated(lambda x: model.trunk(x, below), model, inputs)
        held = held and (evaluated(lambda x: model.trunk(x, below), model, held[0]), held[1])
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim == 1]
    round_otherwise(weights + others)
    optimiser = OPTIMISERS[training.optimiser](
        [{"params": weights, "weight_decay": training.l2}, {"params": others}], training
    )

    history: list[dict] = []
    best = (float("inf"), 0, None)  # validation loss, epoch, weights
    with seeded(seed), without_denormals():
        for epoch in range(1, (training.fixed_epochs if held is None else training.epochs) + 1):
            model.train()
            total = 0.0
            for batch in batches(len(rows), training.batch_size):
                batch = batch.to(alpha.device)
                with torch.autocast(alpha.device.type, torch.bfloat16, enabled=training.precision == "bf16"):
                    loss = weighted_cross_entropy(model(inputs[batch], below), labels[batch], alpha)
                if training.l1:
                    loss = loss + training.l1 * sum(w.abs().sum() for w in weights)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(batch)
            history.append({"epoch": epoch, "loss": total / len(rows)})
            if not all(finite(p) for p in weights + others):
                history[-1]["diverged"] = True
                break
            if held is None:
                continue
            current = validation_loss(model, *held, alpha, below)
            history[-1]["validation_loss"] = current
            if current < best[0]:
                best = (current, epoch, copy.deepcopy(model.state_dict()))
            elif epoch - best[1] > training.patience:
                break
    if best[2] is not None:
        model.load_state_dict(best[2])
        for entry in history:
            entry["best"] = entry["epoch"] <= best[1]
    elif "diverged" in history[-1]:
        for tensor in model.state_dict().values():
            tensor.zero_()
    model.eval()
    return history


def as_input(model: MLP, X: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Turn samples into what a network takes: profiles in its number type or, inside a pool, row numbers."""
    parameter = next(model.parameters())
    inside = pool_of(model) is not None and np.ndim(X) == 1
    kind = torch.long if inside else parameter.dtype
    return torch.as_tensor(X if torch.is_tensor(X) else np.ascontiguousarray(X), dtype=kind, device=parameter.device)


def evaluated(function: Callable, model: MLP, X: np.ndarray | torch.Tensor, block: int = 2048) -> torch.Tensor:
    """Return what a function of samples gives with the network in evaluation mode, block by block."""
    model.eval()
    with torch.no_grad():
        return torch.cat([function(as_input(model, X[i : i + block])) for i in range(0, len(X), block)])


def logits(model: MLP, X: np.ndarray | torch.Tensor, below: int = 0, block: int = 2048) -> torch.Tensor:
    """Logits [n_samples, n_classes] of a network in evaluation mode, on the CPU; `below` as in `MLP.forward`."""
    return evaluated(lambda x: model(x, below), model, X, block).cpu()


def validation_loss(
    model: MLP, X: np.ndarray | torch.Tensor, y: np.ndarray, alpha: torch.Tensor, below: int = 0
) -> float:
    """Weighted loss on held-out samples, without penalties."""
    return weighted_cross_entropy(logits(model, X, below), torch.as_tensor(y, dtype=torch.long), alpha.cpu()).item()


def predict_proba(model: MLP, X: np.ndarray) -> np.ndarray:
    """Posterior probabilities, shape (n_samples, n_classes): the softmax of the logits.

    X are profiles or, for a network inside a pool, numbers of its rows.
    """
    return torch.softmax(logits(model, samples_of(model, X)).double(), dim=1).numpy()


def samples_of(model: MLP, X: np.ndarray) -> np.ndarray:
    """Return samples as a network takes them: profiles, or whole numbers of its pool's rows.

    Raises
    ------
    InputError
        They are of the other kind.
    """
    X = np.asarray(X)
    if pool_of(model) is None:
        if X.ndim != 2:
            raise InputError(f"X has {X.ndim} dimension(s): give profiles, (n_samples, n_genes).")
        return X
    if X.ndim != 1 or X.dtype.kind not in "iu":
        raise InputError("the network is inside a pool: give the numbers of the pool's rows, or `over_genes` of it.")
    return X.astype(np.int64)


class MLPClassifier(ClassifierMixin, BaseEstimator):
    """The study's network as a scikit-learn classifier.

    Parameters are those of `gexlib.models.MLP` and `Training`; `random_state` seeds initial weights,
    validation split, batches and dropout. Scale genes first, for example with ``StandardScaler``.
    `class_weight` may also be None, which is "none", or a dict of weights by class; these are brought to a
    mean of 1 over the samples, as balanced weights have, so that the learning rate keeps its meaning.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    model_ : MLP
    history_ : list of dict
        As returned by `fit`.
    """

    def __init__(
        self,
        hidden=(500, 200, 100, 50),
        batch_norm=False,
        dropout=0.0,
        residual=False,
        optimiser="sgd",
        learning_rate=Training.learning_rate,
        momentum=Training.momentum,
        batch_size=Training.batch_size,
        epochs=Training.epochs,
        fixed_epochs=Training.fixed_epochs,
        patience=Training.patience,
        validation=Training.validation,
        l1=0.0,
        l2=0.0,
        class_weight="balanced",
        precision="float32",
        device=None,
        random_state=None,
    ):
        self.hidden = hidden
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.residual = residual
        self.optimiser = optimiser
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.epochs = epochs
        self.fixed_epochs = fixed_epochs
        self.patience = patience
        self.validation = validation
        self.l1 = l1
        self.l2 = l2
        self.class_weight = class_weight
        self.precision = precision
        self.device = device
        self.random_state = random_state

    def fit(self, X, y, groups=None):
        """Train on X (n_samples, n_genes), y (n_samples,) and, if given, patients as `groups`."""
        X, y = validate_data(self, X, y, dtype="numeric")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y holds one class only ({self.classes_[0]!r}): a classifier needs two.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        values = {name: getattr(self, name) for name in Training.__dataclass_fields__}
        alpha = None
        if isinstance(self.class_weight, dict):
            alpha = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            alpha = alpha / alpha[codes].mean()
        if alpha is not None or self.class_weight is None:
            values["class_weight"] = "none"
        training = Training(**values)
        with seeded(seed):
            self.model_ = MLP(X.shape[1], len(self.classes_), self.hidden, self.batch_norm, self.dropout, self.residual)
        groups = None if groups is None else np.asarray(groups)
        self.history_ = fit(self.model_, X, codes, training, groups, seed, self.device, alpha)
        if "diverged" in self.history_[-1]:
            raise InputError(
                f"learning_rate={self.learning_rate}: training diverged in epoch {len(self.history_)}; "
                "use a smaller one, and scale the genes."
            )
        self.model_.double()  # a sample's probabilities must not depend on the batch it is in
        return self

    def predict_proba(self, X):
        """Posterior probabilities, shape (n_samples, n_classes)."""
        check_is_fitted(self)
        return predict_proba(self.model_, validate_data(self, X, dtype="numeric", reset=False))

    def predict(self, X):
        """Most probable class of each sample, shape (n_samples,)."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
