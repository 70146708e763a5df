"""Between cell lines and patients: what each arm is given, on real evaluations of small cohorts, and the tables."""

from collections import defaultdict
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from gexlib.cohorts import open_cohort
from gexlib.errors import InputError
from gexlib.experiments import cell_lines_and_patients as origins
from gexlib.gram import over_genes
from gexlib.results import table
from gexlib.tasks import problem
from gexlib.training import validation_split

TINY = {
    "network": {"hidden": [12, 6]},
    "training": {"epochs": 4, "fixed_epochs": 3},
    "genes": [10], "inner_folds": 2, "trees": 5,
}  # fmt: skip
SMOKE = origins.Parameters(
    cohort="simulated-microarray:smoke", n=[8, 44], frozen=[0, 2], repeats=2, methods=["lasso"], **TINY
)  # fmt: skip
DOMAINS = ("cell_line", "patient")


@pytest.fixture(scope="module")
def relatives(variant):
    """Return a cohort in which some donors of a cell line are patients too, and some samples have no origin."""

    def share(obs):
        labels, origin = obs["patient"].to_numpy(copy=True), obs["origin"].to_numpy(copy=True)
        lines, patients = (np.flatnonzero(origin == name) for name in DOMAINS)
        labels[lines[:40]] = labels[patients[:40]]
        origin[patients[-5:]] = ""
        return obs.assign(patient=labels, origin=origin)

    return variant("relatives", "simulated-microarray:smoke", share)


@pytest.fixture(scope="module")
def platforms(variant):
    """Return a cohort of two platforms, one of them on another scale; all samples from patients."""

    def label(obs):
        return obs.assign(platform=obs["origin"].map({"cell_line": "array", "patient": "reads"}), origin="patient")

    return variant("platforms", "simulated-microarray:smoke", label)


@pytest.fixture(scope="module")
def seen(watched, relatives):
    parameters = replace(
        SMOKE, cohort=relatives, scaler=["source", "subset", "all"], stopping=["fixed", "patience", "first"],
        stopping_n=[44], pooled=["lasso"],
    )  # fmt: skip
    return watched(origins, parameters)


def groups(seen):
    found = defaultdict(list)
    for s in seen:
        found[origins.group(s.cell)].append(s)
    return list(found.values())


def one(members, **wanted):
    (found,) = [s for s in members if all(getattr(s, name) == value for name, value in wanted.items())]
    return found


def test_both_domains_are_split_once_by_patient(seen, relatives):
    obs = open_cohort(relatives).obs
    for repeat in (0, 1):
        tests = {}
        for members in groups([s for s in seen if s.repeat == repeat]):
            source, target = members[0].source, members[0].target
            for s in members:  # in both directions the same samples of a domain
                name = source if s.arm == "own" else target
                assert s.tested == tests.setdefault(name, s.tested)
        assert set(tests) == set(DOMAINS)
        for name, ids in tests.items():
            assert set(obs.loc[sorted(ids), "origin"]) == {name}
            assert set(obs.loc[sorted(ids), "status"]) == {"cancer", "normal"}
            assert 0.1 < len(ids) / (obs["origin"] == name).sum() < 0.3
        held_out = set.union(*tests.values())
        trained = {i for s in seen if s.repeat == repeat for step in s.of("train") for i in step.ids}
        assert trained | held_out == set(obs.index[obs["origin"] != ""]) and not trained & held_out
        assert not set(obs.loc[sorted(trained), "patient"]) & set(obs.loc[sorted(held_out), "patient"])
    assert len({frozenset(s.tested) for s in seen}) == 4  # another split in each repeat


def test_no_test_sample_of_either_domain_is_learned_from(seen):
    tested = {r: set.union(*(s.tested for s in seen if s.repeat == r)) for r in (0, 1)}
    names = set()
    for s in seen:
        for step in s.learning:
            names.add(step.name)
            if step.name == "scale" and s.scaler == "all":
                assert one(seen, arm="zero_shot", repeat=s.repeat, target=s.target).tested <= set(step.ids)
            else:
                assert not set(step.ids) & tested[s.repeat], (s.arm, s.scaler, step.name)
    assert names == {"scale", "select", "tune", "train", "fine-tune"}


