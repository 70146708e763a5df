"""Where work runs: processes of this machine, a Dask cluster that is up, or one started on SLURM or Kubernetes.

An engine is a small YAML file (examples in ``engines/``). Each runs module-level functions on small arguments, in
workers of one thread, and gives the same results; only what is fastest differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gexlib.engines.clusters import Cluster, dry_run, needs
from gexlib.engines.files import Dask, Engine, Kubernetes, Local, Loky, Slurm, local, read, seconds
from gexlib.engines.workers import Here, Pool, WorkerLost, Workers, quiet

__all__ = [
    "Dask", "Engine", "Kubernetes", "Local", "Loky", "Slurm", "WorkerLost", "Workers", "dry_run", "local", "opened",
    "read", "seconds",
]  # fmt: skip


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
    with quiet():
        if engine.dask:
            workers = Cluster(engine.dask, settings)
        else:
            workers = (Pool if engine.loky.workers > 1 else Here)(engine.loky.workers, settings)
        try:
            yield workers
        except BaseException:
            workers.close(kill=True)
            raise
        workers.close()
