"""The command line: thin over the library."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from unittest import mock

import typer

from gexlib import provenance
from gexlib.errors import InputError
from gexlib.experiments import PAGES, SECTIONS, section
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


Maps = Annotated[
    list[str],
    typer.Option(
        "--map",
        metavar="THEIRS=OURS",
        help="COLUMN=LABEL: your column is our label status, origin, tissue, cancer_type, study or patient. "
        "COLUMN:VALUE=OURS: your value means ours (* all others; nothing after = drops the samples). Repeatable.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Where = Annotated[
    list[str],
    typer.Option(
        metavar="COLUMN=VALUE",
        help="Keep such samples only, in the file's own words; != leaves them out. Repeatable: any value of a column, "
        "all columns.",
    ),
]
Backend = Annotated[
    Path | None, typer.Option(metavar="FILE.yml", help="Where cells run, such as engines/slurm.yml; default: here.")
]


def say(text: str) -> None:
    """Print for the user: on standard error, so that output can be piped."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def resumable() -> Iterator[None]:
    """Say how to go on after Ctrl-C or SIGTERM, which clusters send before they kill, and end with exit code 130."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        say(f"gexlib: stopped; what was done is kept, this goes on from there: {shlex.join(['gexlib', *sys.argv[1:]])}")
        raise typer.Exit(130) from None


def main() -> None:
    """Run the command line; what the user can mend is one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        say(f"gexlib: {error}")
        sys.exit(2)


FETCH_EXAMPLES = """Examples:

\b
  gexlib fetch tcga-pairs
  gexlib fetch tcga --projects BRCA,LUAD,LUSC
  gexlib fetch tcga --hub toil --projects BRCA
  gexlib fetch microarray
  gexlib fetch GSE19804
  gexlib fetch GSE19804 --map disease=status --map disease:none=normal --map 'disease:*=cancer'
  GEXLIB_DATA=/data gexlib fetch tcga-hypoxia
"""


@app.command(epilog=FETCH_EXAMPLES)
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="tcga-pairs, tcga-hypoxia, tcga, microarray (E-MTAB-3732), deep-gonet (a prepared copy of it), or the "
            "accession of a series of GEO."
        ),
    ],
    store_as: Annotated[str, typer.Option("--as", metavar="NAME", help="Another name to store it under.")] = "",
    projects: Annotated[
        str, typer.Option(metavar="BRCA,LUAD,...", help="Of tcga: any projects; default: the article's eleven.")
    ] = "",
    hub: Annotated[str, typer.Option(metavar="gdc|toil", help="Of tcga: which hub of UCSC Xena.")] = "gdc",
    mappings: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of microarray: your own disease.csv, organism_part.csv or origin.csv."),
    ] = None,
    platform: Annotated[str, typer.Option(metavar="GPL570", help="Of a series on several platforms.")] = "",
    maps: Maps = (),
    where: Where = (),
    force: Force = False,
) -> None:
    """Download a public cohort, check it and store it.

    A download that breaks off goes on when the command is given again. GEXLIB_DATA names a folder or a mirror to take
    the files from, <GEXLIB_DATA>/<cohort>/<file>; GEXLIB_HOME the folder to keep them in.
    """
    from gexlib import commands

    wanted = [project.strip().upper() for project in projects.split(",") if project.strip()]
    with resumable():
        commands.fetch(name, store_as, wanted, hub, mappings, platform, list(maps), list(where), force)


@cohort_app.command("list", epilog="Cohorts can be joined, for example gexlib cohort describe tcga-pairs+u133-genes")
def cohort_list() -> None:
    """List the cohorts: what is stored, what can be fetched or imported, what is built when it is first used."""
    from gexlib import cohorts

    stored = set(cohorts.store.stored())
    for name in dict.fromkeys((*cohorts.names(), *cohorts.IMPORTS)):
        if name in stored:
            state = "stored"
        elif name in cohorts.PUBLIC:
            state = cohorts.PUBLIC[name]
        else:
            state = cohorts.IMPORTS.get(name, "built when it is first used")
        print(f"{name:31} {state}")


