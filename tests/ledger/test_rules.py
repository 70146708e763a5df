"""Every statement has a rule; rules find effects that were put in, and find them absent where they are."""

import ast
from pathlib import Path

import numpy as np
import pytest

from gexlib import ledger
from gexlib.experiments import sensitivity
from gexlib.ledger import measures, rules
from gexlib.ledger.claims import claims
from gexlib.ledger.rules import DESIGN, RULES
from tests.ledger import rows

TYPE = dict(task="tcga/type", sizes=(100, 384), cohort="tcga-pairs")


def verdict(name, table, identifier):
    """Return the one verdict on a statement."""
    found = ledger.verdicts(name, table)
    (line,) = found[found["id"] == identifier].to_dict("records")
    assert line["low"] <= line["value"] <= line["high"] or np.isnan(line["low"])
    return line["verdict"]


def test_every_statement_has_a_rule_or_is_a_choice_of_the_authors():
    assert set(RULES) | DESIGN == set(claims())
    assert not set(RULES) & DESIGN


def test_the_rules_hold_no_number_of_the_article():
    """They come from published.csv: none of them, above 20, is a constant of the rules."""
    nodes = [node for module in (rules, measures) for node in ast.walk(ast.parse(Path(module.__file__).read_text()))]
    typed = {node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) in (int, float)}
    stated = {claim.value for claim in claims().values() if claim.value > 20}
    assert not typed & stated


def test_a_threshold_needs_a_region_of_its_own():
    for identifier, rule in RULES.items():
        region = rule.region(claims()[identifier])
        assert region.low < region.high, identifier
        assert np.isfinite(region.low) or np.isfinite(region.high), identifier


def leading(lead):
    return lambda method, n: 0.9 if method != "nn_default" else 0.9 + lead(n)


@pytest.mark.parametrize(
    ("identifier", "holds", "fails"),
    [
        ("nn-first", leading(lambda n: 0.03), leading(lambda n: -0.03)),
        ("tcga-status", leading(lambda n: 0.001), leading(lambda n: 0.03)),
        ("lasso", lambda m, n: 0.8 if m == "lasso" else 0.9, lambda m, n: 0.95 if m == "lasso" else 0.9),
        ("small-n", leading(lambda n: -0.03), leading(lambda n: 0.03)),
        ("middle-n", leading(lambda n: 0.001), leading(lambda n: 0.03)),
        ("large-n", leading(lambda n: 0.03), leading(lambda n: -0.03)),
    ],
)
def test_comparison(identifier, holds, fails):
    assert verdict("comparison", rows.comparison(holds), f"comparison/{identifier}") == "consistent"
    assert verdict("comparison", rows.comparison(fails), f"comparison/{identifier}") == "inconsistent"


def test_one_better_method_is_enough_not_to_be_first():
    levels = leading(lambda n: 0.03)
    table = rows.comparison(lambda m, n: 0.96 if m == "svm_rbf" else levels(m, n))
    assert verdict("comparison", table, "comparison/nn-first") == "inconsistent"


def test_one_poor_method_does_not_make_the_network_equal_at_small_sizes():
    table = rows.comparison(lambda m, n: 0.1 if m == "lasso" else 0.9 if m == "nn_default" else 0.95)
    assert verdict("comparison", table, "comparison/small-n") == "consistent"


def test_a_growing_lead():
    sizes = (100, 4000, 6000)
    growing = rows.comparison(leading(lambda n: n / 1e5), sizes=sizes)
    assert verdict("comparison", growing, "comparison/gap") == "consistent"
    shrinking = rows.comparison(leading(lambda n: -n / 1e5), sizes=sizes)
    assert verdict("comparison", shrinking, "comparison/gap") == "inconsistent"


