"""Every parser of a public source on damaged files: a clean cohort or one sentence, and nothing half-stored.

A short form here; `make stress` gives each parser 10,000.
"""

import random
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from gexlib import cohorts
from gexlib.cohorts import geo, microarray, schema, store
from gexlib.errors import InputError
from tests.cohorts import sources
from tests.cohorts.test_geo import MAPS
from tests.mutate import mutations

#: What is fetched, how, and from which files.
PARSERS = {
    "microarray": ("microarray", {}, {"microarray": sources.microarray()}),
    "deep-gonet": ("deep-gonet", {}, {"deep-gonet": sources.deep_gonet()}),
    "tcga": ("tcga", {"projects": ["BRCA", "LUAD"]}, {"tcga": sources.gdc()}),
    "tcga-toil": ("tcga", {"projects": ["BRCA"], "hub": "toil"}, {"tcga-toil": sources.toil()}),
    "geo": ("GSE4321", {"maps": MAPS},
            {"GSE4321": sources.geo(), "GPL570": {"GPL570.annot.gz": sources.microarray()["GPL570.annot.gz"]}}),
}  # fmt: skip


def understood(error: InputError, most: int, number: int) -> None:
    """Check that a refusal is one line that a user can bear, and no parser that ran wild."""
    words = str(error)
    assert 0 < len(words) < most, (number, words)
    assert not [wrong for wrong in ("\n", "Traceback", "out of memory") if wrong in words], (number, words)


def survive(parser: str, n: int, seed: int, data: Path, home: Path) -> Counter:
    """Fetch n damaged copies of a cohort; return how many were refused and how many came out clean."""
    name, how, folders = PARSERS[parser]
    draw, found = random.Random(seed), Counter()
    files = [(folder, file) for folder in folders for file in folders[folder]]
    for folder, file in files:
        (data / folder).mkdir(parents=True, exist_ok=True)
        (data / folder / file).write_bytes(folders[folder][file])
    streams = {key: mutations(folders[key[0]][key[1]], n, draw.randrange(2**32)) for key in files}
    for number in range(n):
        folder, file = draw.choice(files)
        content = next(streams[folder, file])
        (data / folder / file).write_bytes(content)
        shutil.rmtree(home / "digests", ignore_errors=True)
        try:
            cohort = cohorts.fetch_cohort(name, **how)
        except InputError as error:
            understood(error, 900, number)
            found["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{parser}, seed {seed}, copy {number}, {file}: {content[:300]!r}") from error
        else:
            assert np.isfinite(cohort.X).all() and set(cohort.obs["status"]) <= set(schema.STATUS), (number, file)
            assert cohort.shape == cohort.X.shape and cohort.n_obs and cohort.n_vars
            found["clean"] += 1
        (data / folder / file).write_bytes(folders[folder][file])
        there = [path.name for path in (home / "cohorts").glob("*")] if (home / "cohorts").exists() else []
        assert not [path for path in there if path.startswith(".")], (number, there)
        shutil.rmtree(home / "staged", ignore_errors=True)
    shutil.rmtree(home / "digests", ignore_errors=True)
    assert cohorts.fetch_cohort(name, **how).n_obs and store.stored()
    return found


def frame() -> pd.DataFrame:
    values = np.random.default_rng(0).normal(8, 2, (12, 5)).round(3)
    return pd.DataFrame(values, [f"s{i}" for i in range(12)], ["TP53", "EGFR", "MYC", "A1BG", "KRAS"])


def sheet() -> pd.DataFrame:
    diagnosis = ["tumour", "healthy"] * 6
    return pd.DataFrame({"diagnosis": diagnosis, "donor": [f"p{i // 2}" for i in range(12)]}, frame().index)


def own_files(folder: Path) -> dict[str, tuple[Path, Path | None]]:
    """Write the same cohort as every kind of file: the matrix, and its sample sheet."""
    frame().T.to_csv(folder / "m.tsv", sep="\t")
    frame().to_csv(folder / "m.csv.gz")
    frame().T.to_parquet(folder / "m.parquet")
    sheet().to_csv(folder / "s.csv")
    sheet().to_parquet(folder / "s.parquet")
    AnnData(frame().to_numpy(np.float32), obs=sheet(), var=pd.DataFrame(index=frame().columns)).write_h5ad(
        folder / "m.h5ad"
    )
    pairs = {"tsv": ("m.tsv", "s.csv"), "csv": ("m.csv.gz", "s.csv"), "parquet": ("m.parquet", "s.parquet")}
    return {kind: (folder / matrix, folder / labels) for kind, (matrix, labels) in pairs.items()} | {
        "h5ad": (folder / "m.h5ad", None)
    }


def survive_own(kind: str, n: int, seed: int, folder: Path, home: Path) -> Counter:
    """Import n damaged copies of a file of one's own; return how many were refused and how many came out clean."""
    matrix, labels = own_files(folder)[kind]
    files = [path for path in (matrix, labels) if path]
    whole = {path: path.read_bytes() for path in files}
    streams = {path: mutations(whole[path], n, seed) for path in files}
    draw, found = random.Random(seed), Counter()
    for number in range(n):
        path = draw.choice(files)
        content = next(streams[path])
        path.write_bytes(content)
        try:
            cohort = cohorts.import_cohort(matrix, "mine", samples=labels)
        except InputError as error:
            understood(error, 3000, number)
            found["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}, copy {number}, {path.name}: {content[:300]!r}") from error
        else:
            assert np.isfinite(cohort.X).all() and set(cohort.obs["status"]) <= set(schema.STATUS), (number, path)
            found["clean"] += 1
        path.write_bytes(whole[path])
        assert not list((home / "cohorts").glob(".*")), number
    return found


@pytest.mark.parametrize("kind", ["tsv", "csv", "parquet"])
def test_damaged_files_of_your_own(kind, home, tmp_path):
    found = survive_own(kind, 60, 1, tmp_path, home)
    assert found["refused"] > 10 and found.total() == 60


@pytest.mark.parametrize("parser", PARSERS)
def test_damaged_files(parser, home, tmp_path, monkeypatch):
    monkeypatch.setenv("GEXLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(microarray, "MORE_THAN", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = survive(parser, 60, 1, tmp_path / "data", home)
    assert found["refused"] > 10 and found.total() == 60
    assert geo.is_accession("GSE4321")
