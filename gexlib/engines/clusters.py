"""Dask clusters: one on this machine, one that is up, jobs of SLURM, pods of Kubernetes."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml

from gexlib.engines.files import Adapt, Dask, Engine, Kubernetes, Slurm, seconds
from gexlib.engines.workers import ONE_THREAD, WorkerLost, Workers, deaf, run_with
from gexlib.errors import InputError

# Memory that the C library keeps is no reason to stop giving tasks to a worker; it is killed at 95 % all the same.
DASK = {f"distributed.worker.memory.{what}": False for what in ("target", "spill", "pause")} | {
    "distributed.scheduler.worker-saturation": 1.0,  # a worker that dies takes one task with it, not the next one too
}
PATIENCE = 300.0  # seconds that a cluster may take until its first worker is there; SLURM's queue has no such limit
KEPT = "what was done is kept, and the same command goes on from there"


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


class Cluster(Workers):
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
            with deaf():
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
        future = self._ask(self.client.submit, run_with, self.settings, function, task, pure=False, retries=0)
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


def _version(information: dict) -> str:
    """Python, gexlib and distributed of a process, in words."""
    host, packages = information["host"], information["packages"]
    python = ".".join(host["python"].split(".")[:2])
    return f"Python {python}, gexlib {packages['gexlib']}, distributed {packages['distributed']}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
