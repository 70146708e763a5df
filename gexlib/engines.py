"""Where work runs: processes of this machine, a Dask cluster that is up, or one started on SLURM or Kubernetes.

An engine is a small YAML file (examples in ``engines/``). Each runs module-level functions on small arguments, in
workers of one thread, and gives the same results; only what is fastest differs.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, ClassVar

import yaml
from joblib.externals.loky import ProcessPoolExecutor, cpu_count
from joblib.externals.loky.process_executor import TerminatedWorkerError
from pydantic import BaseModel, Field, ValidationError, model_validator

from gexlib.errors import InputError

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
# Memory that the C library keeps is no reason to stop giving tasks to a worker; it is killed at 95 % all the same.
DASK = {f"distributed.worker.memory.{what}": False for what in ("target", "spill", "pause")} | {
    "distributed.scheduler.worker-saturation": 1.0,  # a worker that dies takes one task with it, not the next one too
}
PATIENCE = 300.0  # seconds that a cluster may take until its first worker is there; SLURM's queue has no such limit
KEPT = "what was done is kept, and the same command goes on from there"


class WorkerLost(Exception):
    """A worker process died while it had this task (killed, out of memory, node gone)."""


# What a file may say


class Block(BaseModel, extra="forbid", frozen=True, strict=True):
    """Keys of a YAML file, of which exactly one of `one_of` is given."""

    one_of: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _one(self):
        if self.one_of and sum(getattr(self, name) is not None for name in self.one_of) != 1:
            raise ValueError(f"takes exactly one of {', '.join(self.one_of)}")
        return self


Count = Annotated[int, Field(ge=1)]
Memory = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?[kKMGT]i?B$")]
Time = Annotated[str, Field(pattern=r"^([0-9]+-)?[0-9]{1,3}:[0-5][0-9]:[0-5][0-9]$")]
Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
EXAMPLES = {
    "memory": "4GiB",
    "walltime": '"08:00:00" in quotes',
    "lifetime": '"07:50:00" in quotes',
    "name": "gexlib-run",
}


class Loky(Block):
    """Processes of this machine; one worker is this process itself."""

    workers: Count = Field(default_factory=cpu_count)


class Adapt(Block):
    """Bounds of a cluster that grows and shrinks with the work."""

    minimum: Annotated[int, Field(ge=0)] = 0
    maximum: Count

    @model_validator(mode="after")
    def _fits(self):
        if self.minimum > self.maximum:
            raise ValueError(f"has a minimum of {self.minimum} above its maximum of {self.maximum}")
        return self


class Local(Block):
    """Dask on this machine; memory is of each worker."""

    workers: Count = Field(default_factory=cpu_count)
    memory: Memory | None = None
    dashboard: bool = False


class Slurm(Block):
    """Jobs of so many processes each; `adapt` counts jobs, cores and memory are of one job."""

    cores: Count
    memory: Memory
    walltime: Time
    adapt: Adapt
    processes: Count | None = None
    lifetime: Time | None = None
    queue: str | None = None
    account: str | None = None
    interface: str | None = None
    python: str | None = None
    prologue: list[str] = []
    directives: list[str] = []

    @model_validator(mode="after")
    def _fits(self):
        if self.processes and self.processes > self.cores:
            raise ValueError(f"has {self.processes} processes on {self.cores} cores; each needs one")
        if self.lifetime and seconds(self.lifetime) >= seconds(self.walltime):
            raise ValueError(f"has lifetime {self.lifetime}, which must end before walltime {self.walltime}")
        return self


class Kubernetes(Block):
    """Pods of one worker each; cores and memory are of one pod, volumes by the path they are mounted at."""

    one_of = ("workers", "adapt")
    name: Name
    image: str
    memory: Memory
    namespace: str = "default"
    cores: Annotated[float, Field(gt=0)] = 1
    workers: Count | None = None
    adapt: Adapt | None = None
    env: dict[str, str] = {}
    volumes: dict[str, dict] = {}


class Dask(Block):
    """A cluster that is up, by address or file, or one to start."""

    one_of = ("address", "scheduler_file", "local", "slurm", "kubernetes")
    address: str | None = None
    scheduler_file: str | None = None
    local: Local | None = None
    slurm: Slurm | None = None
    kubernetes: Kubernetes | None = None


class Engine(Block):
    """Where work runs."""

    one_of = ("loky", "dask")
    loky: Loky | None = None
    dask: Dask | None = None


def read(path: Path) -> Engine:
    """Read an engine from a YAML file.

    Raises
    ------
    InputError
        No such file, or it says something that is not known.
    """
    try:
        return Engine.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", "it is not text")
        raise InputError(f"engine {path} cannot be read ({why}); see the examples in engines/.") from None
    except yaml.YAMLError as error:
        raise InputError(f"engine {path} is not valid YAML: {str(error).splitlines()[0]}; mend it.") from None
    except ValidationError as error:
        raise InputError(f"engine {path}: {_in_words(error.errors()[0])}; see the examples in engines/.") from None


def _in_words(wrong: dict) -> str:
    """Say in a user's words what pydantic found."""
    key = ".".join(map(str, wrong["loc"])) or "the file"
    last = key.rpartition(".")[2]
    if wrong["type"] == "value_error":
        return f"{key} {wrong['ctx']['error']}"
    if wrong["type"] == "extra_forbidden":
        return f"{key} is not a key that is known there"
    if wrong["type"] == "missing":
        return f"{key} is missing"
    if last in EXAMPLES:
        return f"{key} is {wrong['input']!r}; write it like {EXAMPLES[last]}"
    asked = "be a block of keys" if wrong["type"] == "model_type" else wrong["msg"].split(" should ")[-1]
    return f"{key} is {wrong['input']!r} and should {asked}"