IMPORT_EXAMPLES = """Examples:

\b
  gexlib cohort import mine.h5ad --as mine --dry-run
  gexlib cohort import mine.h5ad --as mine --map diagnosis=status \\
      --map 'diagnosis:control=normal' --map 'diagnosis:*=cancer' --map 'diagnosis:unclear='
  gexlib cohort import counts.tsv.gz --samples sheet.tsv --as mine --map Organ=tissue \\
      --where platform=HiSeq --scale 'log2(TPM + 1)' --source 'GEO GSE12345'
"""


@cohort_app.command("import", epilog=IMPORT_EXAMPLES)
def cohort_import(
    file: Annotated[
        Path, typer.Argument(help=".h5ad, or a table .tsv, .csv, .txt (.gz) or .parquet, genes on either side.")
    ],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The name to use it by.")],
    samples: Annotated[
        Path | None, typer.Option(metavar="SHEET", help="Of a table: sample ids in the first column, then labels.")
    ] = None,
    maps: Maps = (),
    where: Where = (),
    scale: Annotated[str, typer.Option(metavar="TEXT", help="Of the values, for example 'log2(TPM + 1)'.")] = "",
    source: Annotated[str, typer.Option(metavar="TEXT", help="Where the data come from.")] = "",
    note: Annotated[
        list[str], typer.Option(metavar="TEXT", help="What a reader of results must know. Repeatable.")
    ] = (),
    transform: Annotated[
        str,
        typer.Option(
            metavar="auto|none|log2|cpm", help="log2(x + 1), of x or of counts per million; auto: as they look."
        ),
    ] = "auto",
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Samples without a status, to be predicted only.")
    ] = False,
    guess: Annotated[bool, typer.Option(help="Guess columns, words and scale that were not said, and say so.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be stored, and store nothing.")] = False,
    force: Force = False,
) -> None:
    """Store a cohort of your own, from a file, under a name.

    Needed is the label status, cancer or normal, unless the samples are only to be predicted. Columns and words that
    can mean one thing only need no --map; each guess is printed. Other columns are kept as they are.
    """
    from gexlib.cohorts import genes, import_cohort
    from gexlib.tasks import carried

    cohort = import_cohort(
        file, name, dry_run=dry_run, samples=samples, maps=maps, where=where, scale=scale, source=source, notes=note,
        transform=transform, guesses=guess, unlabelled=unlabelled, force=force,
    )  # fmt: skip
    status = cohort.obs["status"].replace("", "not known").value_counts()
    print(f"{name}: {cohort.n_obs:,} samples x {cohort.n_vars:,} genes, digest {cohort.uns['digest']}")
    for guessed in cohort.uns["imported"]["guessed"]:
        print(f"guessed: {guessed}")
    print(f"genes: {genes.kind(cohort.var_names)}")
    print(f"scale: {cohort.uns['scale']}")
    print(f"status: {', '.join(f'{n:,} {label}' for label, n in status.items())}")
    for dropped in cohort.uns["imported"]["dropped"]:
        print(f"dropped: {dropped}")
    print(f"tasks: {', '.join(carried(cohort)) or 'none'}")
    for line in cohort.uns["notes"]:
        print(f"- {line}")
    if dry_run:
        print("nothing was stored")


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


@app.command(
    epilog="Examples: gexlib run pan-to-specific --profile record -p targets=[BRCA] -p n=[8,16,32]; "
    "gexlib run --profile paper --backend engines/slurm.yml"
)
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
    backend: Backend = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what the backend would start, and end.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run cells again that failed before.")] = False,
    record: Annotated[
        bool, typer.Option(help="Take cells from the committed record, where it has them; or compute all here.")
    ] = True,
    log_json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add lines of JSON that say how far the run is.")
    ] = None,
) -> None:
    """Run sections of the study. What is done already is not done again; stop and resume at any time.

    Cells that raise are kept as failed, the others go on, and the exit code is 1.
    """
    from gexlib import commands, engines
    from gexlib.results import RECORD
    from gexlib.runner import settings

    engine = engines.read(backend) if backend else engines.local(jobs)
    if dry_run:
        print(engines.dry_run(engine, settings()))
        return
    executed = project_root() / "book" / "executed" if notebook else None
    layer = {} if record else {RECORD: "0"}
    with resumable(), mock.patch.dict(os.environ, layer):
        runs = commands.run(
            sections or list(SECTIONS), profile, list(change), engine, budget, out, executed, retry_failed, log_json
        )
    if any(done.failed for done in runs):
        raise typer.Exit(1)


