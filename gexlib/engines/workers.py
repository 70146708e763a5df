"""Workers that run tasks, and those on this machine."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import resource_tracker
from queue import SimpleQueue

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import TerminatedWorkerError

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class WorkerLost(Exception):
    """A worker process died while it had this task (killed, out of memory, node gone)."""


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


class Pool(Workers):
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
            with deaf():  # it starts processes
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
        single = Pool(1, self.settings)
        try:
            return Workers.alone(single, function, task)
        finally:
            single.close(kill=True)


class Here(Pool):
    """No process but this one, except for a task alone."""

    def __init__(self, count: int, settings: dict[str, str]) -> None:
        super().__init__(count, settings)
        self.words = "this process"

    def run(self, function: Callable, tasks: Sequence) -> Iterator[tuple[int, object]]:
        """As in `Workers`."""
        return ((index, run_with(self.settings, function, task)) for index, task in enumerate(tasks))


@contextmanager
def quiet() -> Iterator[None]:
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
def deaf() -> Iterator[None]:
    """Have processes that are started meanwhile not hear Ctrl-C, which is for the one that ends them."""
    resource_tracker.ensure_running()  # first, as its own start lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_with(settings: dict[str, str], function: Callable, task: object) -> object:
    """Run a task with these environment variables, in a process that may have others."""
    before = {name: os.environ[name] for name in settings if name in os.environ}
    os.environ.update(settings)
    try:
        return function(task)
    finally:
        for name in settings.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)