def test_one_source_network_serves_table_5_and_every_rule_of_stopping(seen, relatives):
    origin = open_cohort(relatives).obs["origin"]
    for members in groups(seen):
        source = members[0].source
        trained = [step for s in members for step in s.of("train") if set(origin[list(step.ids)]) == {source}]
        assert len(trained) == 2  # of the scaler "all", and of all else
        own, zero = (one(members, arm=arm) for arm in ("own", "zero_shot"))
        (at_home,), (abroad,) = own.of("predict"), zero.of("predict")
        assert at_home.more["model"] is abroad.more["model"]
        assert set(at_home.more["scaled_on"]) == set(abroad.more["scaled_on"]) == set(trained[0].ids)
        tuned = [s for s in members if s.arm == "fine_tuned" and s.scaler != "all"]
        assert {id(s.learner.more["source"]) for s in tuned} == {id(abroad.more["model"])}
        assert {row["n_source"] for s in members for row in s.rows} == {len(trained[0].ids)}
        assert trained[0].more["seed"] == zero.rows[0]["source_seed"] == own.rows[0]["source_seed"]
        assert (own.rows[0]["source"], own.rows[0]["target"], own.rows[0]["arm"]) == (source, source, "own")
        assert own.rows[0]["n"] == 0 and own.rows[0]["stopping"] is None
    seeds = {s.rows[0]["source_seed"] for s in seen if s.arm == "zero_shot"}
    assert len(seeds) == 4  # a network of its own in every repeat and direction


def test_compared_networks_share_samples_scaler_stopping_and_seeds(seen):
    compared = defaultdict(list)
    for s in seen:
        if s.arm in ("baseline", "fine_tuned"):
            compared[origins.group(s.cell), s.n, s.scaler, s.stopping].append(s)
    assert len(compared) == 4 * (2 + 2 + 2)  # the main arm at both sizes, two rules and two scalers at one
    for (_, n, scaler, rule), members in compared.items():
        main = (scaler, rule) == ("source", "patience")
        assert sorted(s.frozen for s in members if s.arm == "fine_tuned") == ([0, 2] if main else [0])
        assert sum(s.arm == "baseline" for s in members) == 1
        first = members[0].learner
        assert len(set(first.ids)) == n
        for s in members:
            assert s.learner.name == ("train" if s.arm == "baseline" else "fine-tune")
            assert s.learner.ids == first.ids and set(s.learner.more["scaled_on"]) == set(first.more["scaled_on"])
            assert set(s.of("predict")[0].more["scaled_on"]) == set(first.more["scaled_on"])
            assert all(s.learner.more[name] == first.more[name] for name in ("y", "groups", "seed", "validation"))
            assert {row["stopping"] for row in s.rows} == {rule}
            assert s.rows[0]["early_stopping"] == (n == 44 and rule != "fixed")
            if rule == "fixed":
                assert s.rows[0]["epochs"] == 3
    for s in (s for s in seen if s.arm in ("classical", "pooled")):
        match = {"arm": "baseline", "n": s.n, "scaler": "source", "stopping": "patience"}
        baseline = one(seen, **match, repeat=s.repeat, target=s.target)
        assert set(baseline.learner.ids) <= set(s.learner.ids)
        assert (len(s.learner.ids) == s.n) == (s.arm == "classical") and s.rows[0]["stopping"] is None


def test_frozen_layers_stay_and_the_others_change(seen):
    for s in (s for s in seen if s.arm == "fine_tuned"):
        source, model = (over_genes(s.learner.more[name]).state_dict() for name in ("source", "model"))
        changed = {name.split(".")[1] for name in source if not source[name].equal(model[name])} - {"weight", "bias"}
        assert changed == ({"0", "1"} if s.frozen == 0 else set())
        assert not source["output.weight"].equal(model["output.weight"])


def test_rows_say_what_they_are(seen, relatives):
    obs = open_cohort(relatives).obs
    for s in seen:
        share = (obs.loc[sorted(s.tested), "status"] == "cancer").mean()
        wanted = {
            "domain": "origin", "sweep": False, "scaler": s.scaler, "repeat": s.repeat, "task": "microarray/pan",
            "split": "patient", "test_cancer": pytest.approx(share), "source": s.source,
            "target": s.source if s.arm == "own" else s.target,
        }  # fmt: skip
        for row in s.rows:
            assert {name: row[name] for name in wanted} == wanted and np.isfinite(row["value"])


