"""The loader of downloaded files under damage."""

import bz2
import gzip
import lzma
import os
import random
import resource
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdata

from gexlib import cohorts
from gexlib.cohorts import fetch, store
from gexlib.errors import InputError
from gexlib.files import sha256

pytestmark = pytest.mark.stress

FILES = int(os.environ.get("STRESS_COPIES", "10000"))
MEMORY = 6 * 2**30  # bytes of address space: a flipped length must not take the machine's memory
SECONDS = 120  # for one file


def table(folder: Path) -> Path:
    """Write a small file of the form of LIHC's, as R would."""
    random = np.random.default_rng(0)
    barcodes = [f"TCGA.AA.{i:04d}.{sample}.01R.A001.07" for i in range(50) for sample in ("01A", "11A")]
    values = pd.DataFrame(random.normal(8, 2, (40, 100)).round(2), [f"GENE{i}" for i in range(40)], barcodes)
    rdata.write_rda(folder / "LIHC.RData", {"LIHC": values})
    return folder / "LIHC.RData"


def flip(content: bytes, draw: random.Random, most: int = 20) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, most)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def mutate(content: bytes, kind: str, draw: random.Random) -> bytes:
    """Damage a compressed file, or what is inside it."""
    inside = gzip.decompress(content)
    pack = draw.choice([gzip.compress, bz2.compress, lzma.compress, bytes])
    at, length = draw.randrange(len(inside)), draw.randint(1, 64)
    head = draw.randrange(min(400, len(inside)))  # where types, lengths and attributes begin
    match kind:
        case "truncated":
            return content[: draw.randrange(len(content))]
        case "bits flipped":
            return flip(content, draw)
        case "bits flipped inside":
            return pack(flip(inside, draw))
        case "bits flipped in the inner head":
            return pack(flip(inside[:400], draw, 3) + inside[400:])
        case "bits flipped in the inner end":
            return pack(inside[:-6000] + flip(inside[-6000:], draw, 3))
        case "truncated inside":
            return pack(inside[:at])
        case "bytes dropped inside":
            return pack(inside[:head] + inside[head + length :])
        case "bytes doubled inside":
            return pack(inside[:at] + inside[at : at + length] + inside[at:])
    raise AssertionError(kind)


KINDS = (
    "truncated", "bits flipped", "bits flipped inside", "bits flipped in the inner head",
    "bits flipped in the inner end", "truncated inside", "bytes dropped inside", "bytes doubled inside",
)  # fmt: skip


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def attempt(path: Path, base: Path, home: Path) -> tuple[str, str]:
    """Fetch and open a cohort of one file whose digest is taken for right: (what came of it, the words)."""
    os.environ |= {"GEXLIB_HOME": str(home), "GEXLIB_DATA": str(base)}
    fetch.SOURCES["tcga-pairs"].files[path.name] = sha256(path)
    shown = []
    try:
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            cohort = cohorts.fetch_cohort("tcga-pairs", [path.stem])
    except InputError as error:
        return "refused", str(error)
    except BaseException:
        return "escaped", traceback.format_exc()
    finite = bool(np.isfinite(cohort.X).all())
    if not finite or set(cohort.obs["status"]) != {"cancer", "normal"} or cohort.obs["patient"].eq("").any():
        return "escaped", f"a cohort outside its contract: {cohort}, finite {finite}"
    return "clean", "; ".join(f"{w.category.__name__}: {w.message}" for w in shown)


def test_damaged_files_give_a_clean_cohort_or_one_sentence(tmp_path, request, record_property):
    """The reader of TCGA pairs on 10,000 damaged files (cut, bits flipped, inside the compression too): a clean cohort
    or one sentence, never a traceback, a crash or a half-written cache.
    """
    seed = int(os.environ.get("STRESS_SEED", time.time()))
    draw = random.Random(seed)
    base, home = tmp_path / "data", tmp_path / "home"
    (base / "tcga-pairs").mkdir(parents=True)
    originals = [table(tmp_path)] * 4
    try:
        real = request.getfixturevalue("real_data") / "tcga-pairs"
        originals.append(min(real.glob("*.RData"), key=lambda path: path.stat().st_size))
    except pytest.skip.Exception:
        pass  # without real files all are made here
    found, seconds, problems, refused = Counter(), [], [], set()
    with ProcessPoolExecutor(1, get_context("spawn"), limit) as pool:
        for number in range(FILES):
            original = originals[number % len(originals)]
            kind = KINDS[number // len(originals) % len(KINDS)]
            path = base / "tcga-pairs" / original.name
            path.write_bytes(mutate(original.read_bytes(), kind, draw))
            begun = time.time()
            outcome, words = pool.submit(attempt, path, base, home).result(timeout=SECONDS)
            seconds.append(time.time() - begun)
            found[outcome] += 1
            if outcome == "escaped":
                problems.append(f"{number} {original.name} {kind}: {words}")
            elif outcome == "refused":
                refused.add(kind)
                if not words.strip() or "Traceback" in words or words.count("\n") > 1 or len(words) > 600:
                    problems.append(f"{number} {original.name} {kind}: not one sentence: {words}")
            elif words:
                found["with a warning"] += 1
            path.unlink()
            parts = sorted(p.name for p in (home / "cohorts").iterdir()) if (home / "cohorts").exists() else []
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GEXLIB_HOME", str(home))
                whole = [store.folder_of(name).name for name in store.stored()]
                if parts != whole:
                    problems.append(f"{number} {original.name} {kind}: {parts} on disk, {whole} whole")
                for name in store.stored():
                    assert np.isfinite(store.open_stored(name).X).all()
    record_property("seed", seed)
    record_property("real files too", "yes" if len(originals) > 4 else "no")
    record_property("outcomes", ", ".join(f"{n} {name}" for name, n in sorted(found.items())))
    record_property("slowest file", f"{max(seconds):.1f} s")
    assert not problems, f"{len(problems)} of {FILES}, seed {seed}:\n" + "\n".join(problems)
    assert {"truncated", "bits flipped", "truncated inside"} <= refused, "the damage was not felt"