def local(jobs: int) -> Engine:
    """Return the engine of so many processes on this machine."""
    return Engine(loky=Loky(workers=jobs))


def seconds(walltime: str) -> int:
    """Seconds of SLURM's ``[days-]hours:minutes:seconds``."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, rest = map(int, clock.split(":"))
    return 86_400 * int(days or 0) + 3_600 * hours + 60 * minutes + rest


# What is started


def dry_run(engine: Engine, settings: dict[str, str]) -> str:
    """Say what would be started: SLURM's job script, Kubernetes' manifest, a line for the others.

    Raises
    ------
    InputError
        A package is missing that the engine needs.
    """
    dask = engine.dask
    if dask and dask.slurm:
        job = needs("dask_jobqueue.slurm").SLURMJob
        return job("tcp://<address of the scheduler>", name="<name>", **_slurm(dask.slurm, settings)).job_script()
    if dask and dask.kubernetes:
        manifest = json.loads(json.dumps(_manifest(dask.kubernetes, settings)))  # nothing shared, which YAML would link
        return yaml.safe_dump(manifest, sort_keys=False)
    if dask and not dask.local:
        what = f"Nothing is started: tasks go to the Dask scheduler at {dask.address or dask.scheduler_file}"
    else:
        what = f"{'Dask' if dask else 'Here'}: {(dask.local if dask else engine.loky).workers} processes of one thread"
    return "\n".join([what, *(f"{name}={value}" for name, value in settings.items())]) + "\n"


def needs(module: str, package: str = "gexlib[cluster]"):
    """Import a module of an optional package.

    Raises
    ------
    InputError
        It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"this engine needs {module.partition('.')[0].replace('_', '-')}, which is not installed: "
            f"pip install '{package}'."
        ) from None


def _environment(settings: dict[str, str]) -> dict[str, str]:
    """Variables of a worker that is started by a command, where Dask's configuration is no object to hand over."""
    memory = {f"DASK_{key.replace('.', '__').replace('-', '_').upper()}": str(value) for key, value in DASK.items()}
    return {**ONE_THREAD, **memory, **settings}


