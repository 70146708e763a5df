"""The command line as a user meets it: one sentence and exit code 2 for bad input, nothing half-written."""

import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass

import nbformat
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from gexlib.cli import main
from gexlib.results import read_table

QUICK = [
    "-p", "cohort=simulated-tcga:smoke", "-p", "methods=[]", "-p", "targets=[BRCA]", "-p", "n=[8]",
    "-p", "training={epochs: 2, fixed_epochs: 2}", "--profile", "smoke", "--jobs", "1",
]  # fmt: skip


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def gexlib(capsys, monkeypatch):
    """Run the command line in this process; `test_a_process_...` below runs a real one."""

    def run(*words, **environment) -> Ended:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["gexlib", *map(str, words)])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
                raise SystemExit(0)
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return str(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["fetch", "--help"],
        ["verify", "--help"],
        ["status", "--help"],
        ["why", "--help"],
        ["collect", "--help"],
        ["ledger", "--help"],
        ["compare", "--help"],
        ["new", "--help"],
        ["book", "--help"],
    ],
)
def test_help_shows_an_example(gexlib, words):
    ended = gexlib(*words)
    assert ended.returncode == 0
    assert len(words) == 1 or "Example" in ended.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nowhere"], "section 'nowhere' is not known: use one of data, sensitivity"),
        (["run", "comparison", "--profile", "huge"], "profile 'huge' is not known"),
        (["run", "comparison", "-p", "banana=3"], "parameter 'banana' is not known"),
        (["run", "comparison", "-p", "repeats=many"], "repeats='many' should be a whole number"),
        (["run", "comparison", "--profile", "smoke", "-p", "n=[100000]"], "n=100000: the training set"),
        (["run", "pan-to-specific", "--profile", "smoke", "-p", "n=[5000]"], "n=5000: the training folds"),
        (["run", "pan-to-specific", "--profile", "smoke", "-p", "targets=[XYZ]"], "targets: 'XYZ' is not in"),
        (["run", "pan-to-specific", "--profile", "smoke", "-p", "frozen=[9]"], "frozen: '9' is not known"),
        (["run", "comparison", "--profile", "smoke", "-p", "methods=[knn]"], "methods: 'knn' is not known"),
        (["run", "comparison", "--profile", "smoke", "-p", "split=plate"], "split 'plate' is not known"),
        (
            ["run", "comparison", "--profile", "smoke", "-p", "training={lr: 1}"],
            "parameter 'lr' is not known",
        ),
        (["run", "comparison", "--profile", "smoke", "-p", "network={depth: 3}"], "network: parameter 'depth'"),
        (["run", "comparison", "--profile", "smoke", "-p", "network={dropout:0.5}"], "put a space after each colon"),
        (["run", "data", "-p", "cohort=[simulated-tcga:smoke, genes=200]"], "put quotes around a name that has commas"),
        (["run", "data", "--profile", "smoke", "--out", "no/such/rows.csv"], "there is no folder"),
        (["book", "--out", "no/such/book"], "there is no folder"),
        (["run", "data", "-p", "seed=-1"], "seed=-1 should be 0 or greater"),
        (["run", "cell-lines-and-patients", "--profile", "smoke", "-p", "n=[0]"], "n: 0 target samples cannot"),
        (["run", "data", "--profile", "smoke", "--out", "rows.txt"], "--out rows.txt"),
        (["run", "data", "-p", "cohort=simulated-tcga:samples=many"], "samples"),
        (["run", "data", "-p", "cohort=nowhere"], "there is no cohort nowhere"),
        (["fetch", "nowhere"], "nowhere"),
        (["verify", "nowhere"], "section 'nowhere' is not known"),
        (["ledger", "nowhere"], "section 'nowhere' is not known"),
        (["ledger", "--out", "rows.txt"], "--out rows.txt: the name must end in"),
        (["compare", "nowhere"], "section 'nowhere' is not known"),
        (["new", "nowhere", "a.ipynb"], "section 'nowhere' is not known"),
        (["new", "comparison", "a.txt"], "a.txt: the name of a notebook ends in .ipynb"),
        (["new", "comparison", "no/such/a.ipynb"], "there is no folder"),
        (["new", "comparison", "notebooks/01_data.ipynb"], "is there already"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(gexlib, words, message, home, tmp_path):
    ended = gexlib(*words, GEXLIB_HOME=home)
    assert ended.returncode == 2, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert message in last
    assert "Traceback" not in ended.stderr


def own_cohort(**changes) -> AnnData:
    random = np.random.default_rng(0)
    obs = {"status": ["cancer", "normal"] * 20, "cancer_type": ["BRCA"] * 20 + ["LUAD"] * 20} | changes.pop("obs", {})
    X = random.normal(5, 1, (40, 6)).astype(np.float32)
    genes = changes.pop("genes", [f"g{i}" for i in range(6)])
    if changes.pop("nan", False):
        X[3, 2] = np.nan
    index = [f"s{i}" for i in range(40)]
    frame = pd.DataFrame({k: v for k, v in obs.items() if v is not None}, index=index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's own word on repeated genes
        return AnnData(X, obs=frame, var=pd.DataFrame(index=genes), uns={"name": "own", "scale": "log2"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": {"status": None}}, "no `status` column"),
        ({"nan": True}, "sample s3, gene g2"),
        ({"genes": ["g0", "g0", "g1", "g2", "g3", "g4"]}, "repeated gene"),
    ],
)
def test_a_cohort_outside_the_contract_is_refused_and_not_stored(gexlib, changes, message, tmp_path):
    path = tmp_path / "own.h5ad"
    own_cohort(**changes).write_h5ad(path)
    home = tmp_path / "home"
    ended = gexlib("cohort", "calibrate", path, GEXLIB_HOME=str(home))
    assert ended.returncode == 2 and message in ended.stderr and "Traceback" not in ended.stderr
    assert not list(home.rglob("*.npy"))


def test_the_ledger_prints_and_writes_every_verdict(gexlib, tmp_path):
    ended = gexlib("ledger", "comparison", "--out", str(tmp_path / "ledger.csv"))
    assert ended.returncode == 0
    table = pd.read_csv(tmp_path / "ledger.csv")
    for line in table.itertuples():
        assert f"{line.verdict:17} {line.id.partition('/')[2]}: " in ended.stdout
    counts = table["verdict"].value_counts()
    last = ended.stdout.strip().splitlines()[-1]
    assert all(f"{count} {verdict}" in last for verdict, count in counts.items())


def test_a_notebook_to_start_from_runs_as_it_is(gexlib, tmp_path):
    path = tmp_path / "mine.ipynb"
    assert gexlib("new", "data", str(path)).returncode == 0
    book, source = nbformat.read(path, 4), nbformat.read("notebooks/01_data.ipynb", 4)
    assert "Started from `01_data.ipynb` at commit" in book.cells[1].source
    assert not any(cell.get("outputs") for cell in book.cells)
    del book.cells[1]
    assert [cell.source for cell in book.cells] == [cell.source for cell in source.cells]
    assert "is there already" in gexlib("new", "data", str(path)).stderr


def test_a_cohort_of_one_class_has_no_task(gexlib, home):
    from gexlib.cohorts import store

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEXLIB_HOME", home)
        store.save(own_cohort(obs={"status": ["cancer"] * 40, "cancer_type": ["BRCA"] * 40}), "one-class")
    ended = gexlib("run", "comparison", "--profile", "smoke", "-p", "cohort=one-class", GEXLIB_HOME=home)
    assert ended.returncode == 2 and "one-class" in ended.stderr.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_results_folder_is_named_before_anything_runs(gexlib, home, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    folder.chmod(0o500)
    ended = gexlib("run", "pan-to-specific", *QUICK, "--out", folder / "rows.parquet", GEXLIB_HOME=home)
    assert ended.returncode == 2 and "cannot write to" in ended.stderr.splitlines()[-1]
    assert not list(folder.iterdir())


def test_a_results_folder_that_is_a_file_is_named_before_anything_runs(gexlib, home, tmp_path):
    (tmp_path / "results").write_text("")
    ended = gexlib("run", "pan-to-specific", *QUICK, "--out", tmp_path / "results" / "rows.parquet", GEXLIB_HOME=home)
    assert ended.returncode == 2 and "cannot write to" in ended.stderr.splitlines()[-1]


def test_the_same_command_twice_gives_the_same_rows(gexlib, home, tmp_path):
    words = ["run", "pan-to-specific", *QUICK, "--no-notebook", "--out"]
    for name in ("a.parquet", "b.csv"):
        ended = gexlib(*words, tmp_path / name, GEXLIB_HOME=home)
        assert ended.returncode == 0, ended.stderr
    assert " 0 now in " in ended.stderr
    rows, metadata = read_table(tmp_path / "a.parquet")
    assert len(rows) == len(pd.read_csv(tmp_path / "b.csv"))
    assert metadata["profile"] == "smoke" and metadata["complete"]
    assert metadata["parameters"]["pan-to-specific"]["n"] == [8]
    assert set(rows["arm"]) == {"baseline", "fine_tuned", "pooled", "zero_shot"}


def test_fetch_from_a_folder_says_which_types_are_missing(gexlib, real_data, tmp_path):
    only = tmp_path / "data" / "tcga-pairs"
    only.mkdir(parents=True)
    for name in ("BRCA", "STAD"):
        shutil.copy(real_data / "tcga-pairs" / f"{name}.RData", only)
    ended = gexlib("fetch", "tcga-pairs", GEXLIB_HOME=str(tmp_path / "home"), GEXLIB_DATA=str(tmp_path / "data"))
    assert ended.returncode == 0, ended.stderr
    assert "Missing cancer types: COAD, HNSC, KIRC, KIRP, LIHC, LUAD, LUSC, PRAD, THCA" in ended.stdout
    assert "290 samples" in ended.stdout


def test_cohort_commands(gexlib, home):
    assert "simulated-tcga:demo" in gexlib("cohort", "list", GEXLIB_HOME=home).stdout
    described = gexlib("cohort", "describe", "simulated-tcga:smoke", GEXLIB_HOME=home)
    assert described.returncode == 0 and "tasks: tcga/pan, tcga/type, tcga/BRCA" in described.stdout


def test_a_process_ends_with_one_sentence_and_exit_code_2():
    ended = subprocess.run(
        [sys.executable, "-m", "gexlib.cli", "run", "nowhere"], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("gexlib: section 'nowhere' is not known") and ended.stderr.count("\n") == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which nothing can be made")
def test_a_home_that_cannot_be_made_is_one_sentence(gexlib):
    ended = gexlib("run", "data", "--profile", "smoke", "--no-notebook", "--jobs", "1", GEXLIB_HOME="/proc/gexlib")
    assert ended.returncode == 2 and "cannot write to /proc/gexlib" in ended.stderr.splitlines()[-1]


def test_ctrl_c_says_how_to_go_on(gexlib, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gexlib.commands.run", interrupted)
    ended = gexlib("run", "data", "--profile", "smoke")
    assert ended.returncode == 130
    assert ended.stderr == (
        "gexlib: stopped; what was done is kept, this goes on from there: gexlib run data --profile smoke\n"
    )


def test_the_list_says_how_each_cohort_comes_in(gexlib, tmp_path):
    own_cohort().write_h5ad(tmp_path / "own.h5ad")
    home = str(tmp_path / "home")
    assert gexlib("cohort", "import", tmp_path / "own.h5ad", "--as", "mine", GEXLIB_HOME=home).returncode == 0
    lines = dict(line.split(maxsplit=1) for line in gexlib("cohort", "list", GEXLIB_HOME=home).stdout.splitlines())
    assert lines["mine"] == "stored" and lines["simulated-tcga:demo"] == "built when it is first used"
    assert lines["tcga-hypoxia"] == "gexlib fetch tcga-hypoxia"
    assert lines["u133-genes"].startswith("gexlib cohort import u133-genes.h5ad --as u133-genes --where")
    assert "tcga-hypoxia" in gexlib("fetch", "--help").stdout


def test_a_cohort_of_your_own_with_your_own_words(gexlib, tmp_path):
    obs = {"status": None, "disease": ["tumour", "healthy", "unclear", "tumour"] * 10}
    own_cohort(obs=obs).write_h5ad(tmp_path / "own.h5ad")
    words = ["cohort", "import", tmp_path / "own.h5ad", "--as", "mine"]
    home = tmp_path / "home"
    ended = gexlib(*words, GEXLIB_HOME=str(home))
    assert ended.returncode == 2 and "--map COLUMN=status" in ended.stderr and ended.stderr.count("\n") == 1
    words += ["--map", "disease=status", "--map", "disease:healthy=normal", "--map", "disease:unclear="]
    ended = gexlib(*words, GEXLIB_HOME=str(home))
    assert ended.returncode == 2 and "--map 'disease:tumour=...', where" in ended.stderr
    assert not list(home.rglob("*.npy"))
    words += [
        "--map",
        "disease:tumour=cancer",
        "--where",
        "cancer_type=BRCA",
        "--note",
        "Frozen tissue.",
        "--scale",
        "x",
    ]
    ended = gexlib(*words, GEXLIB_HOME=str(home))
    assert ended.returncode == 0, ended.stderr
    assert "mine: 15 samples x 6 genes, digest " in ended.stdout and "status: 10 cancer, 5 normal" in ended.stdout
    assert "dropped: 20 of 40 samples by --where cancer_type=BRCA" in ended.stdout
    assert "dropped: 5 samples whose disease was mapped to nothing" in ended.stdout
    assert "tasks: tcga/pan, tcga/BRCA" in ended.stdout and "- Frozen tissue." in ended.stdout
    described = gexlib("cohort", "describe", "mine", GEXLIB_HOME=str(home))
    assert "scale: x" in described.stdout and "Frozen tissue." in described.stdout


def test_help_of_import_shows_the_map(gexlib):
    shown = gexlib("cohort", "import", "--help").stdout
    assert "--map diagnosis=status" in shown and "--samples sheet.tsv" in shown and "COLUMN:VALUE=OURS" in shown


def test_a_table_and_its_sheet(gexlib, tmp_path):
    mine = own_cohort()
    pd.DataFrame(mine.X.T, mine.var_names, mine.obs_names).to_csv(tmp_path / "table.csv.gz")
    mine.obs.to_csv(tmp_path / "sheet.tsv", sep="\t")
    words = ["cohort", "import", tmp_path / "table.csv.gz", "--as", "mine", "--samples", tmp_path / "sheet.tsv"]
    ended = gexlib(*words, GEXLIB_HOME=str(tmp_path / "home"))
    assert ended.returncode == 0 and "mine: 40 samples x 6 genes" in ended.stdout, ended.stderr


def test_files_that_are_not_what_their_name_says(gexlib, tmp_path):
    (tmp_path / "page.h5ad").write_text("\n<!DOCTYPE html><html></html>")
    (tmp_path / "table.csv").write_text("gene;s0;s1\ng0;1,5;2,5\n")
    own_cohort().obs.to_csv(tmp_path / "sheet.csv", sep=";")
    for words, message in (
        ([tmp_path / "page.h5ad"], "is a web page and no .h5ad file"),
        ([tmp_path / "table.csv", "--samples", tmp_path / "sheet.csv"], "sheet.csv is separated by semicolons"),
    ):
        ended = gexlib("cohort", "import", *words, "--as", "mine", GEXLIB_HOME=str(tmp_path / "home"))
        assert ended.returncode == 2 and message in ended.stderr and ended.stderr.count("\n") == 1


def test_an_import_of_one_class_says_what_it_cannot_do(gexlib, tmp_path):
    own_cohort(obs={"status": ["cancer"] * 40}).write_h5ad(tmp_path / "own.h5ad")
    ended = gexlib("cohort", "import", tmp_path / "own.h5ad", "--as", "mine", GEXLIB_HOME=str(tmp_path / "home"))
    assert ended.returncode == 0 and "- All samples are cancer: no section that trains can use this" in ended.stdout
    own_cohort().write_h5ad(tmp_path / "own.h5ad")
    ended = gexlib("cohort", "import", tmp_path / "own.h5ad", "--as", "mine", GEXLIB_HOME=str(tmp_path / "home"))
    assert "All samples are" not in ended.stdout
