"""Every public source over a network that fails, on a server of this machine."""

from email.utils import formatdate

import pytest

from gexlib import cohorts
from gexlib.cohorts import microarray
from gexlib.errors import InputError
from tests.cohorts.conftest import PAGE, send
from tests.cohorts.test_damage import PARSERS


@pytest.fixture(params=PARSERS)
def source(request, home, serve, tmp_path, monkeypatch):
    """Serve a source's files; return the server, how to fetch, and the path and content of its largest file."""
    monkeypatch.setattr(microarray, "MORE_THAN", 10)
    name, how, folders = PARSERS[request.param]
    for folder, files in folders.items():
        (tmp_path / "public" / folder).mkdir(parents=True)
        for file, content in files.items():
            (tmp_path / "public" / folder / file).write_bytes(content)
    server = serve(tmp_path / "public")
    monkeypatch.setenv("GEXLIB_DATA", server.url)
    folder = next(iter(folders))
    file = max(folders[folder], key=lambda file: len(folders[folder][file]))
    content = folders[folder][file]
    stamp = formatdate(int((tmp_path / "public" / folder / file).stat().st_mtime), usegmt=True)
    return server, lambda: cohorts.fetch_cohort(name, **how), f"/{folder}/{file}", content, stamp


def breaks_off(server, path, content, stamp, once=True):
    def answer(handler):
        if once:
            del server.answers[path]
        send(content[: len(content) // 2], length=len(content), Last_Modified=stamp)(handler)

    server.answers[path] = answer


def test_a_dropped_connection_goes_on(source):
    server, fetch, path, content, stamp = source
    expected = fetch().uns["digest"]
    for file in (cohorts.fetch.home() / "downloads").glob("*/*"):
        file.unlink()
    breaks_off(server, path, content, stamp)
    assert fetch().uns["digest"] == expected and server.parts == [len(content) // 2]


def test_a_server_without_ranges_sends_all_again(source):
    server, fetch, path, content, stamp = source
    server.ranges = False
    breaks_off(server, path, content, stamp)
    assert fetch().n_obs and server.parts == [] and server.asked.count(path) == 2


def test_what_never_comes_whole(source):
    server, fetch, path, content, _ = source
    breaks_off(server, path, content, "", once=False)
    with pytest.raises(InputError, match=f"{path} could not be fetched, .* broke off half-way; try again"):
        fetch()
    server.answers[path] = send(PAGE)
    with pytest.raises(InputError, match=f"{path} could not be fetched, what came back was: an HTML page"):
        fetch()
    server.answers[path] = send(content[: len(content) // 2])  # cut off, and says that this is all
    with pytest.raises(InputError):
        fetch()
    assert cohorts.store.stored() == []


def test_another_file_than_before(source):
    server, fetch, path, content, _ = source
    fetch()
    folder, file = path.strip("/").split("/")
    (cohorts.fetch.home() / "downloads" / folder / file).unlink()
    server.answers[path] = send(content + b"\n")
    with pytest.raises(InputError, match=f"{path} .* another SHA-256 than the one whose digest was recorded"):
        fetch()
    del server.answers[path]
    assert fetch().n_obs
