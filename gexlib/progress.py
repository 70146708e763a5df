"""How far a run is: a bar on a terminal, lines of JSON in a file, both read from the store."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from gexlib import provenance
from gexlib.errors import InputError
from gexlib.files import writing
from gexlib.results import Cell
from gexlib.store import DONE, Store

INTERVAL = 10.0  # seconds between two lines of the log


class Progress:
    """Follow the cells that a run computes, whichever process or machine writes them.

    Parameters
    ----------
    name : str
        Of the section.
    store, fingerprint
        Where the cells are written, and by which code.
    wanted : list of Cell
        To be computed.
    cells : int
        All that were asked for; those that are not wanted are done already.
    quiet : bool
        No bar. There is none either where standard error is no terminal.
    log : Path, optional
        A file that lines of JSON are added to: event (begin, progress, end), time, section, cells, done, failed,
        networks, and from the rate of this run cells a minute and seconds left.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        fingerprint: str,
        wanted: list[Cell],
        cells: int,
        quiet: bool = False,
        log: Path | None = None,
    ):
        self.name, self.store, self.fingerprint, self.log = name, store, fingerprint, log
        self._pending = set(wanted)
        self._cells, self._kept = cells, cells - len(self._pending)
        self._done = self._failed = self._networks = 0
        self._begun = self._logged = time.time()
        self._over = threading.Event()
        self._before = {cell: store.entry(cell, fingerprint) for cell in wanted}
        self._bar = tqdm(
            total=cells, initial=self._kept, desc=name, unit="cell", file=sys.stderr, smoothing=0.05,
            dynamic_ncols=True, disable=quiet or not sys.stderr.isatty(),
        )  # fmt: skip
        self._watch = threading.Thread(target=self._follow, daemon=True, name="gexlib-progress")

    def __enter__(self) -> Progress:  # noqa: D105
        self._write("begin")
        self._watch.start()
        return self

    def __exit__(self, *_) -> None:  # noqa: D105
        self._over.set()
        self._watch.join()
        self._look()
        self._bar.close()
        self._write("end")

    def _follow(self) -> None:
        cost = 0.0
        while not self._over.wait(max(0.5, 20 * cost)):
            begun = time.perf_counter()
            with suppress(OSError, InputError):  # the run itself says what is wrong with the store
                self._look()
                if time.time() - self._logged >= INTERVAL:
                    self._write("progress")
            cost = time.perf_counter() - begun

    def _look(self) -> None:
        """Count what has come since."""
        if self._pending:
            self.store.refresh(next(iter(self._pending)).experiment)
        new = [
            (cell, entry)
            for cell in self._pending
            if (entry := self.store.entry(cell, self.fingerprint)) and entry != self._before[cell]
        ]
        for cell, entry in new:
            self._pending.discard(cell)
            self._done += entry.state == DONE
            self._failed += entry.state != DONE
            self._networks += entry.networks
        self._bar.set_postfix_str(
            f"{self._networks:,} networks" + f", {self._failed:,} failed" * bool(self._failed), refresh=False
        )
        self._bar.update(len(new))

    def _write(self, event: str) -> None:
        if self.log is None:
            return
        self._logged = now = time.time()
        rate = (self._done + self._failed) / max(now - self._begun, 1e-9)
        line = {
            "time": provenance.now(), "event": event, "section": self.name, "cells": self._cells,
            "done": self._kept + self._done, "failed": self._failed, "networks": self._networks,
            "cells_per_minute": round(60 * rate, 2),
            "seconds_left": round(len(self._pending) / rate) if rate else None,
        }  # fmt: skip
        with writing(self.log.parent), open(self.log, "a") as file:
            file.write(json.dumps(line) + "\n")