def _slurm(slurm: Slurm, settings: dict[str, str]) -> dict:
    """Arguments of dask-jobqueue's job: workers end by themselves before the job does, at times of their own."""
    limit = seconds(slurm.walltime)
    lifetime = seconds(slurm.lifetime) if slurm.lifetime else limit - min(600, limit // 10)
    exports = [f"export {name}={shlex.quote(value)}" for name, value in _environment(settings).items()]
    return {
        "job_name": "gexlib",
        "queue": slurm.queue,
        "account": slurm.account,
        "walltime": slurm.walltime,
        "cores": slurm.processes or slurm.cores,  # as many as processes, so that each has one thread
        "job_cpu": slurm.cores,
        "processes": slurm.processes or slurm.cores,
        "memory": slurm.memory,
        "interface": slurm.interface,
        "python": slurm.python or sys.executable,
        "job_script_prologue": [*slurm.prologue, *exports],
        "job_extra_directives": slurm.directives,
        "worker_extra_args": ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{(limit - lifetime) // 2}s"],
    }


def _manifest(kubernetes: Kubernetes, settings: dict[str, str]) -> dict:
    """Manifest of a DaskCluster: the operator's own, with one thread a worker and the volumes mounted."""
    operator = needs("dask_kubernetes.operator", "dask-kubernetes")
    parse_bytes = needs("dask.utils").parse_bytes
    size = {"cpu": str(kubernetes.cores), "memory": str(parse_bytes(kubernetes.memory))}
    worker = f"python -m distributed.cli.dask_worker --nthreads 1 --memory-limit {size['memory']}"
    manifest = operator.make_cluster_spec(
        name=kubernetes.name,
        image=kubernetes.image,
        n_workers=kubernetes.workers or kubernetes.adapt.minimum,
        resources={"requests": size, "limits": {"memory": size["memory"]}},
        env=_environment({**settings, **kubernetes.env}),
        worker_command=worker,
    )
    manifest["metadata"]["namespace"] = kubernetes.namespace
    pods = [manifest["spec"][part]["spec"] for part in ("scheduler", "worker")]
    pods[0]["containers"][0]["args"] = "python -m distributed.cli.dask_scheduler --host 0.0.0.0".split()
    for pod in pods:
        pod["volumes"] = [{"name": f"v{i}", **source} for i, source in enumerate(kubernetes.volumes.values())]
        pod["containers"][0]["volumeMounts"] = [
            {"name": f"v{i}", "mountPath": path} for i, path in enumerate(kubernetes.volumes)
        ]
    return manifest


# What runs


@contextmanager
def opened(engine: Engine, settings: dict[str, str]) -> Iterator[Workers]:
    """Have the workers of an engine, and end what was started for it: on Ctrl-C and errors without waiting for tasks.

    Parameters
    ----------
    engine : Engine
    settings : dict of str
        Environment variables for the workers.

    Raises
    ------
    InputError
        A package, the cluster or its scheduler is not there, or its workers are not like this process.
    """
    if engine.dask:
        needs("distributed")  # sets up its logging when it is imported
    with _quiet():
        if engine.dask:
            workers = _Dask(engine.dask, settings)
        else:
            workers = (_Pool if engine.loky.workers > 1 else _Here)(engine.loky.workers, settings)
        try:
            yield workers
        except BaseException:
            workers.close(kill=True)
            raise
        workers.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log lines and warnings of what runs below from the user's terminal."""
    names = ("asyncio", "distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application")
    loggers = {log: log.level for log in map(logging.getLogger, names)}
    with warnings.catch_warnings():
        for module in ("asyncio", "dask", "distributed", "joblib", "tornado"):
            warnings.filterwarnings("ignore", module=module)
        # loky starts a worker anew that has grown, and takes memory that is kept for lost: nothing is
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        try:
            for log in loggers:
                log.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for log, level in loggers.items():
                log.setLevel(level)


@contextmanager
def _deaf() -> Iterator[None]:
    """Have processes that are started meanwhile not hear Ctrl-C, which is for the one that ends them."""
    resource_tracker.ensure_running()  # first, as its own start lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers:
    """Processes that run tasks.

    Attributes
    ----------
    words : str
        What they are, for a line on the terminal.
    count : int or None
        Workers now, where that is known.
    """

    words: str
    count: int | None
    window: int  # tasks that are submitted and have not ended, at most

    def run(self, function: Callable, tasks: Sequence) -> Iterator[tuple[int, object]]:
        """Run ``function(task)`` for every task.

        Parameters
        ----------
        function : callable
            Of a module that workers can import. What it raises is raised here, and what is not begun is dropped.
        tasks : sequence
            Small arguments.

        Yields
        ------
        index, result
            As tasks end, in any order. The result is a `WorkerLost` where the worker died: with loky of every task
            that had not ended; on a Dask cluster of several machines only after the scheduler tried again.
        """
        waiting, flying = enumerate(tasks), {}
        self._begin()
        try:
            while True:
                for index, task in islice(waiting, self.window - len(flying)):
                    flying[self._submit(function, task)] = index
                if not flying:
                    return
                future, result = self._next()
                yield flying.pop(future), result
        finally:
            self._end(list(flying))

    def alone(self, function: Callable, task: object) -> object:
        """Run one task with nothing beside it, in a worker process.

        Raises
        ------
        WorkerLost
            The process died.
        """
        [(_, result)] = self.run(function, [task])
        if isinstance(result, WorkerLost):
            raise result
        return result


class _Pool(Workers):
    """Processes of this machine."""

    def __init__(self, count: int, settings: dict[str, str]) -> None:
        self.count, self.words, self.window = count, f"{count} processes", 4 * count
        self.settings, self.pool, self.broken = settings, None, False

    def _begin(self) -> None:
        self.ended = SimpleQueue()
        self.pool = self.pool or ProcessPoolExecutor(
            self.count,
            timeout=300,  # idle ones end: they would not see this process being killed
            env={**ONE_THREAD, **self.settings},
        )

    def _submit(self, function: Callable, task: object) -> Future:
        try:
            with _deaf():  # it starts processes
                future = self.pool.submit(function, task)
        except TerminatedWorkerError as error:
            future = Future()
            future.set_exception(error)
        future.add_done_callback(self.ended.put)
        return future

    def _next(self) -> tuple[Future, object]:
        future = self.ended.get()
        try:
            return future, future.result()
        except TerminatedWorkerError:
            self.broken = True
            return future, WorkerLost("a worker process was killed")

    def _end(self, flying: list[Future]) -> None:
        if flying or self.broken:
            self.close(kill=True)

    def close(self, kill: bool = False) -> None:
        """End the processes; the next run starts new ones."""
        if self.pool:
            if kill:  # not by shutdown(kill_workers=True): it trips over a task that was submitted just before
                for process in list(self.pool._processes.values()):
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
            self.pool.shutdown()
        self.pool, self.broken = None, False

    def alone(self, function: Callable, task: object) -> object:
        """As in `Workers`; processes that are idle give their memory back."""
        self.close()
        single = _Pool(1, self.settings)
        try:
            return Workers.alone(single, function, task)
        finally:
            single.close(kill=True)


class _Here(_Pool):
    """No process but this one, except for a task alone."""

    def __init__(self, count: int, settings: dict[str, str]) -> None:
        super().__init__(count, settings)
        self.words = "this process"

    def run(self, function: Callable, tasks: Sequence) -> Iterator[tuple[int, object]]:
        """As in `Workers`."""
        return ((index, _run(self.settings, function, task)) for index, task in enumerate(tasks))


class _Dask(Workers):
    """Workers of a Dask scheduler."""

    def __init__(self, dask: Dask, settings: dict[str, str]) -> None:
        self.distributed, self.settings, self.patience = needs("distributed"), dict(settings), PATIENCE
        if dask.kubernetes:
            self.settings |= dask.kubernetes.env
        self.client = self.cluster = None
        self.refused, self.told = [], False  # what sbatch says; whether the user knows of the queue
        adapt = next((block.adapt for block in (dask.slurm, dask.kubernetes) if block and block.adapt), None)
        each = (dask.slurm.processes or dask.slurm.cores) if dask.slurm else 1
        self.window = 4 * max(256, adapt.maximum * each if adapt else 0)  # enough to be seen, and to grow on
        try:
            with needs("dask").config.set(DASK):
                self._start(dask, adapt)
            self._alike(self._ask(self.client.nthreads))
        except BaseException:
            self.close(kill=True)
            raise
        size = f"{adapt.minimum} to {adapt.maximum}" if adapt else self.count
        started = "Dask" if dask.local else "SLURM" if dask.slurm else "Kubernetes" if dask.kubernetes else None
        self.words = f"{started or f'Dask at {self.address}'}, {size} {'jobs' if dask.slurm else 'workers'}"

    def _start(self, dask: Dask, adapt: Adapt | None) -> None:
        """Start the cluster, where it is ours, and connect."""
        if dask.local:
            with _deaf():
                self.cluster = self.distributed.LocalCluster(
                    n_workers=dask.local.workers,
                    threads_per_worker=1,
                    memory_limit=dask.local.memory or 0,
                    dashboard_address=":8787" if dask.local.dashboard else None,
                    silence_logs=logging.CRITICAL + 1,
                    scheduler_kwargs={"allowed_failures": 0},
                    env={**ONE_THREAD, **self.settings},
                )
        elif dask.slurm:
            self.cluster, self.patience = self._slurm_cluster(dask.slurm), None
        elif dask.kubernetes:
            self.cluster = self._kubernetes_cluster(dask.kubernetes)
        elif dask.scheduler_file and not Path(dask.scheduler_file).expanduser().is_file():
            raise InputError(
                f"scheduler file {dask.scheduler_file} is not there; start the scheduler with --scheduler-file."
            )
        if adapt and dask.slurm:  # target_duration: as many workers as there are tasks
            self.cluster.adapt(minimum_jobs=adapt.minimum, maximum_jobs=adapt.maximum, target_duration="100ms")
        elif adapt:
            self.cluster.adapt(minimum=adapt.minimum, maximum=adapt.maximum)
        file = dask.scheduler_file and str(Path(dask.scheduler_file).expanduser())
        self.address = dask.address or file or self.cluster.scheduler_address
        try:
            self.client = self.distributed.Client(
                self.cluster or dask.address, scheduler_file=file, set_as_default=False, timeout=10
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Dask scheduler answers at {self.address} ({_first_line(error)}); start one, or mend the address."
            ) from None

    def _slurm_cluster(self, slurm: Slurm) -> object:
        """Start a scheduler here whose workers are SLURM jobs, and note what sbatch refuses."""
        jobqueue, refused, failed = (
            needs("dask_jobqueue.slurm"),
            self.refused,
            self.distributed.Status.failed,
        )
        if not shutil.which("sbatch"):
            raise InputError("sbatch is not found here; run this where SLURM jobs are submitted from.")

        class Job(jobqueue.SLURMJob):
            async def _submit_job(self, script: str) -> str:
                try:
                    return await super()._submit_job(script)
                except RuntimeError as error:
                    refused.append(str(error).strip().splitlines()[-1])
                    self.status = failed  # or closing the cluster trips over it
                    raise

        try:
            return jobqueue.SLURMCluster(
                job_cls=Job,
                silence_logs=logging.CRITICAL + 1,
                scheduler_options={"dashboard": False, "dashboard_address": ":0"},
                **_slurm(slurm, self.settings),
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"the scheduler for SLURM's jobs does not start ({_first_line(error)}); mend the engine's file."
            ) from None

    def _kubernetes_cluster(self, kubernetes: Kubernetes) -> object:
        """Have Dask's operator start a scheduler and workers."""
        manifest = _manifest(kubernetes, self.settings)
        KubeCluster = needs("dask_kubernetes.operator", "dask-kubernetes").KubeCluster
        try:
            return KubeCluster(custom_cluster_spec=manifest, namespace=kubernetes.namespace, quiet=True)
        except Exception as error:
            for half in KubeCluster._instances:
                with suppress(Exception):
                    half.close(timeout=10)
                half.shutdown_on_close = False  # or it is tried again when Python ends
            raise InputError(
                f"Kubernetes does not start the cluster {kubernetes.name} ({_first_line(error)}); see that kubectl "
                "works here, that Dask's operator is installed and that the namespace exists."
            ) from None

    def _ask(self, question: Callable, *args: object, **kwargs: object) -> object:
        """Ask the scheduler; one that is gone is the user's matter."""
        lost = self.distributed.CancelledError, self.distributed.client.ClosedClientError, OSError
        try:
            return question(*args, **kwargs)
        except lost:
            raise self._gone() from None

    def _gone(self) -> InputError:
        return InputError(f"the Dask scheduler at {self.address} is gone; {KEPT} when it is up again.")

    @property
    def count(self) -> int:
        """Workers now."""
        return len(self._ask(self.client.nthreads))

    def _alike(self, threads: dict[str, int]) -> None:
        """Refuse workers of several threads, or of another Python or gexlib."""
        if wrong := [worker for worker, n in threads.items() if n != 1]:
            raise InputError(
                f"the Dask worker {wrong[0]} has {threads[wrong[0]]} threads, and tasks need one of their own; "
                f"start the workers with --nthreads 1 (and --nworkers for several)."
            )
        versions = self._ask(self.client.get_versions, packages=["gexlib"])
        here = _version(versions["client"])
        for who, there in {"scheduler": versions["scheduler"], **versions["workers"]}.items():
            if there and _version(there) != here:
                raise InputError(
                    f"the Dask {who if who == 'scheduler' else f'worker {who}'} has {_version(there)} and this process "
                    f"has {here}; start it from the same environment."
                )

    def _begin(self) -> None:
        self.ready = False
        self.ended = self.distributed.as_completed(loop=self.client.loop, with_results=True, raise_errors=False)

    def _submit(self, function: Callable, task: object) -> object:
        future = self._ask(self.client.submit, _run, self.settings, function, task, pure=False, retries=0)
        self.ended.add(future)
        return future

    def _next(self) -> tuple[object, object]:
        if not self.ready:
            self._wait()
        future, result = next(self.ended)
        if future.status == "error":
            if isinstance(result[1], self.distributed.scheduler.KilledWorker):
                return future, WorkerLost("a worker process was killed")
            raise result[1].with_traceback(result[2])
        if isinstance(result, self.distributed.CancelledError):
            raise self._gone()
        return future, result

    def _wait(self) -> None:
        """Wait for the first worker, which may start only now that there are tasks."""
        begun = time.monotonic()
        while not (threads := self._ask(self.client.nthreads)):
            waited = time.monotonic() - begun
            if self.refused:
                raise InputError(f"SLURM does not take the job ({self.refused[-1]}); mend the engine's file.")
            if self.patience is not None and waited > self.patience:
                raise InputError(
                    f"no worker came to the Dask scheduler at {self.address} in {waited:.0f} s; start some."
                )
            if self.patience is None and waited > 5 and not self.told:
                print("gexlib: waiting for SLURM to start a job, as long as its queue takes.", file=sys.stderr)
                self.told = True
            time.sleep(0.1)
        self._alike(threads)
        self.ready, self.window = True, max(self.window, 4 * len(threads))

    def _end(self, flying: list) -> None:
        if flying and self.client.status == "running":
            with suppress(OSError, self.distributed.CancelledError):
                self.client.cancel(flying, force=True)

    def close(self, kill: bool = False) -> None:
        """Leave the scheduler, and end what is ours."""
        for part in (self.client, self.cluster):
            with suppress(OSError, self.distributed.CancelledError):
                if part:
                    part.close()


def _run(settings: dict[str, str], function: Callable, task: object) -> object:
    """Run a task with these environment variables, in a process that may have others."""
    before = {name: os.environ[name] for name in settings if name in os.environ}
    os.environ.update(settings)
    try:
        return function(task)
    finally:
        for name in settings.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)


def _version(information: dict) -> str:
    """Python, gexlib and distributed of a process, in words."""
    host, packages = information["host"], information["packages"]
    python = ".".join(host["python"].split(".")[:2])
    return f"Python {python}, gexlib {packages['gexlib']}, distributed {packages['distributed']}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
