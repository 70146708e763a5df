"""Disks that are full, turn read-only or damage files, on a file system of our own in memory."""

import os
import random
import shutil
import subprocess
import sys
import textwrap

import pytest

from gexlib.store import Store

pytestmark = pytest.mark.stress

RUN = (
    f"{sys.executable} -m gexlib.cli run pan-to-specific --profile smoke --no-notebook --jobs 2 "
    "-p cohort=simulated-tcga:smoke -p n=[8,12,16] -p frozen=[0,1] -p repeats=2 -p folds=4 -p methods=[] -p pooled=[]"
)
CELLS = 2 * 2 * 4 * (1 + 3 * (1 + 2))


def inside(folder, script: str) -> str:
    """Run a shell script that may mount a file system in memory at $DISK; nobody else sees it."""
    if not shutil.which("unshare"):
        pytest.skip("needs unshare (util-linux)")
    environment = {**os.environ, "DISK": str(folder), "GEXLIB_HOME": f"{folder}/home"}
    probe = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none $DISK"], env=environment, capture_output=True
    )
    if probe.returncode:
        pytest.skip("this system lets nobody mount a file system of their own")
    ended = subprocess.run(
        ["unshare", "-rm", "bash", "-euc", textwrap.dedent(script)], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_disk_that_is_full_or_read_only_is_one_sentence(tmp_path, record_property):
    """A disk that runs full, and one that turns read-only, while a run writes: one sentence, exit code 2, nothing lost;
    the same command goes on when there is space.
    """
    said = inside(
        tmp_path,
        f"""
        mount -t tmpfs -o size=40m none $DISK
        {RUN} -p targets=[BRCA] --budget 0 2>/dev/null
        used=$(df --output=used -k $DISK | tail -1)
        mount -o remount,size=$((used + 60))k $DISK
        code=0; {RUN} 2> /tmp/said.$$ || code=$?
        echo "full: $code $(tail -1 /tmp/said.$$)"
        if grep -q Traceback /tmp/said.$$; then cat /tmp/said.$$; exit 1; fi
        mount -o remount,size=40m $DISK
        {RUN} --budget 0 2>&1 | grep 'cells done'
        {RUN} 2>&1 | grep 'cells done'
        mount -o remount,ro $DISK
        code=0; {RUN} -p repeats=3 2> /tmp/said.$$ || code=$?
        echo "read-only: $code $(tail -1 /tmp/said.$$)"
        if grep -q Traceback /tmp/said.$$; then cat /tmp/said.$$; exit 1; fi
        {RUN} 2>&1 | grep 'cells done'
        rm /tmp/said.$$
        """,
    )
    full, after, whole, read_only, again = said.splitlines()
    assert full.startswith("full: 2 gexlib: cannot write to") and "No space left on device" in full
    done = int(after.split(": ")[1].split()[0])
    record_property("cells kept when the disk was full", f"{done} of {CELLS}")
    assert f"{CELLS} of {CELLS} cells done, {CELLS - done} now" in whole
    assert read_only.startswith("read-only: 2 gexlib: cannot write to") and "Read-only file system" in read_only
    assert f"{CELLS} of {CELLS} cells done, 0 now" in again


@pytest.mark.parametrize("form", ["segments", "pack"])
def test_damaged_files_cost_what_they_held(tmp_path, record_property, form):
    """Files of the store cut, or with bytes changed, at 60 random places one after the other: what is left is right, a
    sentence names the file, and rerunning makes the table whole.
    """
    seed = int(os.environ.get("STRESS_SEED", random.SystemRandom().randrange(10**6)))
    record_property("seed", seed)
    draw = random.Random(seed)
    home = tmp_path / "home"
    environment = {**os.environ, "GEXLIB_HOME": str(home)}

    def run(*words) -> str:
        command = [*RUN.split(), *words]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
        return ended.stderr

    run()
    if form == "pack":
        subprocess.run([sys.executable, "-m", "gexlib.cli", "collect"], env=environment, check=True)
    whole = values(Store(home / "store"))
    assert len(whole) == CELLS
    lost = []
    for _ in range(60):
        copy = tmp_path / "copy"
        shutil.copytree(home / "store", copy)
        path = draw.choice(sorted(copy.glob("pan_to_specific/*.jsonl*")))
        content = bytearray(path.read_bytes())
        at = draw.randrange(len(content))
        if draw.random() < 0.5:
            del content[at:]
        else:
            content[at] ^= draw.randrange(1, 256)
        path.write_bytes(content)
        store = Store(copy)
        left = values(store)
        assert left.items() <= whole.items()
        assert len(left) == CELLS or store.damage or form == "segments"  # a cut line was never written
        lost.append(CELLS - len(left))
        shutil.rmtree(copy)
    record_property("cells lost to one damage", f"{max(lost)} at most of {CELLS}")
    path = sorted((home / "store").glob("pan_to_specific/*.jsonl*"))[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :])
    said = run()
    assert f"{CELLS} of {CELLS} cells done" in said and path.name in said
    assert values(Store(home / "store")).keys() == whole.keys()


def values(store: Store) -> dict:
    """Values of every cell that can be read, by key."""
    found = {}
    for cell, entry in store.cells("pan_to_specific"):
        rows = store.read(cell, entry.fingerprint)
        found[cell.key] = tuple(row["value"] for row in rows)
    return found
