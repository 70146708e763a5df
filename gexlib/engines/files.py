"""What a file about an engine may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import yaml
from joblib.externals.loky import cpu_count
from pydantic import BaseModel, Field, ValidationError, model_validator

from gexlib.errors import InputError


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