def test_each_platform_is_standardised_on_its_own_training_samples(watched, platforms):
    parameters = replace(SMOKE, cohort=platforms, n=[8], repeats=1, scaler=["domain"], methods=[], frozen=[0])
    seen = watched(origins, parameters)
    labels = open_cohort(platforms).obs["platform"]
    assert {row["domain"] for s in seen for row in s.rows} == {"platform"}
    for members in groups(seen):
        source, target = members[0].source, members[0].target
        for s in members:
            scaled_on = set(s.of("predict")[0].more["scaled_on"])
            name = source if s.arm == "own" else target
            assert set(labels[sorted(scaled_on)]) == {name} and not scaled_on & s.tested
            pool = (labels == name).sum() - len(s.tested)
            assert len(scaled_on) == pool  # all its training samples, not the n
        (trained,) = {step.ids for s in members for step in s.of("train") if set(labels[list(step.ids)]) == {source}}
        assert set(trained) == set(one(members, arm="own").of("predict")[0].more["scaled_on"])
    assert {c.parameters["domain"] for c in origins.cells(SMOKE)} == {"origin"}
    with pytest.raises(InputError, match="domain=origin: platforms has patient; choose a cohort with two"):
        origins.cells(replace(parameters, domain="origin"))


# Lists of cells, nothing evaluated


def arms(parameters, *names) -> set[str]:
    return {cell.key for cell in origins.cells(parameters) if cell.parameters["arm"] in names}


def test_baselines_depend_neither_on_f_nor_on_what_else_is_in_the_list():
    many = replace(
        SMOKE, n=[8, 12, 44], frozen=[2, 1, 0], scaler=["source", "subset"], stopping=["patience", "first"], repeats=3,
        sweep=["simulated-microarray:smoke,sharing=0"], sweep_n=[16],
    )  # fmt: skip
    few, more = origins.cells(SMOKE), {cell.key for cell in origins.cells(many)}
    assert {cell.parameters["arm"] for cell in few} == {"own", "zero_shot", "baseline", "fine_tuned", "classical"}
    assert {cell.key for cell in few} < more
    one_way = arms(replace(SMOKE, frozen=[1], directions=["patient:cell_line"]), "baseline", "own")
    own = {c.key for c in few if c.parameters["arm"] in ("baseline", "own") and c.parameters["source"] == "patient"}
    assert one_way == own
    for change in ({"seed": 1}, {"split": "study"}, {"training": {"epochs": 5}}, {"stopping": ["first"]}):
        assert not own & arms(replace(SMOKE, repeats=1, **change), "baseline"), change


def test_rules_of_stopping_change_the_targets_training_only():
    parameters = replace(SMOKE, stopping=list(origins.STOPPING), training={"epochs": 9, "patience": 4})
    found = defaultdict(list)
    for cell in origins.cells(parameters):
        if cell.parameters["arm"] in ("baseline", "fine_tuned"):
            found[cell.parameters["stopping"]].append(cell.parameters)
        else:
            assert cell.parameters.get("training", {"epochs": 9, "patience": 4}) == {"epochs": 9, "patience": 4}
    wanted = {"patience": {"patience": 4}, "first": {"patience": 0}, "fixed": {"patience": 4, "validation": 0.0}}
    for rule, cells in found.items():
        for cell in cells:
            assert cell["training"] == {"epochs": 9, **wanted[rule]}
            assert cell["arm"] == "baseline" or cell["source_training"] == {"epochs": 9, "patience": 4}
    # below 40 samples nothing is validated on and the rules are one
    assert {c["n"] for c in found["first"]} == {c["n"] for c in found["fixed"]} == {44}
    y = np.resize([0, 1], origins.LEAST_VALIDATED)
    assert validation_split(y, None, 0.2, 0) is not None and validation_split(y[1:], None, 0.2, 0) is None


