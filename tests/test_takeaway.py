"""A network to take away: what is in the file, what it was trained and tested on, how it travels between cohorts."""

import json
import random

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.proportion import proportion_confint
from typer.testing import CliRunner

from gexlib import takeaway
from gexlib.baselines import Tuning
from gexlib.cli import app
from gexlib.cohorts import open_cohort, schema, store
from gexlib.errors import InputError
from gexlib.takeaway import file
from gexlib.takeaway.card import card, table
from gexlib.tasks import problem
from tests.mutate import mutations

SMALL = {"hidden": [8, 4], "epochs": 12, "fixed_epochs": 12}
TUNING = Tuning(genes=(20,), inner_folds=2, trees=5, rounds=5, grid="small")


@pytest.fixture(scope="module")
def cohort(session_home):
    return open_cohort("simulated-tcga:smoke")


@pytest.fixture(scope="module")
def source(cohort):
    return takeaway.pretrain(cohort, ["cancer_type!=BRCA"], changes=SMALL)


@pytest.fixture(scope="module")
def tuned(cohort, source):
    return takeaway.finetune(source, cohort, ["cancer_type=BRCA"], n=16, frozen=1, tuning=TUNING)


@pytest.fixture
def path(tuned, tmp_path):
    file.save(tuned, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_what_is_written_is_what_is_read(cohort, tuned, path):
    read = file.load(path)
    np.testing.assert_array_equal(read.predict_proba(cohort), tuned.predict_proba(cohort))
    assert read.about == json.loads(json.dumps(tuned.about)) and read.seen.tolist() == tuned.seen.tolist()
    assert list(read.var.index) == list(cohort.var_names)


def test_predictions_can_be_computed_without_gexlib(cohort, path):
    """From the tensors alone, in NumPy."""
    tensors = load_file(path)
    x = (cohort.X - tensors["scaler.mean"]) / tensors["scaler.scale"]
    for layer in range(2):
        x = np.maximum(x @ tensors[f"hidden.{layer}.linear.weight"].T + tensors[f"hidden.{layer}.linear.bias"], 0)
    logits = x @ tensors["output.weight"].T + tensors["output.bias"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(file.load(path).predict_proba(cohort), expected, atol=1e-5)


def test_no_patient_is_on_both_sides(cohort, source, tuned):
    for taken, where in ((source, "cancer_type!=BRCA"), (tuned, "cancer_type=BRCA")):
        chosen = cohort[takeaway.own.select(cohort.obs, [where])]
        fresh = taken.unseen(chosen)
        facts, tested = taken.about["cohorts"][-1], taken.about["metrics"][0]
        assert (~fresh).sum() == facts["n"] and fresh.sum() == tested["n"]
        assert not set(chosen.obs["patient"][fresh]) & set(chosen.obs["patient"][~fresh])
        assert facts["patients"] + tested["patients"] == chosen.obs["patient"].nunique()
    assert facts["n"] <= 16 and min(facts["classes"].values()) >= 2
    assert np.isin(source.seen, tuned.seen).all()


def test_the_metrics_are_those_of_the_predictions(cohort, tuned):
    found, metrics, notes = takeaway.predict(tuned, cohort, ["cancer_type=BRCA"])
    tested = tuned.about["metrics"][0]
    right = (found["predicted"] == found["label"]).mean()
    assert right == pytest.approx(tested["accuracy"]) == metrics["accuracy"] and len(found) == tested["n"]
    patients = found["patient"].nunique()
    assert (metrics["low"], metrics["high"]) == pytest.approx(
        proportion_confint(right * patients, patients, method="wilson")
    )
    assert notes[0].startswith(f"{tuned.about['cohorts'][-1]['n']} of ") and "left out" in notes[0]
    everything, _, notes = takeaway.predict(tuned, cohort, ["cancer_type=BRCA"], unseen=False)
    assert len(everything) > len(found) and "not those of unseen patients" in notes[0]
    with pytest.raises(InputError, match="no sample is left: the network was trained on all of them"):
        takeaway.predict(tuned, everything_seen(cohort, tuned))


def everything_seen(cohort, taken):
    return cohort[~taken.unseen(cohort)]


def test_nothing_is_fitted_on_test_samples(cohort, source):
    """Other values of the samples held out give the same network, scaler included."""
    chosen = cohort[takeaway.own.select(cohort.obs, ["cancer_type!=BRCA"])].copy()
    held_out = source.unseen(chosen)
    chosen.X[held_out] = 100
    again = takeaway.pretrain(chosen, changes=SMALL)
    np.testing.assert_array_equal(again.mean, source.mean)
    for mine, theirs in zip(again.model.parameters(), source.model.parameters(), strict=True):
        np.testing.assert_array_equal(mine.detach(), theirs.detach())
    expected = StandardScaler().fit(chosen.X[~held_out])
    np.testing.assert_allclose(again.mean, expected.mean_)


def test_frozen_layers_stay(source, tuned, cohort):
    weights = [taken.model.hidden[0].linear.weight.detach() for taken in (source, tuned)]
    np.testing.assert_array_equal(*weights)
    free = takeaway.finetune(source, cohort, ["cancer_type=BRCA"], n=16, compare=False)
    assert not np.array_equal(free.model.hidden[0].linear.weight.detach(), weights[0])
    np.testing.assert_array_equal(free.mean, source.mean)
    own = takeaway.finetune(source, cohort, ["cancer_type=BRCA"], n=16, scaler="target", compare=False)
    assert not np.array_equal(own.mean, source.mean)


def test_methods_are_compared_on_the_same_samples(tuned):
    rows = tuned.about["metrics"]
    assert [row["method"] for row in rows[:3]] == ["fine-tuned", "source as it is", "baseline"] and len(rows) == 8
    assert len({(row["n"], row["patients"]) for row in rows}) == 1
    best = max(row["inner"] for row in rows[3:])
    assert [row["method"] for row in rows if row.get("preferred")] == [
        row["method"] for row in rows[3:] if row["inner"] == best
    ]
    shown = table(tuned)
    assert "preferred by inner cross-validation" in " ".join(shown.index) and shown["difference"].iloc[0] == ""


def test_genes_travel(cohort, tuned):
    expected = tuned.predict_proba(cohort)
    shuffled = cohort[:, np.random.default_rng(0).permutation(cohort.n_vars)]
    np.testing.assert_allclose(tuned.predict_proba(shuffled), expected, atol=1e-6)
    fewer = cohort[:, 5:].to_memory()
    mean = cohort.copy()
    mean.X = np.array(cohort.X)
    mean.X[:, :5] = tuned.mean[:5]
    np.testing.assert_allclose(tuned.predict_proba(fewer), tuned.predict_proba(mean), atol=1e-6)
    _, _, notes = takeaway.predict(tuned, fewer)
    assert f"{cohort.n_vars - 5} of {cohort.n_vars} genes match, by id; the other 5 stand at the mean" in " ".join(
        notes
    )


def test_another_scale_is_said(cohort, tuned):
    other = cohort.to_memory()
    other.uns["scale"] = "counts"
    assert "trained on values of another scale" in takeaway.predict(tuned, other)[2][-1]


def test_cancer_types(cohort):
    taken = takeaway.pretrain(cohort, task="tcga/type", changes=SMALL)
    found, metrics, _ = takeaway.predict(taken, cohort, ["status=cancer"])
    assert set(taken.classes) == set(cohort.obs["cancer_type"]) == set(found["label"]) and "accuracy" in metrics
    assert takeaway.predict(taken, cohort, ["status=normal"])[0].shape[0] > 0
    with pytest.raises(InputError, match="the network tells BRCA, .* apart, the samples are"):
        types = ["status=cancer", f"cancer_type!={taken.classes[0]}"]
        three = cohort.to_memory()
        three.obs["cancer_type"] = three.obs["cancer_type"].astype(str).replace(taken.classes[1], "OTHER")
        takeaway.finetune(taken, three, types[:1])


def test_samples_without_labels(cohort, tuned):
    one = cohort[cohort.obs["status"] == "cancer"]
    found, metrics, _ = takeaway.predict(tuned, one)
    assert set(found["label"]) == {"cancer"} and metrics["accuracy"] <= 1 and "roc_auc" not in metrics


@pytest.mark.parametrize(
    "change, message",
    [({"n": 2}, "--n 2: of .* samples this leaves 2 to"), ({"scaler": "both"}, "--scaler both: use source"),
     ({"changes": {"hidden": [3]}}, "-p hidden: the form of the network is the source's"),
     ({"changes": {"colour": 3}}, "-p colour: there is no such parameter; use hidden"),
     ({"frozen": 3}, "frozen=3: the network has 2 hidden layers"), ({"where": ["x=1"]}, "there is no column x"),
     ({"where": ["cancer_type=BRCA", "status=cancer"]}, "cannot carry it")],
)  # fmt: skip
def test_mistakes(cohort, source, change, message):
    with pytest.raises(InputError, match=message):
        takeaway.finetune(source, cohort, **({"where": ["cancer_type=BRCA"], "n": 16, "compare": False} | change))


def test_whole_patients():
    cohort = open_cohort("simulated-tcga:smoke")
    p = problem(cohort, "tcga/pan")
    for n in (8, 15, 16, 40):
        train, test = takeaway.whole_patients(p, n, 0)
        assert len(train) <= n and len(train) + len(test) == len(p.y)
        assert not set(p.groups[train]) & set(p.groups[test])
    with pytest.raises(InputError, match="both need all classes"):
        takeaway.whole_patients(p, len(p.y), 0)


def test_the_card(tuned, path):
    text = path.with_suffix(".md").read_text()
    assert text == card(tuned, "net.safetensors")
    for words in (
        "Trained on simulated samples (simulated-tcga:smoke)", "not a medical device", "`cancer_type=BRCA`",
        "| baseline |", tuned.about["cohorts"][0]["digest"],
        "Fine-tuned with 1 layers frozen and the scaler of the source",
    ):  # fmt: skip
        assert words in text
    assert text.count("Simulated") == len(set(line for line in text.splitlines() if "Simulated" in line))


def test_what_is_there_is_not_overwritten(tuned, path):
    before = path.read_bytes()
    for target, message in (
        (path, "net.safetensors is there already; name another file, or add --force"),
        (path.with_suffix(".pt"), "name a file that ends in .safetensors"),
        (path.parent / "no" / "net.safetensors", "there is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            file.save(tuned, target)
    assert path.read_bytes() == before
    file.save(tuned, path, force=True)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["net.md", "net.safetensors"]


def changed(path, about=lambda about: None, tensors=lambda tensors: None):
    """Write the file again with other metadata or tensors."""
    content, told = load_file(path), json.loads(metadata(path))
    about(told)
    tensors(content)
    save_file(content, path, metadata={"gexlib": json.dumps(told)})


def metadata(path) -> str:
    head = path.read_bytes()
    size = int.from_bytes(head[:8], "little")
    return json.loads(head[8 : 8 + size])["__metadata__"]["gexlib"]


@pytest.mark.parametrize(
    "how, message",
    [({"about": lambda a: a.update(format=2)}, "its format is not 1"),
     ({"about": lambda a: a.pop("classes")}, "has no 'classes'"),
     ({"about": lambda a: a.update(network={"hidden": [8, 10**9]})}, "its weights do not fit"),
     ({"about": lambda a: a.update(network={"hidden": [8, -4]})}, "at least one layer"),
     ({"about": lambda a: a.update(network={"colour": 1})}, "there is no such parameter"),
     ({"about": lambda a: a.update(training={"epochs": "many"})}, "epochs"),
     ({"about": lambda a: a.update(classes=["a"])}, "classes, cohorts or metrics are missing"),
     ({"about": lambda a: a["genes"].update(id=a["genes"]["id"][1:])}, "its genes|does not fit its genes"),
     ({"about": lambda a: a.update(genes={"id": "text"})}, "parameter genes"),
     ({"about": lambda a: a.update(cohorts=[])}, "classes, cohorts or metrics are missing"),
     ({"tensors": lambda t: t.update({"output.bias": t["output.bias"] * np.float32("nan")})}, "not finite"),
     ({"tensors": lambda t: t.pop("output.bias")}, "its weights do not fit"),
     ({"tensors": lambda t: t.update({"output.bias": t["output.bias"] + 1})}, "its values were altered"),
     ({"tensors": lambda t: t.update(seen=t["seen"][1:])}, "its values were altered"),
     ({"tensors": lambda t: t.update(more=np.zeros(3))}, "its weights do not fit"),
     ({"tensors": lambda t: t.pop("seen")}, "has no 'seen'"),
     ({"tensors": lambda t: t.update({"scaler.scale": 0 * t["scaler.scale"]})}, "its scaler does not fit"),
     ({"tensors": lambda t: t.update({"output.bias": t["output.bias"].astype(np.float64)})}, "its weights do not fit")],
)  # fmt: skip
def test_files_that_are_not_what_they_say(path, how, message):
    changed(path, **how)
    with pytest.raises(InputError, match=message) as caught:
        file.load(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(path, tmp_path, monkeypatch):
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04pickle")
    save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors")
    for name, message in (
        ("x.safetensors", "is damaged or no network"), ("other.safetensors", "is no network of gexlib: it has no"),
        ("none.safetensors", "there is no file"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            file.load(tmp_path / name)
    monkeypatch.setattr(file, "LIMIT", 10)
    with pytest.raises(InputError, match="is larger than"):
        file.load(path)


def survive(path, n: int, seed: int) -> dict[str, int]:
    """Read n damaged copies of a network: one sentence, or a network that predicts."""
    whole, found, draw = path.read_bytes(), {"refused": 0, "clean": 0}, random.Random(seed)
    size = 8 + int.from_bytes(whole[:8], "little")
    heads = mutations(whole[:size], n, seed)
    for content in mutations(whole, n, seed):
        head = next(heads)
        path.write_bytes(head + whole[size:] if draw.random() < 0.7 else content)
        try:
            taken = file.load(path)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 700, str(error)
            found["refused"] += 1
        else:
            card(taken, "damaged")
            found["clean"] += 1
    path.write_bytes(whole)
    return found


def test_damaged_files(path):
    found = survive(path, 60, 1)
    assert sum(found.values()) == 60 and found["refused"] > 10


def test_the_commands(cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [f"-p{name}={json.dumps(value)}" for name, value in SMALL.items()]

    def run(*words):
        done = CliRunner().invoke(app, [*words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    name = ["--cohort", "simulated-tcga:smoke"]
    shown = run("pretrain", *name, "--where", "cancer_type!=BRCA", "--out", "net.safetensors", *small)
    assert "network" in shown and "other patients" in shown and (tmp_path / "net.md").is_file()
    brca = [*name, "--where", "cancer_type=BRCA"]
    shown = run(
        "finetune", "net.safetensors", *brca, "--n", "16", "--freeze", "1", "--no-compare", "--out", "b.safetensors"
    )
    assert "trained on" in shown and "genes match, by id" in shown
    shown = run("predict", "b.safetensors", *brca, "--out", "p.csv")
    found = pd.read_csv("p.csv")
    assert f"on {len(found)} samples" in shown and list(found)[:2] == ["sample", "patient"]
    assert "accuracy" in run("predict", "b.safetensors", *brca, "--all")
    with pytest.raises(InputError, match="is there already"):
        run("pretrain", *name, "--out", "net.safetensors")
    assert store.stored()


def test_ids_that_count_belong_to_their_source(source, cohort):
    def known(ids, patients, origin):
        other = cohort[: len(ids)].copy()
        other.obs_names, other.obs["patient"], other.uns["source"] = ids, patients, origin
        return takeaway._fingerprints(other)

    for ids in (["1", "s2", "P-007", "Patient 12"], ["TCGA-A7-A0CE-01A", "GSM1234", "SRR123456", "c1f0-77aa"]):
        here, there = (np.concatenate(known(ids, ids, origin)) for origin in ("GEO GSE1", "GEO GSE2"))
        np.testing.assert_array_equal(here, np.concatenate(known(ids, ids, "GEO GSE1")))
        assert (here == there).all() if ids[0].startswith("TCGA") else (here != there).all()


def test_samples_of_no_known_status_are_predicted(source, cohort):
    new = cohort[cohort.obs["cancer_type"] == "BRCA"].copy()
    new.obs["status"] = ""
    found, metrics, _ = takeaway.predict(source, schema.check(new))
    assert len(found) == new.n_obs and metrics == {} and set(found["label"]) == {""}
    with pytest.raises(InputError, match="cannot carry"):
        takeaway.finetune(source, new)


def test_predictions_replace_nothing(source, cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file.save(source, "net.safetensors")
    content, words = (tmp_path / "net.safetensors").read_bytes(), ["predict", "net.safetensors", "--cohort"]
    (tmp_path / "p.csv").write_text("mine")
    for out, why in (("net.safetensors", "must end in .csv"), ("p.csv", "is there already"), ("no/p.csv", "no folder")):
        with pytest.raises(InputError, match=f"--out {out}: .*{why}"):
            CliRunner().invoke(app, [*words, "simulated-tcga:smoke", "--out", out], catch_exceptions=False)
    assert (tmp_path / "net.safetensors").read_bytes() == content and (tmp_path / "p.csv").read_text() == "mine"
    done = CliRunner().invoke(app, [*words, "simulated-tcga:smoke", "--out", "p.csv", "--force"])
    assert done.exit_code == 0 and len(pd.read_csv("p.csv"))


def test_a_place_that_cannot_be_written_to_costs_no_prediction(source, tmp_path, monkeypatch):
    file.save(source, tmp_path / "net.safetensors")
    (tmp_path / "taken").touch()
    monkeypatch.setattr(takeaway, "predict", None)
    words = ["predict", str(tmp_path / "net.safetensors"), "--cohort", "simulated-tcga:smoke", "--out"]
    with pytest.raises(InputError, match="cannot write to .*taken"):
        CliRunner().invoke(app, [*words, str(tmp_path / "taken" / "p.csv")], catch_exceptions=False)


def test_another_scale_is_said_before_fine_tuning(source, cohort, tmp_path, home):
    other = cohort[cohort.obs["cancer_type"] == "BRCA"].copy()
    other.uns |= {"name": "other", "scale": "counts"}
    store.save(other)
    file.save(source, tmp_path / "net.safetensors")
    words = ["finetune", str(tmp_path / "net.safetensors"), "--cohort", "other", "--n", "16", "--no-compare"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "b.safetensors")], catch_exceptions=False)
    assert "values of another scale (" in done.output and "here counts): --scaler target may serve" in done.output


def test_the_card_says_what_differs_from_the_defaults(tuned):
    text = card(tuned, "net.safetensors")
    assert "Parameters other than the defaults: `hidden=[8, 4]`, `epochs=12`, `fixed_epochs=12`." in text
    assert "*baseline* one of the same form trained from scratch" in text
