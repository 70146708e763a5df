"""The command line: thin over the library."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gexlib import provenance
from gexlib.errors import InputError
from gexlib.experiments import SECTIONS, section
from gexlib.files import project_root

app = typer.Typer(
    help="Networks and transfer learning for cancer prediction from gene expression: rerun the study.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cohort_app = typer.Typer(help="List, describe, import and calibrate cohorts.", no_args_is_help=True)
app.add_typer(cohort_app, name="cohort")

CORES = provenance.host()["cores"]
Profile = Annotated[
    str, typer.Option(help="Set of parameters: smoke, demo, record, paper or a file you added to profiles/.")
]
Jobs = Annotated[int, typer.Option(min=1, help="Worker processes of one thread each; default: all cores.")]
Changes = Annotated[
    list[str],
    typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Change a parameter; may be repeated."),
]


def say(text: str) -> None:
    """Print for the user: on standard error, so that output can be piped."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def resumable() -> Iterator[None]:
    """Say how to go on after Ctrl-C, and end with exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        say("gexlib: stopped; what was done is kept, the same command goes on from there.")
        raise typer.Exit(130) from None


def main() -> None:
    """Run the command line; what the user can mend is one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        say(f"gexlib: {error}")
        sys.exit(2)


@app.command(epilog="Example: gexlib fetch tcga-hypoxia, or GEXLIB_DATA=/data gexlib fetch tcga-pairs")
def fetch(name: Annotated[str, typer.Argument(help="A public cohort: tcga-pairs or tcga-hypoxia.")]) -> None:
    """Download a public cohort, check its digest and store it.

    GEXLIB_DATA names a folder or a mirror to take the files from; GEXLIB_HOME the folder to keep them in.
    """
    from gexlib.cohorts import fetch_cohort

    cohort = fetch_cohort(name)
    print(f"{name}: {cohort.n_obs:,} samples x {cohort.n_vars:,} genes, digest {cohort.uns['digest']}")
    for note in cohort.uns["notes"]:
        print(f"- {note}")


@cohort_app.command("list", epilog="Cohorts can be joined, for example gexlib cohort describe tcga-pairs+u133-genes")
def cohort_list() -> None:
    """List the cohorts: what is stored, what can be fetched or imported, what is built when it is first used."""
    from gexlib import cohorts

    stored = set(cohorts.store.stored())
    for name in dict.fromkeys((*cohorts.names(), *cohorts.IMPORTS)):
        if name in stored:
            state = "stored"
        elif name in cohorts.fetch.SOURCES:
            state = f"gexlib fetch {name}"
        else:
            state = cohorts.IMPORTS.get(name, "built when it is first used")
        print(f"{name:31} {state}")


IMPORT_EXAMPLES = """Examples:

\b
  gexlib cohort import mine.h5ad --as mine
  gexlib cohort import mine.h5ad --as mine --map diagnosis=status \\
      --map 'diagnosis:control=normal' --map 'diagnosis:*=cancer' --map 'diagnosis:unclear='
  gexlib cohort import counts.tsv.gz --samples sheet.tsv --as mine --map Organ=tissue \\
      --where platform=HiSeq --scale 'log2(TPM + 1)' --source 'GEO GSE12345'
"""


@cohort_app.command("import", epilog=IMPORT_EXAMPLES)
def cohort_import(
    file: Annotated[Path, typer.Argument(help=".h5ad, or a table .tsv, .csv or .txt (.gz), genes on either side.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The name to use it by.")],
    samples: Annotated[
        Path | None, typer.Option(metavar="SHEET", help="Of a table: sample ids in the first column, then labels.")
    ] = None,
    maps: Annotated[
        list[str],
        typer.Option(
            "--map",
            metavar="THEIRS=OURS",
            help="COLUMN=LABEL: your column is our label status, origin, tissue, cancer_type, study or patient. "
            "COLUMN:VALUE=OURS: your value means ours (* all others; nothing after = drops the samples). Repeatable.",
        ),
    ] = (),
    where: Annotated[
        list[str],
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Keep such samples only, in the file's own words. Repeatable: any value of a column, all columns.",
        ),
    ] = (),
    scale: Annotated[str, typer.Option(metavar="TEXT", help="Of the values, for example 'log2(TPM + 1)'.")] = "",
    source: Annotated[str, typer.Option(metavar="TEXT", help="Where the data come from.")] = "",
    note: Annotated[
        list[str], typer.Option(metavar="TEXT", help="What a reader of results must know. Repeatable.")
    ] = (),
) -> None:
    """Store a cohort of your own, from a file, under a name.

    Needed is the label status, cancer or normal. Columns that already have our names need no --map, whatever their
    case. Other columns are kept as they are.
    """
    from gexlib.cohorts import import_cohort
    from gexlib.tasks import carried

    cohort = import_cohort(file, name, samples=samples, maps=maps, where=where, scale=scale, source=source, notes=note)
    status = cohort.obs["status"].value_counts()
    print(f"{name}: {cohort.n_obs:,} samples x {cohort.n_vars:,} genes, digest {cohort.uns['digest']}")
    print(f"status: {', '.join(f'{n:,} {label}' for label, n in status.items())}")
    for dropped in cohort.uns["imported"]["dropped"]:
        print(f"dropped: {dropped}")
    print(f"tasks: {', '.join(carried(cohort)) or 'none'}")
    for line in cohort.uns["notes"]:
        print(f"- {line}")


