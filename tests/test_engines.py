import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from engine_tasks import always_deadly, deadly, failing, nap, square, where

from gexlib import engines
from gexlib.engines import Dask, Engine, Local, Slurm, WorkerLost, clusters
from gexlib.errors import InputError
from gexlib.runner import run_cells
from gexlib.store import Store
from tests.toy import SECTION, toys

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "engines").glob("*.yml"))
SETTINGS = {"GEXLIB_HOME": "/a folder"}
# Dask tries for 30 s to reach a worker that was killed
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s",
}


def engine(text, folder):
    file = folder / "engine.yml"
    file.write_text(text)
    return engines.read(file)


def spawned():
    """Processes of the tests, but for those that look after semaphores until Python ends."""
    children = psutil.Process().children(recursive=True)
    return [p for p in children if p.status() != "zombie" and "resource_tracker" not in " ".join(p.cmdline())]


@contextmanager
def process(*command):
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as one:
        try:
            yield one
        finally:
            one.terminate()
            with suppress(subprocess.TimeoutExpired):
                one.wait(1)
            one.kill()


@contextmanager
def scheduler(folder):
    file = folder / "scheduler.json"
    command = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0")
    with process(*command, "--scheduler-file", str(file)) as one:
        while not file.exists():
            time.sleep(0.05)
        yield one, file


def worker(file, threads=1, count=1):
    options = ("--nthreads", str(threads), "--nworkers", str(count), "--no-dashboard")
    options += () if count > 1 else ("--no-nanny",)  # whose process would outlive one that is killed
    return process("distributed.cli.dask_worker", "--scheduler-file", str(file), *options)


def test_a_process_and_loky_and_dask_are_what_files_say(tmp_path):
    assert engine("loky: {workers: 3}", tmp_path) == engines.local(3)
    assert engine("loky: {}", tmp_path).loky.workers >= 1
    assert engine("dask: {local: {workers: 2, memory: 4GiB}}", tmp_path).dask.local == Local(workers=2, memory="4GiB")
    assert engine("dask: {scheduler_file: s.json}", tmp_path).dask == Dask(scheduler_file="s.json")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_examples_can_be_read(file):
    assert isinstance(engines.read(file), Engine)


def test_there_are_examples():
    assert [file.stem for file in EXAMPLES] == ["dask-address", "dask-local", "kubernetes", "loky", "slurm"]