def test_rules_pick_their_own_rows():
    """Other class weights, splits by study and single cancers change no rule on the pan-cancer tasks."""
    plain = rows.comparison(leading(lambda n: 0.03))
    others = [
        rows.comparison(leading(lambda n: -0.3), arm="none"),
        rows.comparison(leading(lambda n: -0.3), split="study"),
        rows.comparison(leading(lambda n: 0.001), task="tcga/BRCA", sizes=(50, 300)),
    ]
    alone, all_rows = (ledger.verdicts("comparison", t).set_index("id") for t in (plain, rows.concat(plain, *others)))
    assert all_rows.loc["comparison/specific", "verdict"] == "consistent"
    assert all_rows.drop("comparison/specific")["found"].equals(alone["found"])


def test_the_first_network_with_two_splits_speaks():
    default, inner = (rows.comparison(leading(lambda n, lead=lead: lead)) for lead in (-0.03, 0.03))
    inner = inner[inner["method"] == "nn_default"].assign(method="nn_inner")
    once = inner[inner["repeat"] == 0].assign(method="nn_paper")
    assert verdict("comparison", default, "comparison/nn-first") == "inconsistent"
    assert verdict("comparison", rows.concat(default, inner, once), "comparison/nn-first") == "consistent"


def test_the_articles_own_values_are_tested_on_its_own_samples_only():
    levels = {"nn_default": 0.9618, "svm_rbf": 0.9475}
    table = rows.comparison(lambda m, n: levels.get(m, 0.9), task="microarray/pan", cohort="article-microarray")
    for identifier in ("microarray-nn", "microarray-svm-rbf", "microarray-p", "nn-first"):
        assert verdict("comparison", table, f"comparison/{identifier}") == "reproduced"
    off = table.assign(value=table["value"] - 0.05)
    assert verdict("comparison", off, "comparison/microarray-nn") == "not reproduced"
    assert verdict("comparison", off, "comparison/microarray-p") == "reproduced"
    here = set(ledger.verdicts("comparison", table.assign(cohort="tcga-hypoxia"))["id"])
    assert here and "comparison/microarray-nn" not in here


PAN = [("pan", target) for target in ("BRCA", "KIRC", "HNSC", "UCEC", "THCA")]


def test_from_all_cancers_to_one():
    gains = {"BRCA": 0.05, "KIRC": 0.001, "HNSC": -0.05}
    table = rows.transfer(lambda s, t, n, f: gains.get(t, 0.0) if n == 8 else -0.02 * (t == "UCEC"), PAN)
    expected = {
        "BRCA": "consistent", "KIRC": "consistent", "HNSC": "inconsistent", "UCEC": "inconclusive",
        "UCEC-large-n": "inconsistent", "HNSC-large-n": "consistent", "smaller-n-more-gain": "inconclusive",
    }  # fmt: skip
    assert {name: verdict("pan-to-specific", table, f"pan-to-specific/{name}") for name in expected} == expected
    table = rows.transfer(lambda s, t, n, f: 0.05 if n == 8 else 0.0, PAN)
    assert verdict("pan-to-specific", table, "pan-to-specific/smaller-n-more-gain") == "consistent"
    assert verdict("pan-to-specific", table, "pan-to-specific/KIRC") == "inconsistent"


def test_from_one_cancer_to_another():
    cancers = ("BRCA", "THCA", "UCEC", "LUSC")
    pairs = [(source, target) for source in cancers for target in cancers]
    gain = {("UCEC", "THCA"): 0.05, ("UCEC", "LUSC"): -0.05}
    plain = rows.transfer(lambda s, t, n, f: 0.1 if s == t else gain.get((s, t), 0.0), pairs, "cancer_to_cancer")
    expected = {
        "UCEC-to-THCA": "consistent", "UCEC-to-LUSC": "inconsistent", "diagonal": "consistent", "others": "consistent",
        "harm": "inconsistent",
    }  # fmt: skip
    assert {name: verdict("cancer-to-cancer", plain, f"cancer-to-cancer/{name}") for name in expected} == expected
    helped = rows.transfer(lambda s, t, n, f: -0.1 if s == t else 0.05, pairs, "cancer_to_cancer")
    expected = {"diagonal": "inconsistent", "others": "inconsistent", "harm": "consistent"}
    assert {name: verdict("cancer-to-cancer", helped, f"cancer-to-cancer/{name}") for name in expected} == expected