@app.command(epilog="Example: gexlib status --profile record, or gexlib status comparison -p n=[50,200]")
def status(
    sections: Annotated[list[str] | None, typer.Argument(metavar="[SECTION]...", help="Default: all.")] = None,
    profile: Profile = "demo",
    change: Changes = (),
) -> None:
    """Say of each section how many cells are done, unverified, failed, running and missing, and how long it will take.

    Unverified cells are in the record, from before the code changed; `gexlib verify` computes some of them again.
    """
    from gexlib import commands

    commands.show_status(sections or [], profile, list(change))


@app.command(epilog="Example: gexlib why comparison --profile record, then gexlib why 3f2a91c04b7e")
def why(
    name: Annotated[
        str, typer.Argument(metavar="SECTION|CELL", help="A section, or the first digits of a cell's key.")
    ],
    profile: Profile = "demo",
    change: Changes = (),
) -> None:
    """Say why cells are done, unverified, failed or missing: which code, parameter, cohort or version changed."""
    from gexlib import commands

    commands.why(name, profile, list(change))


@app.command(epilog="Example: gexlib collect")
def collect() -> None:
    """Pack the files of the working store that no process writes to any more: fewer, smaller, as many cells."""
    from gexlib import commands

    commands.collect()


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
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION]...", help=f"Any of: {', '.join(SECTIONS)}. Default: all.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Cells to compute again, drawn at random.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    jobs: Jobs = CORES,
    cohort: Annotated[
        list[str] | None, typer.Option(help="Draw cells of this cohort only; may be repeated. Default: all.")
    ] = None,
    stamp: Annotated[bool, typer.Option(help="Note in results/verified.json that the cells agree.")] = False,
) -> None:
    """Compute random cells of the committed record again and compare. Exit code 1 where they differ."""
    from gexlib import commands, engines
    from gexlib.runner import settings

    chosen = {each.experiment: each for each in map(section, names or list(SECTIONS)[::-1])}
    with resumable(), engines.opened(engines.local(jobs), settings()) as workers:
        agree = [commands.verify(each, sample, seed, workers, stamp, cohort or ()) for each in chosen.values()]
    if not all(agree):
        raise typer.Exit(1)


@app.command(epilog="Example: gexlib ledger comparison, or gexlib ledger --out ledger.csv")
def ledger(
    sections: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION]...", help=f"Any of: {', '.join(SECTIONS)}. Default: all.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv|.parquet", help="Write the table there too.")] = None,
) -> None:
    """Print every number and claim of the article with the verdict on it, from the committed record.

    Reproduced is said on the article's own samples only; on others a finding is consistent with it or not.
    """
    from gexlib import commands

    commands.show_ledger(sections or [], out)


@app.command(epilog="Example: gexlib compare pan-to-specific --profile demo -p n=[8,16]")
def compare(
    name: Annotated[str, typer.Argument(metavar="SECTION", help=f"One of: {', '.join(SECTIONS)}.")],
    profile: Profile = "demo",
    change: Changes = (),
    jobs: Jobs = CORES,
    backend: Backend = None,
) -> None:
    """Run a section and set the article, the record and this run side by side, differences marked.

    Exit code 1 where a recorded cell, computed here, comes out otherwise.
    """
    from gexlib import commands, engines

    with resumable():
        agree = commands.compare(name, profile, list(change), engines.read(backend) if backend else engines.local(jobs))
    if not agree:
        raise typer.Exit(1)


