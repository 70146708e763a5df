"""The plan: its work is the experiments' own, its prices are those of this machine, its sums are right."""

import dataclasses
import sys

import numpy as np
import pytest

from gexlib import baselines, cli, plan, training
from gexlib.errors import InputError
from gexlib.experiments import SECTIONS
from gexlib.experiments.base import check
from gexlib.plan import Prices, Rehearsed, Work, narrow, rehearse
from gexlib.profiles import load, parameters
from gexlib.training import Training
from gexlib.transfer import Denoising

PRICES = Prices(
    layer=1e-4, update={"sgd": 1e-9, "rmsprop": 2e-9, "adam": 3e-9}, sample=5e-11, product=1e-11,
    fits=dict.fromkeys(baselines.METHODS, (0.01, 1e-6)),
)  # fmt: skip


def network(genes=54_675, **noted) -> Work:
    default = {"n": 100, "held_out": 0, "widths": [500, 200, 2], "frozen": 0, "training": Training(fixed_epochs=10)}
    return Work("network", genes, {**default, **noted})


def tuning(method="lasso", **noted) -> Work:
    tried = [{"select__k": k, "c": c} for k in (50, 150) for c in (1, 2)]
    default = {"method": method, "n": 100, "folds": 5, "tried": tried, "tuning": baselines.Tuning(), "n_classes": 2}
    return Work("tuning", 1000, {**default, **noted})


def test_the_price_of_a_network_is_that_of_its_steps():
    adam = Training(fixed_epochs=10, optimiser="adam", batch_size=25)
    weights = 54_675 * 500 + 500 * 200 + 200 * 2
    step = 3 * 1e-4 + weights * (3e-9 + 25 * 5e-11)
    assert network(training=adam).seconds(PRICES, 0.3) == pytest.approx(10 * 4 * step)
    stops = dataclasses.replace(adam, epochs=50)
    assert network(training=stops, held_out=25).seconds(PRICES, 0.3) == pytest.approx(15 * 4 * step)


def test_in_sample_space_the_first_layer_has_a_row_a_sample(monkeypatch):
    work = network()
    assert work.in_sample_space
    weights = 100 * 500 + 500 * 200 + 200 * 2
    once = 1e-11 * 54_675 * 100 * (100 + 1000)
    step = 3 * 1e-4 + weights * (1e-9 + 32 * 5e-11)
    assert work.seconds(PRICES, 0.3) == pytest.approx(once + 10 * 4 * step)
    assert not network(frozen=1).in_sample_space and not network(genes=90).in_sample_space
    assert not network(training=Training(optimiser="adam")).in_sample_space
    assert not network(training=Training(l1=0.1)).in_sample_space
    monkeypatch.setenv("GEXLIB_PLAIN", "1")
    assert not work.in_sample_space and work.seconds(PRICES, 0.3) > 5 * once


def test_frozen_layers_cost_one_pass():
    every_layer = network(training=Training(optimiser="adam", fixed_epochs=10))
    assert network(frozen=1).seconds(PRICES, 0.3) < every_layer.seconds(PRICES, 0.3) / 50


def test_the_price_of_a_tuning_is_that_of_its_fits():
    fit = 0.01 + 1e-6 * 80 * 100
    assert tuning().seconds(PRICES, 0.3) == pytest.approx(4 * 5 * fit + 0.01 + 1e-6 * 100 * 100)
    assert tuning(n_classes=4).seconds(PRICES, 0.3) == pytest.approx(4 * tuning().seconds(PRICES, 0.3))
    trees = tuning("random_forest", tuning=baselines.Tuning(trees=200))
    assert trees.seconds(PRICES, 0.3) == pytest.approx(2 * tuning().seconds(PRICES, 0.3))
    machine = 4 * 5 * (0.01 + 1e-6 * 80**2) + 0.01 + 1e-6 * 100**2
    assert tuning("svm_rbf").seconds(PRICES, 0.3) == pytest.approx(machine + 5 * 2 * 80**2 * 100 * 1e-11)
    assert tuning(folds=0).seconds(PRICES, 0.3) == pytest.approx(0.01 + 1e-6 * 100 * 100)


def test_memory_grows_with_weights_and_samples():
    autoencoder = Work("autoencoder", 54_675, {"n": 10_000, "widths": [500, 200], "training": Denoising()})
    assert autoencoder.gibibytes > 2 * 10_000 * 54_675 * 4 / 2**30
    assert 0.2 < network().gibibytes < 0.5 < network(training=Training(optimiser="adam")).gibibytes < 1
    assert tuning().gibibytes < 0.01