def test_denoising_autoencoders():
    targets = ("BRCA", "HNSC", "KIRC")
    table = rows.encoders(lambda s, t, n, f: -0.05 * (t == "BRCA" and n == 8) - 0.03 * (f > 0), targets)
    expected = {"BRCA": "consistent", "HNSC": "consistent", "never-above": "consistent", "frozen": "consistent"}
    assert {name: verdict("unsupervised", table, f"unsupervised/{name}") for name in expected} == expected
    table = rows.encoders(lambda s, t, n, f: 0.03 + 0.03 * (f > 0), targets)
    expected = dict.fromkeys(expected, "inconsistent")
    assert {name: verdict("unsupervised", table, f"unsupervised/{name}") for name in expected} == expected


@pytest.mark.parametrize(
    ("identifier", "task", "holds", "fails"),
    [
        ("layers-range", "pan", lambda d: 0.9, lambda d: 0.9 - 0.05 * d["layers"]),
        ("neurons-range", "pan", lambda d: 0.9, lambda d: 0.5 + d["neurons"] / 1e4),
        ("small-networks", "type", lambda d: 0.9 - d["neurons"] / 1e4, lambda d: 0.5 + d["neurons"] / 1e4),
        ("deep-decline", "pan", lambda d: 0.9 - 0.1 * (d["layers"] > 5), lambda d: 0.8 + 0.1 * (d["layers"] > 5)),
        ("tcga-status-layers", "pan", lambda d: 0.8 + 0.01 * d["layers"], lambda d: 0.9 - 0.01 * d["layers"]),
        ("optimisers", "pan", lambda d: 0.9, lambda d: 0.8 + 0.1 * (d["optimiser"] == "adam")),
        ("batch-size", "pan", lambda d: 0.9 - d["batch_size"] / 1e3, lambda d: 0.5 + d["batch_size"] / 1e3),
        ("regularisation-small", "pan", lambda d: 0.9, lambda d: 0.9 - d["dropout"]),
        (
            "learning-rate", "pan",
            lambda d: 0.9 - abs(np.log10(d["learning_rate"]) + (2 if d["optimiser"] == "sgd" else 4)),
            lambda d: 0.9 - abs(np.log10(d["learning_rate"]) + (4 if d["optimiser"] == "sgd" else 2)),
        ),
    ],
)  # fmt: skip
def test_sensitivity(identifier, task, holds, fails):
    for accuracy, expected in ((holds, "consistent"), (fails, "inconsistent")):
        table = rows.draws(accuracy, f"tcga/{task}")
        assert verdict("sensitivity", table, f"sensitivity/{identifier}") == expected


def test_a_range_over_noise_is_not_made_of_the_noise():
    """Boxes chosen and measured on the same draws differ by several points where nothing does."""
    ranges, found = [], []
    for phase in range(8):
        noise = lambda d, phase=phase: 0.8 + 0.15 * abs(np.sin(1e9 * d["learning_rate"] + phase))  # noqa: E731
        table = rows.draws(noise, count=200)
        ranges.append(100 * sensitivity.trends(table).set_index("hyper_parameter").loc["layers", "range"])
        verdicts = ledger.verdicts("sensitivity", table).set_index("id")
        found.append(verdicts.loc["sensitivity/layers-range", "value"])
    assert np.mean(ranges) > 3
    assert abs(np.mean(found)) < np.mean(ranges) / 2


def test_other_pairs_are_those_that_the_article_does_not_name():
    cancers = ("BRCA", "THCA", "UCEC", "LUSC")
    pairs = [(source, target) for source in cancers for target in cancers]
    found = ledger.verdicts("cancer-to-cancer", rows.transfer(lambda s, t, n, f: 0.0, pairs, "cancer_to_cancer"))
    (said,) = found.loc[found["id"] == "cancer-to-cancer/others", "found"]
    assert " of 20 as stated" in said  # twelve pairs at two sizes, less two pairs that are named