SLURM = 'dask: {slurm: {cores: 4, memory: 8GB, walltime: "01:00:00", adapt: {maximum: 2}}}'
KUBERNETES = "dask: {kubernetes: {name: run, image: gexlib, memory: 2GiB, workers: 2}}"


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "the file is None and should be a block of keys"),
        ("loky: {workers: 2}\ndask: {address: here}", "takes exactly one of loky, dask"),
        ("dask: {}", "dask takes exactly one of address, scheduler_file, local, slurm, kubernetes"),
        ("loky: [", "is not valid YAML"),
        ("joblib: {}", "joblib is not a key that is known there"),
        ("loky: {workers: 0}", "loky.workers is 0 and should be greater than or equal to 1"),
        ("loky: {workers: two}", "loky.workers is 'two' and should be a valid integer"),
        ("dask: {local: {threads: 4}}", "dask.local.threads is not a key that is known there"),
        ("dask: {local: {memory: 4}}", "dask.local.memory is 4; write it like 4GiB"),
        ("dask: {slurm: {}}", "dask.slurm.cores is missing"),
        (SLURM.replace('"01:00:00"', "10:00:00"), 'walltime is 36000; write it like "08:00:00" in quotes'),
        (SLURM.replace("cores: 4", "cores: 4, processes: 5"), "has 5 processes on 4 cores"),
        (SLURM.replace("cores: 4", 'cores: 4, lifetime: "01:00:00"'), "must end before walltime 01:00:00"),
        (SLURM.replace("maximum: 2", "maximum: 2, minimum: 3"), "has a minimum of 3 above its maximum of 2"),
        (KUBERNETES.replace("run", "My_Run"), "dask.kubernetes.name is 'My_Run'; write it like gexlib-run"),
        (KUBERNETES.replace(", workers: 2", ""), "dask.kubernetes takes exactly one of workers, adapt"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        engine(text, tmp_path)
    assert words in str(error.value)
    assert str(error.value).startswith(f"engine {tmp_path}") and str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read .No such file"):
        engines.read(tmp_path / "none.yml")


def test_dry_run_says_what_would_be_started(tmp_path):
    assert engines.dry_run(engines.local(3), SETTINGS) == "Here: 3 processes of one thread\nGEXLIB_HOME=/a folder\n"
    there = engines.dry_run(engine("dask: {address: 'tcp://there:8786'}", tmp_path), {})
    assert there == "Nothing is started: tasks go to the Dask scheduler at tcp://there:8786\n"


def test_dry_run_of_slurm_is_the_job_script(tmp_path):
    script = engines.dry_run(engine(SLURM.replace("cores", "prologue: [module load x], cores"), tmp_path), SETTINGS)
    lines = script.splitlines()
    assert {"#SBATCH -t 01:00:00", "#SBATCH --cpus-per-task=4", "module load x"} < set(lines)
    assert {"export GEXLIB_HOME='/a folder'", "export OMP_NUM_THREADS=1"} < set(lines)
    options = lines[-1].split()
    value = {name: options[i + 1] for i, name in enumerate(options[:-1])}
    assert (value["--nthreads"], value["--nworkers"]) == ("1", "4")
    lifetime, stagger = (int(value[name].removesuffix("s")) for name in ("--lifetime", "--lifetime-stagger"))
    assert lifetime == 54 * 60 and 0 < stagger < 3600 - lifetime
    assert "--lifetime-restart" not in options


def test_times_of_slurm_are_seconds():
    assert engines.seconds("01:30:05") == 5_405
    assert engines.seconds("2-00:00:00") == 172_800


def test_dry_run_of_kubernetes_is_the_manifest():
    pytest.importorskip("dask_kubernetes")
    manifest = yaml.safe_load(engines.dry_run(engines.read(ROOT / "engines" / "kubernetes.yml"), {"GEXLIB_HOME": "/x"}))
    assert manifest["kind"] == "DaskCluster" and manifest["metadata"]["namespace"] == "research"
    pod = manifest["spec"]["worker"]["spec"]
    [container] = pod["containers"]
    assert container["args"][:5] == ["python", "-m", "distributed.cli.dask_worker", "--nthreads", "1"]
    assert {"name": "GEXLIB_HOME", "value": "/shared/gexlib"} in container["env"]
    assert {"name": "OMP_NUM_THREADS", "value": "1"} in container["env"]
    assert container["resources"]["requests"] == {"cpu": "1.0", "memory": str(4 << 30)}
    assert container["volumeMounts"] == [{"name": "v0", "mountPath": "/shared"}]
    assert pod["volumes"] == [{"name": "v0", "persistentVolumeClaim": {"claimName": "shared"}}]


@pytest.mark.parametrize(
    "text, module, package",
    [
        (SLURM, "dask_jobqueue.slurm", "gexlib[cluster]"),
        (KUBERNETES, "dask_kubernetes.operator", "dask-kubernetes"),
    ],
)
def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch, text, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"which is not installed: pip install '{re.escape(package)}'"):
        engines.dry_run(engine(text, tmp_path), {})


def test_the_module_does_without_dask():
    code = "import sys, gexlib.engines; sys.exit(any(n in sys.modules for n in ('dask', 'distributed')))"
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)