@cohort_app.command("describe", epilog="Example: gexlib cohort describe simulated-tcga:demo")
def cohort_describe(name: str) -> None:
    """Print a cohort's size, source, scale, counts and the tasks it carries."""
    from gexlib.cohorts import describe, open_cohort
    from gexlib.tasks import carried

    for key, value in describe(name).items():
        print(f"{key}:" + (f"\n{value.to_string()}" if hasattr(value, "to_string") else f" {value}"))
    print(f"tasks: {', '.join(carried(open_cohort(name)))}")


@cohort_app.command("calibrate", epilog="Example: gexlib cohort calibrate tcga-pairs > tcga-pairs.json")
def cohort_calibrate(name: str) -> None:
    """Print, as JSON, the statistics of a cohort, by name or from an .h5ad file, that simulations are calibrated on."""
    import json

    from gexlib.cohorts import calibrate, open_cohort, schema

    if name.endswith(".h5ad"):
        cohort = schema.check(schema.read_h5ad(name))
    else:
        cohort = open_cohort(name)
    print(json.dumps(calibrate.calibrate(cohort), indent=1))


@app.command(epilog="Example: gexlib run pan-to-specific --profile record -p targets=[BRCA] -p n=[8,16,32]")
def run(
    sections: Annotated[list[str] | None, typer.Argument(help=f"Any of: {', '.join(SECTIONS)}. Default: all.")] = None,
    profile: Profile = "demo",
    change: Changes = (),
    jobs: Jobs = CORES,
    budget: Annotated[
        float | None, typer.Option(metavar="MINUTES", min=0, help="Stop after so long, at the end of a cell.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="ROWS.parquet|.csv", help="Write the tidy rows there.")] = None,
    notebook: Annotated[bool, typer.Option(help="Run the section's notebook on the rows.")] = True,
) -> None:
    """Run sections of the study. What is done already is not done again; stop and resume at any time."""
    from gexlib import commands

    executed = project_root() / "book" / "executed" if notebook else None
    with resumable():
        commands.run(sections or list(SECTIONS), profile, list(change), jobs, budget, out, executed)


@app.command(epilog="Example: gexlib plan --profile paper --cores 64, or gexlib plan pan-to-specific -p n=[25]")
def plan(
    sections: Annotated[list[str] | None, typer.Argument(metavar="[SECTION]...", help="Default: all.")] = None,
    profile: Profile = "paper",
    change: Changes = (),
    cores: Annotated[int, typer.Option(min=1, help="Workers of one thread to plan for; default: all cores.")] = CORES,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs like the one here, to train networks on.")] = 0,
) -> None:
    """Say what a profile would cost: cells, networks, hours, memory and disk of every section.

    Costs of a training step and of fits are measured here, in under a minute; the work is found by running a sample
    of the cells without learning anything. Cohorts of the profile are simulated with few genes, or must be there.
    """
    from gexlib import commands

    commands.plan(sections or list(SECTIONS), profile, list(change), cores, gpus)


@app.command(epilog="Example: gexlib verify comparison --sample 20")
def verify(
    name: Annotated[str, typer.Argument(metavar="SECTION", help=f"One of: {', '.join(SECTIONS)}.")],
    sample: Annotated[int, typer.Option(min=1, help="Cells to compute again, drawn at random.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    jobs: Jobs = CORES,
    cohort: Annotated[
        list[str] | None, typer.Option(help="Draw cells of this cohort only; may be repeated. Default: all.")
    ] = None,
    stamp: Annotated[bool, typer.Option(help="Note in results/verified.json that the cells agree.")] = False,
) -> None:
    """Compute random cells of the committed record again and compare. Exit code 1 where they differ."""
    from gexlib import commands

    with resumable():
        if not commands.verify(section(name), sample, seed, jobs, stamp, cohort or ()):
            raise typer.Exit(1)


@app.command(epilog="Example: gexlib book --profile record")
def book(
    profile: Profile = "demo",
    jobs: Jobs = CORES,
    out: Annotated[Path | None, typer.Option(help="Folder for notebooks and pages; default: the project's.")] = None,
) -> None:
    """Run every section and render the book. Profile "record" computes nothing: it shows the committed rows."""
    from gexlib import commands

    with resumable():
        page = commands.book(profile, jobs, out)
    say(f"Open {os.path.relpath(page)}")


@app.command()
def notebooks() -> None:
    """Run the notebooks with their own defaults and store the outputs that nbval compares."""
    from gexlib.notebook import refresh

    for each in SECTIONS.values():
        refresh(each)
        say(f"{each.notebook}: outputs stored")


if __name__ == "__main__":
    main()