def test_the_sweep_runs_no_frozen_layer_and_no_classical_method():
    other = "simulated-microarray:smoke,sharing=0.0"
    parameters = replace(
        SMOKE, repeats=1, scaler=["subset", "source"], stopping=["first", "fixed"], sweep=[other], sweep_n=[16]
    )
    cells = [c.parameters for c in origins.cells(parameters) if c.parameters["cohort"] == other]
    assert {c["arm"] for c in cells} == {"own", "zero_shot", "baseline", "fine_tuned"}
    assert all(c["sweep"] == (c in cells) for c in (c.parameters for c in origins.cells(parameters)))
    tuned = [c for c in cells if c["arm"] in ("baseline", "fine_tuned")]
    assert {(c["n"], c["scaler"], c["stopping"], c.get("frozen", 0)) for c in tuned} == {(16, "source", "first", 0)}


def test_sizes_beyond_one_direction_are_left_out_for_it_and_beyond_all_refused():
    sizes = defaultdict(set)
    for cell in origins.cells(replace(SMOKE, n=[8, 120], methods=[])):
        sizes[cell.parameters["target"]].add(cell.parameters.get("n"))
    assert sizes == {"cell_line": {None, 8}, "patient": {None, 8, 120}}
    with pytest.raises(InputError, match="n: 200 target samples cannot be drawn from 1[0-9]+; use 4 to 1"):
        origins.cells(replace(SMOKE, n=[8, 200]))
    with pytest.raises(InputError, match="n: 120 target samples"):
        origins.cells(replace(SMOKE, n=[120], directions=["patient:cell_line"]))
    with pytest.raises(InputError, match="sweep_n: 3 target samples"):
        origins.cells(replace(SMOKE, sweep=["simulated-microarray:smoke,sharing=0"], sweep_n=[3]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": "age"}, "domain 'age' is not known"),
        ({"domain": "platform"}, "domain=platform: simulated-microarray:smoke has no such label"),
        ({"cohort": "simulated-tcga:smoke"}, "domain=origin: simulated-tcga:smoke has patient; choose a cohort"),
        ({"directions": ["patient:mouse"]}, "'patient:mouse' is not one of .*; use cell_line:patient, patient:cell"),
        ({"stopping": ["never"]}, r"stopping=\['never'\]: name one or more of patience, first, fixed"),
        ({"stopping": []}, "name one or more of"),
        ({"n": [0], "stopping_n": [8]}, "n: 0 target samples cannot be drawn"),
        ({"repeats": 0}, "repeats=0: it must be 1 or more"),
        ({"frozen": [3]}, "frozen: '3' is not known"),
        ({"pooled": ["majority"]}, "pooled: 'majority' is not known"),
        ({"sweep": ["tcga-pairs"]}, "tcga-pairs cannot be simulated"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(change, message):
    with pytest.raises(InputError, match=message):
        origins.cells(replace(SMOKE, **change))


def test_sizes_of_the_further_rules_that_n_lacks_are_left_out():
    slices = replace(SMOKE, n=[44], stopping=["patience", "first"], stopping_n=[44, 48])
    assert origins.cells(slices) == origins.cells(replace(slices, stopping_n=[44]))
    none = origins.cells(replace(slices, stopping_n=[48]))  # none is not all of them
    assert none and "first" not in {cell.parameters.get("stopping") for cell in none}
    assert "first" in {cell.parameters.get("stopping") for cell in origins.cells(slices)}


def test_what_domain_auto_compares_is_said():
    (said,) = origins.notes(SMOKE)
    assert said == "simulated-microarray:smoke: domain=auto is origin here: cell_line and patient are compared."
    assert origins.notes(replace(SMOKE, domain="origin")) == []


def test_a_domain_with_few_samples_of_a_class_is_refused(variant):
    def thin(obs):
        normal = (obs["status"] == "normal") & (obs["origin"] == "cell_line")
        return obs[~normal | (normal.cumsum() <= 4)]

    cohort = variant("thin", "simulated-microarray:smoke", thin)
    with pytest.raises(InputError, match="thin has samples of 4 patients for cell_line, normal; 5 are needed"):
        origins.cells(replace(SMOKE, cohort=cohort))
    whole = problem(open_cohort("simulated-microarray:smoke"), "microarray/pan")
    train, test = origins.divide(open_cohort("simulated-microarray:smoke"), whole, "origin", 0, 0)
    for name in DOMAINS:  # the split keeps the proportions
        assert train[name].y.mean() == pytest.approx(test[name].y.mean(), abs=0.05)


def test_a_cell_does_not_depend_on_the_cells_before_it(watched):
    parameters = replace(SMOKE, repeats=1, directions=["patient:cell_line"], methods=[])
    together = {s.cell.key: s.rows for s in watched(origins, parameters)}
    (last,) = [c.key for c in origins.cells(parameters) if c.parameters.get("frozen") == 2 and c.parameters["n"] == 44]
    (alone,) = watched(origins, parameters, lambda cell: cell.key == last)
    assert [row["value"] for row in alone.rows] == pytest.approx([row["value"] for row in together[last]])


def test_shuffled_labels_give_chance_and_true_ones_do_not(watched, canary):
    honest = origins.Parameters(
        n=[44], frozen=[0], repeats=3, methods=["lasso"], genes=[20], inner_folds=3, network={"hidden": [32]},
        training={"epochs": 30, "fixed_epochs": 30},
    )  # fmt: skip
    means = {}
    for cohort in (canary, "simulated-microarray:smoke"):
        frame = table(row for s in watched(origins, replace(honest, cohort=cohort)) for row in s.rows)
        frame = frame[(frame["metric"] == "roc_auc") & (frame["method"] != "lasso")]
        means[cohort] = frame.groupby("arm")["value"].mean()
    assert set(means[canary].index) == {"own", "zero_shot", "baseline", "fine_tuned", "classical"}
    assert (abs(means[canary] - 0.5) < 0.1).all(), means[canary]
    assert (means["simulated-microarray:smoke"] > 0.7).all(), means["simulated-microarray:smoke"]


# Tables, on rows made by hand


METRICS = (("accuracy", 0), ("balanced_accuracy", 0), ("roc_auc", 0.05))


def hand_made(cohort="simulated-microarray:smoke", sweep=False, n=(25, 50), rules=("patience",), gain=0.1):
    """Rows whose gain is known: `gain` with F = 0, nothing with F = 2; the rule "first" doubles it."""
    rows, other = [], {"cell_line": "patient", "patient": "cell_line"}
    for target, repeat, (metric, up) in product(DOMAINS, range(3), METRICS):
        source, noise = other[target], 0.01 * repeat
        common = {
            "cohort": cohort, "simulated": True, "split": "random", "source": source, "target": target, "domain":
            "origin", "sweep": sweep, "repeat": repeat, "metric": metric, "method": "nn_default", "n_source": 100,
            "test_cancer": 0.7 if target == "patient" else 0.4,
        }  # fmt: skip
        at_home = {"target": source, "test_cancer": 0.4 if source == "cell_line" else 0.7}
        rows.append({**common, **at_home, "arm": "own", "n": 0, "scaler": "source", "value": 0.9 + noise + up})
        rows.append({**common, "arm": "zero_shot", "n": 0, "scaler": "source", "value": 0.6 + noise + up})
        for size, rule in product(n, rules):
            here = {**common, "n": size, "scaler": "source", "stopping": rule, "early_stopping": size >= 40}
            rows.append({**here, "arm": "baseline", "value": 0.7 + noise + up, "epochs": 20 + repeat})
            for frozen, more in ((0, gain * (1 + (rule == "first"))), (2, 0)):
                tuned = {"arm": "fine_tuned", "frozen": frozen, "epochs": 12 + 4 * repeat}
                rows.append({**here, **tuned, "value": 0.7 + noise + up + more, "source_seed": 10 * repeat})
        for size, method in product(n, ("lasso", "best_classical")):
            rows.append({**common, "arm": "classical", "method": method, "n": size, "value": 0.65 + up})
    return table(rows)


def test_table_5_has_means_intervals_and_the_larger_class():
    found = origins.table5(hand_made()).set_index(["source", "target"])
    assert len(found) == 4 and set(found["n_source"]) == {100}
    assert "balanced_accuracy" not in origins.table5(hand_made(), metrics=("accuracy",))
    home, abroad = found.loc[("patient", "patient")], found.loc[("patient", "cell_line")]
    assert home["accuracy"] == pytest.approx(0.91) and abroad["accuracy"] == pytest.approx(0.61)
    assert abroad["roc_auc"] == pytest.approx(0.66)
    assert home["majority"] == pytest.approx(0.7) and abroad["majority"] == pytest.approx(0.6)
    half = 4.302653 * 0.01 / np.sqrt(3)
    assert home["accuracy_high"] - home["accuracy"] == pytest.approx(half, rel=1e-5)
    assert home["accuracy"] - home["accuracy_low"] == pytest.approx(half, rel=1e-5)


def test_the_gain_is_paired_over_repeats_and_rules_stay_apart():
    rows = hand_made(rules=("first", "patience"))
    found = origins.summarise(rows)
    tuned = found[found["arm"] == "fine_tuned"].set_index(["stopping", "frozen"]).sort_index()
    assert (tuned["n_pairs"] == 3).all()
    for rule, gain in (("patience", 0.1), ("first", 0.2)):
        assert tuned.loc[(rule, 0), "difference"].to_numpy() == pytest.approx([gain] * 4)
        assert tuned.loc[(rule, 2), "difference"].to_numpy() == pytest.approx([0] * 4, abs=1e-12)
    assert set(found.loc[found["arm"].isin(["zero_shot", "classical"]), "stopping"]) == {"patience"}
    assert "own" not in set(found["arm"])
    both = origins.arms(rows)
    assert list(both["stopping"].unique()) == ["patience", "first"] and set(both["frozen"]) == {0}
    assert both["baseline"].to_numpy() == pytest.approx([0.71] * len(both))
    assert origins.arms(hand_made()).empty


def test_figure_4_shows_the_main_scaler_and_rule_of_each_cohort():
    joint = hand_made("a+b").assign(scaler=lambda t: t["scaler"].replace("source", "domain"), domain="platform")
    rows = hand_made(rules=("first", "patience"))
    subset = rows[rows["stopping"] == "patience"].assign(scaler="subset")
    both = pd.concat([joint, rows, subset, hand_made("simulated-microarray:demo", sweep=True)])
    shown = origins.fig4(both)
    assert {tuple(x) for x in shown[["cohort", "scaler", "stopping"]].dropna().drop_duplicates().to_numpy()} == {
        ("a+b", "domain", "patience"), ("simulated-microarray:smoke", "source", "patience")
    }  # fmt: skip
    assert set(shown["arm"]) == {"zero_shot", "baseline", "fine_tuned", "classical"}
    assert set(shown["frozen"].dropna()) == {0, 2}
    lines = origins.main_lines(both)
    assert set(lines["frozen"].dropna()) == {0} and set(lines["cohort"]) == {"a+b", "simulated-microarray:smoke"}
    assert set(lines.loc[lines["arm"] == "classical", "method"]) == {"best_classical"}
    assert set(origins.headline(both, "platform")["cohort"]) == {"a+b"}
    assert origins.headline(table([]), "platform").empty


def test_epochs_are_compared_where_training_stopped_early():
    found = origins.epochs(hand_made())
    assert set(found["n"]) == {50} and len(found) == 2 * 2
    assert found["baseline"].to_numpy() == pytest.approx([21] * 4)
    assert found["mean"].to_numpy() == pytest.approx([16] * 4)
    assert found["difference"].to_numpy() == pytest.approx([-5] * 4) and set(found["n_pairs"]) == {3}
    assert origins.epochs(hand_made(n=(25,))).empty


def test_the_sweep_reads_sharing_and_shift_from_the_names():
    names = {(0.0, 2.0): 0.02, (1.0, 0.5): 0.3}
    parts = [
        hand_made(f"simulated-microarray:smoke,sharing={s},shift={d}", True, (25,), gain=gain)
        for (s, d), gain in names.items()
    ]
    found = origins.sweep(pd.concat([hand_made(), *parts]))
    found = found[found["source"] == "patient"]
    for row in found[found["gain"] > 0.01].itertuples():
        assert row.gain == pytest.approx(names[row.sharing, row.shift]) and row.n == 25
        assert row.baseline == pytest.approx(0.71) and row.fine_tuned == pytest.approx(0.71 + row.gain)
        assert row.zero_shot == pytest.approx(0.61) and row.n_pairs == 3 and row.gain_low <= row.gain <= row.gain_high
    assert set(zip(found["sharing"], found["shift"], strict=True)) == set(names)
    assert origins.sweep(hand_made()).empty
