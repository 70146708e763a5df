"""Networks on disk: one safetensors file with weights, genes, scaler and what is known of them, a card beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gexlib.checks import check_types
from gexlib.errors import InputError
from gexlib.files import atomic_path, sha256
from gexlib.models import MLP
from gexlib.takeaway import FORMAT, TakeAway, arguments
from gexlib.takeaway.card import card

LIMIT = 4 * 2**30  # bytes of a file at the most
#: What the metadata must hold, and of which type: as a whole, of a training, of a measurement, of its making.
_ABOUT = {
    "task": str, "classes": list[str], "network": dict, "training": dict, "cohorts": list[dict], "metrics": list[dict],
    "made": dict, "genes": dict[str, list[str]], "sha256": str,
}  # fmt: skip
_TRAINED = {
    "name": str, "digest": str, "source": str, "scale": str, "simulated": bool, "notes": list[str], "where": list[str],
    "n": int, "patients": int, "classes": dict[str, int], "seed": int,
}  # fmt: skip
_TUNED = {"frozen": int, "scaler": str, "genes": str}
_MEASURED = {"method": str, "n": int, "patients": int, "difference": float} | dict.fromkeys(
    ("accuracy", "low", "high", "balanced_accuracy"), float
)
_MADE = {"date": str, "versions": str, "commit": str, "dirty": bool}


def save(taken: TakeAway, path: Path | str, force: bool = False) -> Path:
    """Write a network and, beside it, its card; return the card's path.

    Parameters
    ----------
    taken : TakeAway
        The network.
    path : path
        Ends in ``.safetensors``. The card has the same name and ends in ``.md``.
    force : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    InputError
        The name ends otherwise, the file is there, or the folder cannot be written to.
    """
    from safetensors.numpy import save as packed

    path = writable(path, force)
    tensors = {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in taken.model.state_dict().items()}
    tensors |= {"scaler.mean": taken.mean, "scaler.scale": taken.scale, "seen": taken.seen}
    listed = {"id": list(map(str, taken.var.index)), **{name: list(map(str, taken.var[name])) for name in taken.var}}
    about = taken.about | {"genes": listed, "sha256": _digest(tensors)}
    content = packed(tensors, metadata={"gexlib": json.dumps(about)})
    beside = path.with_suffix(".md")
    with atomic_path(path) as file, atomic_path(beside) as text:
        file.write_bytes(content)
        text.write_text(card(taken, path.name), encoding="utf-8")
    return beside


def _digest(tensors: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 of what the tensors hold: a file whose weights were altered is refused."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        total.update(np.ascontiguousarray(tensors[name]))
    return total.hexdigest()


def writable(path: Path | str, force: bool) -> Path:
    """Return the path of a network that may be written, before anything is computed."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"--out {path}: name a file that ends in .safetensors.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.absolute().parent}; make it first or name another.")
    if there := [one for one in (path, path.with_suffix(".md")) if one.exists() and not force]:
        raise InputError(f"--out {path}: {there[0]} is there already; name another file, or add --force.")
    return path


def load(path: Path | str) -> TakeAway:
    """Read a network that `save` wrote. Nothing in the file is executed.

    Raises
    ------
    InputError
        There is no such file, or it is damaged, of another format, or not what it says.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}: name a network, as gexlib pretrain writes it.")
    if path.stat().st_size > LIMIT:
        raise InputError(f"{path} is larger than {LIMIT / 2**30:g} GiB: no network of gexlib is.")
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})["gexlib"])
            return _unpacked(about, {name: file.get_tensor(name) for name in file.keys()}, sha256(path))  # noqa: SIM118
    except KeyError as error:
        raise InputError(f"{path} is no network of gexlib: it has no {error}; name one that pretrain wrote.") from error
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError, OverflowError) as error:
        what = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(f"{path} is damaged or no network of gexlib ({what}): make it again.") from error


def _hold(values: dict, hints: dict) -> None:
    """Refuse metadata without a value, or with one of another type."""
    if missing := [name for name in hints if name not in values]:
        raise KeyError(missing[0])
    check_types(hints, {name: values[name] for name in hints}, "its metadata")


def _unpacked(about: dict, tensors: dict[str, np.ndarray], digest: str) -> TakeAway:
    """Check that metadata and tensors belong together, and make a network of them."""
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    _hold(about, _ABOUT)
    listed, classes, network = about.pop("genes"), about["classes"], about["network"]
    for step, facts in enumerate(about["cohorts"]):
        _hold(facts, _TRAINED | (_TUNED if step else {}))
    for row in about["metrics"]:
        _hold(row, _MEASURED)
    _hold(about["made"], _MADE)
    ids = listed.get("id", [])
    if (
        not ids
        or not set(listed) <= {"id", "symbol", "ensembl"}
        or {len(names) for names in listed.values()} != {len(ids)}
    ):
        raise ValueError("its genes are no list of names")
    if len(set(classes)) != len(classes) or len(classes) < 2 or not about["cohorts"] or not about["metrics"]:
        raise ValueError("its classes, cohorts or metrics are missing")
    arguments({**network, **about["training"]})
    intact = about.pop("sha256") == _digest(tensors)
    scalers = [tensors.pop(f"scaler.{name}") for name in ("mean", "scale")]
    seen = tensors.pop("seen")
    if any(array.shape != (len(ids),) or array.dtype != np.float64 for array in scalers) or not (scalers[1] > 0).all():
        raise ValueError("its scaler does not fit its genes")
    if seen.ndim != 1 or seen.dtype != np.uint64:
        raise ValueError("its list of samples is no list")
    with torch.device("meta"):  # shapes only: nothing is allocated
        model = MLP(len(ids), len(classes), **network)
    expected = {name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in model.state_dict().items()}
    if expected != {name: (array.shape, f"torch.{array.dtype}") for name, array in tensors.items()}:
        raise ValueError("its weights do not fit the network that it describes")
    if not all(np.isfinite(array).all() for array in [*tensors.values(), *scalers]):
        raise ValueError("it holds values that are not finite")
    if not intact:
        raise ValueError("its values were altered since it was written")
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, assign=True)
    model.eval()
    var = pd.DataFrame(
        {name: column for name, column in listed.items() if name != "id"}, index=pd.Index(ids, dtype=object)
    )
    return TakeAway(model, var, *scalers, seen, about, digest)