def test_a_narrow_cohort_has_the_same_samples():
    assert narrow("simulated-microarray:paper") == ("simulated-microarray:samples=16709,genes=200,tissues=11", 54_675)
    assert narrow("simulated-tcga:smoke") == ("simulated-tcga:smoke", 200)


@pytest.mark.parametrize("name", ["comparison", "pan-to-specific", "cancer-to-cancer", "cell-lines-and-patients"])
def test_the_work_is_counted_as_a_run_does_it(name, monkeypatch, home):
    """All networks that a real run of the section trains, whatever is shared, and their samples."""
    section = SECTIONS[name]
    chosen = load("smoke")[name]
    if name == "comparison":  # methods beside the networks are really tuned below
        chosen |= {"methods": ["nn_default", "nn_inner", "lasso"]}
    found = rehearse(section, chosen)
    trained = []
    monkeypatch.setattr(
        training, "_train", lambda model, X, y, rows, *more: trained.append(len(rows)) or [{"epoch": 1}]
    )
    cells, groups = section.module.cells(check(section.module.Parameters, chosen, name)), {}
    for cell in cells:
        groups.setdefault(section.module.group(cell), []).append(cell)
    for group in groups.values():
        assert all(rows for _, rows in section.module.evaluate(group))
    assert found.cells == len(cells)
    assert found.count("network") == pytest.approx(len(trained), rel=0.1)  # repeats and folds differ by a little
    noted = sum(times * work.noted["n"] for work, times in found.work if work.kind == "network")
    assert noted == pytest.approx(sum(trained), rel=0.1)


def test_the_draws_of_a_section_that_follow_are_counted():
    found = rehearse(SECTIONS["sensitivity"], load("smoke")["sensitivity"])
    assert (
        found.cells
        == found.count("network")
        > len(
            SECTIONS["sensitivity"].module.cells(
                SECTIONS["sensitivity"].module.Parameters(**load("smoke")["sensitivity"])
            )
        )
    )


def test_epochs_are_those_of_the_record():
    assert plan.share_of_epochs("data") == plan.EPOCHS
    for experiment in ("sensitivity", "comparison", "pan_to_specific"):
        assert 0.05 < plan.share_of_epochs(experiment) < 0.9 and plan.share_of_epochs(experiment) != plan.EPOCHS


def test_sums_are_right():
    work = [(network(training=Training(optimiser="adam")), 10.0), (tuning(), 4.0)]
    found = Rehearsed(14, work)
    assert found.count("network") == 10 and found.count("tuning") == 4
    networks, tunings = (found.hours(PRICES, 0.3, (kind,)) for kind in ("network", "tuning"))
    line = {
        "section": "x", "cells": 14, "networks": 10, "autoencoders": 0, "tunings": 4, "network hours": networks,
        "tuning hours": tunings, "memory": 1.0, "cohorts": {"a": 2.0, "b": 1.0}, "rows": 0.5,
    }  # fmt: skip
    table = plan.table([line, {**line, "section": "y", "cohorts": {"a": 2.0}}], cores=4)
    assert list(table["section"]) == ["x", "y", "all"] and table["networks"].tolist() == [10, 10, 20]
    np.testing.assert_allclose(table["days"].iloc[0], (networks + tunings) / 4 / 24)
    np.testing.assert_allclose(table["days"].iloc[-1], 2 * table["days"].iloc[0])
    assert table["disk, GiB"].tolist() == [3.5, 2.5, 4.0]  # a cohort is kept once
    assert table["memory a worker, GiB"].tolist() == [3.0, 3.0, 3.0]
    on_gpus = plan.table([line], cores=4, gpus=2)
    np.testing.assert_allclose(on_gpus["days"].iloc[0], (networks / 2 + tunings / 4) / 24)


def test_the_command_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(plan, "measure", lambda device: PRICES)
    words = ["gexlib", "plan", "pan-to-specific", "data", "--profile", "smoke", "--cores", "3", "-p", "seed=1"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].split()[:2] == ["section", "cells"] and lines[1].split()[0] == "pan-to-specific"
    assert lines[3].split()[0] == "all" and "Profile smoke on 3 cores: about 0.0 hours" in said


def test_a_plan_for_gpus_needs_one(monkeypatch):
    monkeypatch.setattr(training.torch.cuda, "is_available", lambda: False)
    from gexlib.commands import plan as command

    with pytest.raises(InputError, match="torch finds no GPU here"):
        command(["data"], "smoke", [], 2, 1)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_the_paper_profile_can_be_used(section):
    """Its parameters are checked, its cohorts are at full width; listing its cells takes longer than a test may."""
    values = parameters(section, "paper", {})
    check(section.module.Parameters, values, section.name)
    assert all(narrow(name)[1] in (54_675, 20_000) for name in np.atleast_1d(values["cohort"]).tolist())
