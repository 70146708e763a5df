"""Stress tests, run by `make stress`, and the summary that it leaves in tests/STRESS.md."""

import os
from pathlib import Path

from gexlib import provenance

#: Node id of each test: what it does, in words; and its result: seconds, outcome, what was measured.
_words: dict[str, str] = {}
_results: dict[str, dict] = {}


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            words = " ".join((item.function.__doc__ or item.name).split())
            _words[item.nodeid] = f"{words} [{item.callspec.id}]" if hasattr(item, "callspec") else words


def pytest_runtest_logreport(report):
    if report.nodeid not in _words:
        return
    kept = _results.setdefault(report.nodeid, {"seconds": 0.0, "outcome": "passed", "measured": {}})
    kept["seconds"] += report.duration
    kept["measured"] |= dict(report.user_properties)
    if report.failed:
        kept["outcome"] = "**failed**"
    elif report.skipped:
        kept["outcome"] = f"skipped: {report.longrepr[2].removeprefix('Skipped: ')}"
    if report.when == "teardown":
        _write()


def _write():
    """Write the summary where STRESS_REPORT names a file, as `make stress` does; what comes may kill this process."""
    target = os.environ.get("STRESS_REPORT")
    if not target:
        return
    host, (revision, dirty) = provenance.host(), provenance.commit()
    lines = [
        "# Stress tests",
        "",
        "Written by `make stress`; long and heavy tests, not part of `make test`.",
        "",
        f"Last run on {provenance.now()[:10]}: {host['cores']} cores, {host['memory_gib']:.0f} GiB, {host['machine']}; "
        f"commit {revision}{' with changes' if dirty else ''}; {provenance.versions()}.",
        "",
        "| test | result | seconds | measured |",
        "|---|---|---:|---|",
    ]
    for nodeid, kept in _results.items():
        measured = "; ".join(f"{name} {value}" for name, value in kept["measured"].items())
        lines.append(f"| {_words[nodeid]} | {kept['outcome']} | {kept['seconds']:.0f} | {measured} |")
    Path(target).write_text("\n".join(lines) + "\n")