@pytest.fixture(scope="module")
def quick_timeout():
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        yield


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Give the file of a scheduler with two workers, as others would start them."""
    import distributed

    with scheduler(tmp_path_factory.mktemp("cluster")) as (_, file), worker(file, count=2):
        with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield file


@pytest.fixture(scope="module", params=["here", "loky", "local", "cluster"])
def workers(request):
    if request.param in ("here", "loky"):
        asked = engines.local(1 if request.param == "here" else 2)
    else:
        request.getfixturevalue("quick_timeout")
        local = request.param == "local"
        asked = Engine(
            dask=Dask(local=Local(workers=2)) if local else Dask(scheduler_file=str(request.getfixturevalue("cluster")))
        )
    with engines.opened(asked, SETTINGS) as opened:
        opened.kind = request.param
        yield opened


def test_results_are_the_same_everywhere(workers):
    assert dict(workers.run(square, range(100))) == {n: n * n for n in range(100)}
    assert list(workers.run(square, [])) == []
    assert workers.count == (1 if workers.kind == "here" else 2)


def test_workers_have_the_settings_and_one_thread(workers):
    before = os.environ["GEXLIB_HOME"]
    for _, (pid, home, threads) in workers.run(where, ["GEXLIB_HOME"] * 4):
        assert home == "/a folder"
        assert (pid == os.getpid()) == (workers.kind == "here")
        assert threads == "1"
    assert os.environ["GEXLIB_HOME"] == before


def test_cells_give_the_same_table_everywhere(workers, tmp_path):
    cells = toys(8, special={3: {"raises": "value"}, 5: {"dies": str(tmp_path / "died")}})
    cells = cells if workers.kind != "here" else [cell for cell in cells if not cell.parameters.get("dies")]
    run = run_cells(SECTION, cells, workers, store=Store(tmp_path / "store"))
    wanted = [cell.parameters["number"] for cell in cells if not cell.parameters.get("raises")]
    assert sorted(run.rows["value"]) == wanted and run.computed == len(wanted)
    assert [(cell.parameters["number"], error["message"]) for cell, error in run.failed.items()] == [(3, "cell 3")]


def test_words_say_what_the_workers_are(workers):
    assert workers.words.startswith({"here": "this process", "loky": "2 processes"}.get(workers.kind, "Dask"))


def test_what_a_dead_worker_had_comes_out_when_it_is_run_again(workers, tmp_path):
    if workers.kind == "here":
        pytest.skip("it would kill the tests")
    tasks = [(n, str(tmp_path)) for n in range(12)]
    results = dict(workers.run(deadly, tasks))
    lost = [index for index, result in results.items() if isinstance(result, WorkerLost)]
    assert set(results) == set(range(12))
    assert (5 in lost) == (workers.kind != "cluster")  # a scheduler that others started tries again by itself
    results |= {lost[i]: result for i, result in workers.run(deadly, [tasks[index] for index in lost])}
    assert results == {n: n for n in range(12)}


def test_alone_is_in_a_process_of_its_own(workers):
    assert workers.alone(where, "GEXLIB_HOME")[0] != os.getpid()
    with pytest.raises(WorkerLost, match="was killed"):
        workers.alone(always_deadly, None)
    assert workers.alone(square, 3) == 9


def test_what_a_task_raises_is_raised_and_the_workers_go_on(workers):
    with pytest.raises(ZeroDivisionError, match="three"):
        list(workers.run(failing, range(50)))
    assert sorted(workers.run(square, [1, 2])) == [(0, 1), (1, 4)]


@pytest.mark.parametrize("asked", [engines.local(2), Engine(dask=Dask(local=Local(workers=1)))], ids=["loky", "dask"])
def test_nothing_is_left_and_nothing_is_said(asked, capfd):
    before = set(spawned())
    with engines.opened(asked, {}) as workers:
        assert dict(workers.run(square, [1, 2])) == {0: 1, 1: 4}
        with pytest.raises(WorkerLost):
            workers.alone(always_deadly, None)
    assert set(spawned()) <= before
    assert capfd.readouterr() == ("", "")


SCRIPT = """
import signal, sys
from pathlib import Path
from engine_tasks import nap
from gexlib import engines
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs without it
    with engines.opened(engines.read(Path(sys.argv[1])), {}) as workers:
        try:
            for _ in workers.run(nap, [0.01, 60, 60, 60]):
                print("begun", flush=True)
        except KeyboardInterrupt:
            print("stopped", flush=True)