def test_draws_that_fail_and_batch_normalisation():
    table = rows.draws(lambda d: 0.9, failed=lambda d: d["optimiser"] != "sgd")
    assert verdict("sensitivity", table, "sensitivity/sgd-stable") == "consistent"
    table = rows.draws(lambda d: 0.9, failed=lambda d: d["optimiser"] == "sgd")
    assert verdict("sensitivity", table, "sensitivity/sgd-stable") == "inconsistent"
    helped = rows.draws(lambda d: 0.8 + 0.1 * d["batch_norm"], "tcga/type")
    flat = rows.draws(lambda d: 0.9, "tcga/pan")
    assert verdict("sensitivity", rows.concat(helped, flat), "sensitivity/batch-norm") == "consistent"
    both = rows.concat(helped, rows.draws(lambda d: 0.8 + 0.1 * d["batch_norm"], "tcga/pan"))
    assert verdict("sensitivity", both, "sensitivity/batch-norm") != "consistent"  # it helps elsewhere too


def test_residual_connections_are_paired_by_draw():
    def pairs(gain):
        plain = rows.draws(lambda d: 0.7 + d["dropout"] / 10, count=60)
        residual = plain.assign(value=plain["value"] + gain + 1e-4 * np.random.default_rng(0).normal(size=len(plain)))
        return rows.concat(rows.draws(lambda d: 0.8), plain.assign(arm="plain_deep"), residual.assign(arm="residual"))

    assert verdict("sensitivity", pairs(0.001), "sensitivity/residual") == "consistent"
    assert verdict("sensitivity", pairs(0.05), "sensitivity/residual") == "inconsistent"


OWN = {
    ("cell_line", "cell_line"): 0.99, ("cell_line", "patient"): 0.66, ("patient", "patient"): 0.94,
    ("patient", "cell_line"): 0.59,
}  # fmt: skip


def as_published(target, n, frozen):
    below = n < measures.helps_below(target)
    return (0.1 if target == "patient" else 0.2) * below - (0.03 * frozen if below else 0.02 * (frozen > 0))


def test_between_cell_lines_and_patients():
    table = rows.origins(as_published, OWN, sizes=(25, 100, 400, 1000))
    found = ledger.verdicts("cell-lines-and-patients", table).set_index("id")["verdict"]
    as_stated = """
        cell-lines-on-cell-lines cell-lines-on-patients patients-on-patients patients-on-cell-lines cell-lines-easier
        to-patients-helps to-cell-lines-helps after-threshold better-direction frozen-order frozen-harm epochs
        baseline-majority
    """.split()
    otherwise = "to-patients-gain to-cell-lines-gain to-patients-baseline".split()
    expected = dict.fromkeys(as_stated, "reproduced") | dict.fromkeys(otherwise, "not reproduced")
    assert {name: found[f"cell-lines-and-patients/{name}"] for name in expected} == expected
    opposite = rows.origins(lambda t, n, f: -0.1 + 0.2 * f, {pair: 1.5 - a for pair, a in OWN.items()})
    found = ledger.verdicts("cell-lines-and-patients", opposite.assign(epochs=100 - opposite["epochs"])).set_index("id")
    wrong = "to-patients-helps to-cell-lines-helps after-threshold frozen-order frozen-harm epochs cell-lines-easier"
    assert {found.loc[f"cell-lines-and-patients/{name}", "verdict"] for name in wrong.split()} == {"not reproduced"}


def test_a_statement_about_two_sections_has_the_rows_of_both():
    own = rows.transfer(
        lambda s, t, n, f: 0.01, [("pan", t) for t in ("lung", "skin", "brain")], cohort="article-microarray"
    )
    table = rows.concat(own, rows.origins(as_published, OWN))
    assert verdict("pan-to-specific", table, "pan-to-specific/less-than-origins") == "reproduced"
    assert "pan-to-specific/less-than-origins" not in set(ledger.verdicts("pan-to-specific", own)["id"])
