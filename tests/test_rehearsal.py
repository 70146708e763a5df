"""A rehearsal notes what would be learned, and learns nothing."""

import numpy as np
import pytest
import torch

from gexlib import baselines, training
from gexlib.experiments import SECTIONS
from gexlib.experiments.base import check
from gexlib.profiles import load
from gexlib.rehearsal import only_noted, rehearsal
from gexlib.training import Training
from gexlib.transfer import fine_tune, new_network, pretrain_denoising


def test_outside_a_rehearsal_nothing_is_noted():
    assert not only_noted("network", n=3)
    with rehearsal() as noted:
        assert only_noted("network", n=3)
    assert noted == [{"kind": "network", "n": 3}]
    assert not only_noted("network", n=3)


def test_it_ends_with_an_error_too():
    with pytest.raises(RuntimeError), rehearsal():
        raise RuntimeError
    assert not only_noted("network")


def test_learners_note_what_they_would_learn():
    X = np.random.default_rng(0).standard_normal((60, 7)).astype(np.float32)
    y = np.arange(60) % 2
    source = new_network(7, 2, {"hidden": [5, 4, 3]})
    before = {name: value.clone() for name, value in source.state_dict().items()}
    with rehearsal() as noted:
        tuned, _ = fine_tune(source, X, y, Training(epochs=3), frozen=2)
        pretrain_denoising(source, X)
        baselines.tune("lasso", X, y, tuning=baselines.Tuning(genes=[3, 5], inner_folds=4, grid="small"))
    network, autoencoder, tuning = noted
    assert network["kind"] == "network" and network["n"] + network["held_out"] == 60 and network["held_out"] > 0
    assert network["widths"] == [5, 4, 3, 2] and network["frozen"] == 2 and network["training"].epochs == 3
    assert autoencoder["kind"] == "autoencoder" and autoencoder["widths"] == [5, 4, 3] and autoencoder["n"] < 60
    assert tuning["kind"] == "tuning" and tuning["folds"] == 4 and len(tuning["tried"]) == 4
    for name, value in tuned.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("section", [s for s in SECTIONS.values() if s.name != "data"], ids=lambda s: s.name)
def test_every_section_can_be_rehearsed(section, monkeypatch):
    """All its cells give rows; what is noted is what a real run hands to the learners."""
    parameters = check(section.module.Parameters, load("smoke")[section.name], section.name)
    cells = section.module.cells(parameters)
    monkeypatch.setattr(training, "_train", None)  # would fail if it was called
    with rehearsal() as noted:
        done = [cell for group in _groups(section, cells) for cell, rows in section.module.evaluate(group) if rows]
    assert {cell.key for cell in done} == {cell.key for cell in cells}
    kinds = {one["kind"] for one in noted}
    assert "network" in kinds and ("autoencoder" in kinds) == (section.name == "unsupervised")


def _groups(section, cells):
    found = {}
    for cell in cells:
        found.setdefault(section.module.group(cell), []).append(cell)
    return found.values()