"""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("loky: {workers: 2}", id="loky"),
        pytest.param("dask: {local: {workers: 2}}", id="dask", marks=pytest.mark.stress),
    ],
)
def test_ctrl_c_ends_all_within_seconds(tmp_path, text):
    script, file = tmp_path / "script.py", tmp_path / "engine.yml"
    script.write_text(SCRIPT)
    file.write_text(text)
    with subprocess.Popen(
        [sys.executable, "-W", "error", script, file], env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as driver:  # fmt: skip
        assert driver.stdout.readline() == "begun\n"
        started = psutil.Process(driver.pid).children(recursive=True)
        os.killpg(driver.pid, signal.SIGINT)
        assert driver.communicate(timeout=20) == ("stopped\n", None)
    _, alive = psutil.wait_procs(started, timeout=5)
    assert not [process for process in alive if process.status() != "zombie"]


def test_workers_of_several_threads_are_refused(cluster):
    with worker(cluster, threads=2) as two, pytest.raises(InputError, match="has 2 threads.*--nthreads 1"):
        while two.poll() is None:
            with engines.opened(Engine(dask=Dask(scheduler_file=str(cluster))), {}):
                time.sleep(0.1)


def test_workers_of_another_version_are_refused(cluster, monkeypatch):
    import distributed

    versions = distributed.Client.get_versions

    def other(client, packages):
        found = versions(client, packages=packages)
        next(iter(found["workers"].values()))["packages"]["gexlib"] = "0.0.1"
        return found

    monkeypatch.setattr(distributed.Client, "get_versions", other)
    with pytest.raises(InputError, match="gexlib 0.0.1, .*start it from the same environment"):
        with engines.opened(Engine(dask=Dask(scheduler_file=str(cluster))), {}):
            pass


def test_a_scheduler_without_workers_and_one_that_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "PATIENCE", 0.3)
    with scheduler(tmp_path) as (one, file):
        asked = Engine(dask=Dask(scheduler_file=str(file)))
        with engines.opened(asked, {}) as workers, pytest.raises(InputError, match="no worker came to .* start some"):
            list(workers.run(square, [1]))
        monkeypatch.setattr(clusters, "PATIENCE", 30)
        with worker(file), engines.opened(asked, {}) as workers:
            with pytest.raises(InputError, match="is gone; what was done is kept, and the same command goes on"):
                for _ in workers.run(nap, [0, 60]):
                    one.kill()


def test_no_scheduler_is_one_sentence(tmp_path, monkeypatch):
    import distributed

    def refuse(*_, **__):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(InputError, match="no Dask scheduler answers at tcp://there:1 .Timed out"):
        with engines.opened(Engine(dask=Dask(address="tcp://there:1")), {}):
            pass
    with pytest.raises(InputError, match="s.json is not there"):
        with engines.opened(Engine(dask=Dask(scheduler_file=str(tmp_path / "s.json"))), {}):
            pass


def commands(folder, monkeypatch, **scripts):
    for name, lines in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{lines}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])


JOBS = Slurm(cores=1, memory="2GB", walltime="00:30:00", interface="lo", adapt={"maximum": 1})


@pytest.mark.skipif(sys.platform != "linux", reason="the interface has another name")
def test_slurm_starts_jobs_when_there_are_tasks_and_cancels_them(tmp_path, monkeypatch):
    commands(
        tmp_path, monkeypatch,
        sbatch=f'cp "$1" {tmp_path}/job; setsid bash {tmp_path}/job >{tmp_path}/log 2>&1 & echo Submitted batch job $!',
        scancel=f"echo $1 > {tmp_path}/cancelled; kill -- -$1",
    )  # fmt: skip
    with engines.opened(Engine(dask=Dask(slurm=JOBS)), SETTINGS) as workers:
        assert (workers.words, workers.count) == ("SLURM, 0 to 1 jobs", 0)
        assert dict(workers.run(square, range(20))) == {n: n * n for n in range(20)}
        [(_, (_, home, threads))] = workers.run(where, ["GEXLIB_HOME"])
    assert (home, threads) == ("/a folder", "1")
    job = int((tmp_path / "cancelled").read_text())
    for _ in range(100):
        if not any(os.getpgid(p.pid) == job for p in psutil.process_iter() if p.status() != "zombie"):
            return
        time.sleep(0.1)
    pytest.fail("the job goes on")


def test_a_job_that_slurm_refuses_is_one_sentence(tmp_path, monkeypatch):
    asked = Engine(dask=Dask(slurm=JOBS.model_copy(update={"interface": None})))
    with pytest.raises(InputError, match="sbatch is not found here"), engines.opened(asked, {}):
        pass
    commands(tmp_path, monkeypatch, sbatch="echo 'sbatch: error: Invalid account' >&2; exit 1")
    with pytest.raises(InputError, match="SLURM does not take the job .sbatch: error: Invalid account"):
        with engines.opened(asked, {}) as workers:
            list(workers.run(square, [1]))
