"""Profiles: named sets of parameters, one YAML file each, one block a section."""

from __future__ import annotations

import yaml

from gexlib.errors import InputError
from gexlib.experiments import SECTIONS, Section
from gexlib.files import project_root


def names() -> list[str]:
    """Names of the profiles at hand."""
    return sorted(path.stem for path in (project_root() / "profiles").glob("*.yml"))


def load(name: str) -> dict[str, dict]:
    """Read a profile: parameters by section name.

    Raises
    ------
    InputError
        No profile of that name, or a file that is not one block of parameters a section.
    """
    path = project_root() / "profiles" / f"{name}.yml"
    if name not in names():
        raise InputError(f"profile '{name}' is not known: use one of {', '.join(names())}.")
    try:
        blocks = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {str(error).splitlines()[0]}; mend or restore it.") from None
    if not isinstance(blocks, dict) or not all(isinstance(block, dict) for block in blocks.values()):
        raise InputError(f"{path} should hold one block of parameters for each section.")
    unknown = set(blocks) - set(SECTIONS)
    if unknown:
        raise InputError(f"{path}: section '{min(unknown)}' is not known; use {', '.join(SECTIONS)}.")
    return blocks


def overrides(texts: list[str]) -> dict:
    """Read ``name=value`` texts; values are YAML, so ``targets=[BRCA]`` is a list and ``n=8`` a number."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputError(f"-p {text}: write name=value, for example -p n=[8,16].")
        try:
            found[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"-p {text}: '{value}' cannot be read; write a number, a word or a [list].") from None
    return found


def parameters(section: Section, profile: str, changes: dict) -> dict:
    """Parameters of a section: those of the profile, changed by the user's, names and types checked."""
    from gexlib.experiments.base import check

    values = {**load(profile).get(section.name, {}), **changes}
    check(section.module.Parameters, values, f"{section.name}")
    return values
