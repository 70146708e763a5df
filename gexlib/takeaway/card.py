"""The card of a network: what it was trained on, how good it was, how to use it, and what it is not good for."""

from __future__ import annotations

import pandas as pd

from gexlib.takeaway import TakeAway

LIMITS = (
    "For research only: not a medical device, and no basis for a decision on a patient.",
    "It was tested on patients of the same studies as those it was trained on. Samples of another laboratory, platform "
    "or population can be predicted far worse: test it on your own first.",
    "The file holds fingerprints of the ids and patients that it was trained on, so that it is not tested on them. Who "
    "guesses an id can check whether it is among them.",
)

COMPARED = (
    "All are tested on the same samples: *source as it is* is the network before fine-tuning, *baseline* one of the "
    "same form trained from scratch."
)


def table(taken: TakeAway) -> pd.DataFrame:
    """Return the metrics as a reader wants them: a row a method, in percent, with intervals."""
    rows = []
    for row in taken.about["metrics"]:
        name = row["method"] + (" (preferred by inner cross-validation)" if row.get("preferred") else "")
        rows.append(
            {
                "": name, "accuracy": f"{100 * row['accuracy']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]",
                "difference": f"{100 * row['difference']:+.1f}" if row is not taken.about["metrics"][0] else "",
                "balanced": f"{100 * row['balanced_accuracy']:.1f}",
                "ROC AUC": f"{row['roc_auc']:.3f}" if "roc_auc" in row else "",
            }
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("")


def card(taken: TakeAway, name: str) -> str:
    """Return the card of a network in the file of this name, as Markdown."""
    about, tested = taken.about, taken.about["metrics"][0]
    made, cohorts = about["made"], about["cohorts"]
    simulated = ", ".join(dict.fromkeys(facts["name"] for facts in cohorts if facts["simulated"]))
    warning = (
        [f"**Trained on simulated samples ({simulated}): it says nothing about patients.**", ""] if simulated else []
    )
    changed = " with changes" if made["dirty"] else ""
    lines = [
        f"# {name}", "", *warning,
        f"Tells {' and '.join(about['classes'])} apart by the expression of {len(taken.var):,} genes "
        f"({', '.join(map(str, taken.var.index[:3]))} ...). Task: `{about['task']}`.",
        "", "## Trained on", "", *(f"{step}. {_step(facts)}" for step, facts in enumerate(cohorts, 1)),
        *_parameters(about),
        "", "## Tested", "",
        f"On {tested['n']:,} samples of {tested['patients']:,} other patients of the last cohort. Accuracy in percent "
        "with its 95 % interval (Wilson, a patient counts as one sample); difference to the first row in points.",
        "", *_markdown(table(taken)),
        *(["", COMPARED] if len(about["metrics"]) > 1 else []),
        "", "## Use", "", "```bash", f"gexlib predict {name} --cohort YOURS",
        f"gexlib finetune {name} --cohort YOURS --n 32 --freeze 0 --out yours.safetensors", "```",
        "", "## Limits", "", *(f"- {limit}" for limit in LIMITS),
        *dict.fromkeys(f"- `{facts['name']}`: {note}" for facts in cohorts for note in facts["notes"]), "",
        f"Made on {made['date'][:10]} by gexlib at commit {made['commit']}{changed}; {made['versions']}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _parameters(about: dict) -> list[str]:
    """Say which parameters differ from the defaults."""
    changed = ", ".join(f"`{name}={value}`" for name, value in {**about["network"], **about["training"]}.items())
    return ["", f"Parameters other than the defaults: {changed}."] if changed else []


def _step(facts: dict) -> str:
    """Say what one training was on."""
    counts = ", ".join(f"{n:,} {label}" for label, n in facts["classes"].items())
    where = f", {' and '.join(f'`{condition}`' for condition in facts['where'])}" if facts["where"] else ""
    how = "Pre-trained"
    if "frozen" in facts:
        how = f"Fine-tuned with {facts['frozen']} layers frozen and the scaler of the {facts['scaler']}"
    return (
        f"{how} on {facts['n']:,} samples of {facts['patients']:,} patients ({counts}) of `{facts['name']}`{where}; "
        f"digest `{facts['digest']}`, seed {facts['seed']}. {facts['source']}. Values: {facts['scale']}."
        + (f" {facts['genes']}." if "genes" in facts else "")
    )


def _markdown(shown: pd.DataFrame) -> list[str]:
    rows = [["", *shown.columns], ["---"] * (shown.shape[1] + 1), *shown.reset_index().to_numpy().tolist()]
    return [f"| {' | '.join(map(str, row))} |" for row in rows]
