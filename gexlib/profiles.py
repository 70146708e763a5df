"""Profiles: named sets of parameters, one YAML file each, one block a section."""

from __future__ import annotations

import re
from dataclasses import asdict

import yaml

from gexlib.errors import InputError
from gexlib.experiments import SECTIONS, Section
from gexlib.files import project_root


class _Loader(yaml.SafeLoader):
    """YAML whose numbers may be written 1e-3; version 1.1, which PyYAML reads, takes that for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


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
        blocks = yaml.load(path.read_text(), _Loader)
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
            found[name.strip()] = yaml.load(value, _Loader)
        except yaml.YAMLError:
            raise InputError(f"-p {text}: '{value}' cannot be read; write a number, a word or a [list].") from None
    return found


def parameters(section: Section, profile: str, changes: dict) -> dict:
    """All parameters of a section: those of the profile, else the defaults, changed by the user's and checked.

    Raises
    ------
    InputError
        The profile has no block for the section, or a name or type is wrong.
    """
    from gexlib.experiments.base import check

    blocks = load(profile)
    if section.name not in blocks:
        raise InputError(
            f"profile {profile} has no block {section.name}: add one, or name the sections to run, such as "
            f"{min(blocks, default='data')}."
        )
    return asdict(check(section.module.Parameters, {**blocks[section.name], **changes}, section.name))