@app.command(epilog="Example: gexlib book --profile record")
def book(
    profile: Profile = "demo",
    jobs: Jobs = CORES,
    out: Annotated[Path | None, typer.Option(help="Folder for notebooks and pages; default: the project's.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print the book into one PDF file too; needs Chromium.")] = False,
) -> None:
    """Run every section and render the book. Profile "record" computes nothing: it shows the committed rows."""
    from gexlib import commands, engines

    with resumable():
        page, failed = commands.book(profile, engines.local(jobs), out, pdf)
    say(f"Open {os.path.relpath(page)}")
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: gexlib new pan-to-specific my_study.ipynb")
def new(
    name: Annotated[str, typer.Argument(metavar="SECTION", help=f"One of: {', '.join(SECTIONS)}.")],
    path: Annotated[Path, typer.Argument(metavar="FILE.ipynb", help="The notebook to write.")],
) -> None:
    """Copy a section's notebook, to start a study of your own from: change its parameters and text as you like."""
    from gexlib.pages import start

    start(section(name), path)
    say(f"Open {path} in Jupyter, or run it with other parameters:")
    say(f"papermill {path} out.ipynb -p cohort tcga-pairs")


Cohort = Annotated[str, typer.Option(metavar="NAME", help="A cohort: fetched, imported or simulated.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the choice of samples and of the training.")]
Out = Annotated[
    Path, typer.Option(metavar="FILE.safetensors", help="The network to write; its card, .md, goes beside.")
]


@app.command(
    epilog="Example: gexlib pretrain --cohort tcga-pairs --where 'cancer_type!=LUSC' --out net.safetensors -p epochs=50"
)
def pretrain(
    cohort: Cohort,
    out: Out,
    where: Where = (),
    task: Annotated[str, typer.Option(help="Such as tcga/type or microarray/lung; default: status, all kinds.")] = "",
    change: Changes = (),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Train a network to take away, and test it on a fifth of the patients, held out.

    The file holds weights, genes, scaler and what is known of them; the card beside it says what it is good for.
    """
    from gexlib import commands

    commands.pretrain(cohort, out, list(where), task, list(change), seed, force)


@app.command(
    epilog="Example: gexlib finetune net.safetensors --cohort tcga-pairs --where cancer_type=LUSC --n 16 --freeze 2 "
    "--out lusc.safetensors"
)
def finetune(
    network: Annotated[Path, typer.Argument(metavar="NET.safetensors", help="As pretrain or finetune wrote it.")],
    cohort: Cohort,
    out: Out,
    where: Where = (),
    n: Annotated[
        int | None, typer.Option(min=4, help="Samples to train on, whole patients; default: four fifths of them.")
    ] = None,
    freeze: Annotated[int, typer.Option(min=0, help="Hidden layers that stay as they are.")] = 0,
    scaler: Annotated[
        str, typer.Option(metavar="source|target", help="The network's own, or one fitted on the samples trained on.")
    ] = "source",
    compare: Annotated[
        bool, typer.Option(help="Beside it: the network as it was, one from scratch, and the classical methods.")
    ] = True,
    change: Changes = (),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Fine-tune a network on samples of another cohort, and test it on the others of these.

    Genes are matched by id, symbol or Ensembl id. Patients that the network was trained on are left out.
    """
    from gexlib import commands

    commands.finetune(network, cohort, out, list(where), n, freeze, scaler, compare, list(change), seed, force)


@app.command(epilog="Example: gexlib predict lusc.safetensors --cohort clinic --out predictions.csv")
def predict(
    network: Annotated[Path, typer.Argument(metavar="NET.safetensors", help="As pretrain or finetune wrote it.")],
    cohort: Cohort,
    where: Where = (),
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write the predictions there.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Predict samples that it was trained on, too.")] = False,
    force: Force = False,
) -> None:
    """Predict the samples of a cohort, and say how good that is where their labels are known."""
    from gexlib import commands

    commands.predict(network, cohort, list(where), out, everything, force)


@app.command()
def notebooks() -> None:
    """Run the notebooks with their own defaults and store the outputs that nbval compares."""
    from gexlib.pages import refresh

    for each in (*SECTIONS.values(), *PAGES.values()):
        refresh(each)
        say(f"{each.notebook}: outputs stored")


if __name__ == "__main__":
    main()
