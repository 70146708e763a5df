import errno
import gzip
import hashlib
import json
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from types import SimpleNamespace

import pytest
import requests

from gexlib import cohorts
from gexlib.cohorts import fetch, store
from gexlib.errors import InputError
from gexlib.files import sha256
from tests.cohorts.conftest import PAGE, send

FILES = {f"{letter}.txt": gzip.compress(letter.encode() * 50_000, mtime=0) for letter in "ABC"}


@pytest.fixture
def public(tmp_path, monkeypatch, serve):
    """Put a cohort `letters` of three files on a public server of its own."""
    for file, body in FILES.items():
        (tmp_path / "public" / "letters").mkdir(parents=True, exist_ok=True)
        (tmp_path / "public" / "letters" / file).write_bytes(body)
    server = serve(tmp_path / "public")
    server.folder = tmp_path / "public" / "letters"
    digests = {file: hashlib.sha256(body).hexdigest() for file, body in FILES.items()}
    monkeypatch.setitem(fetch.SOURCES, "letters", fetch.Source((f"{server.url}/letters/",), digests))
    monkeypatch.delenv("GEXLIB_DATA", raising=False)
    return server


@pytest.fixture
def mirror(tmp_path, monkeypatch, public, serve):
    """Put the same files on a mirror that GEXLIB_DATA names; the public server then must not be asked."""
    shutil.copytree(tmp_path / "public", tmp_path / "mirror")
    server = serve(tmp_path / "mirror")
    server.folder = tmp_path / "mirror" / "letters"
    monkeypatch.setenv("GEXLIB_DATA", f"{server.url}/")
    yield server
    assert public.asked == []


def cache(home):
    """Return what lies in the download folder."""
    folder = home / "downloads" / "letters"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def failure(home, url, *words):
    with pytest.raises(InputError) as caught:
        fetch.fetch("letters")
    message = str(caught.value)
    for word in (url, *words, "by hand", str(home / "downloads" / "letters")):
        assert word in message
    assert "\n" not in message


def test_public_files_are_downloaded_once(home, public, capsys):
    got = fetch.fetch("letters")
    assert [path.name for path in got.paths] == list(FILES) and got.missing == ()
    assert [path.read_bytes() for path in got.paths] == list(FILES.values())
    assert cache(home) == list(FILES)
    assert len(public.asked) == 3
    assert fetch.fetch("letters") == got
    assert len(public.asked) == 3
    assert capsys.readouterr() == ("", "")  # no bar and no log where nobody watches


def test_a_bar_shows_on_a_terminal(home, public, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fetch.fetch("letters")
    assert "100%" in capsys.readouterr().err


def test_an_altered_download_is_fetched_again(home, public):
    path = fetch.fetch("letters").paths[1]
    path.write_bytes(b"altered")
    assert fetch.fetch("letters").paths[1].read_bytes() == FILES["B.txt"]
    assert len(public.asked) == 4


def test_only_some(home, public):
    assert [path.name for path in fetch.fetch("letters", only=["C", "A.txt"]).paths] == ["A.txt", "C.txt"]
    assert [path.name for path in fetch.fetch("letters", only="B").paths] == ["B.txt"]
    with pytest.raises(InputError, match="no file D, E.txt: choose from A, B, C"):
        fetch.fetch("letters", only=["E.txt", "A", "D"])
    with pytest.raises(InputError, match="empty list"):
        fetch.fetch("letters", only=[])


def test_an_unknown_cohort(home):
    with pytest.raises(InputError, match="no cohort numbers to fetch: there is tcga-pairs"):
        fetch.fetch("numbers")


def test_absent_from_the_public_source_is_an_error(home, public):
    public.answers["/letters/B.txt"] = send(b"gone", 404)
    failure(home, f"{public.url}/letters/B.txt", "HTTP status 404")
    assert cache(home) == ["A.txt"]


def test_absent_from_a_mirror_is_missing(home, mirror):
    (mirror.folder / "B.txt").unlink()
    got = fetch.fetch("letters")
    assert [path.name for path in got.paths] == ["A.txt", "C.txt"] and got.missing == ("B.txt",)


def test_a_mirror_without_any_is_an_error(home, mirror):
    shutil.rmtree(mirror.folder)
    with pytest.raises(InputError, match=f"none of A.txt, B.txt, C.txt at {mirror.url}/letters/.*GEXLIB_DATA"):
        fetch.fetch("letters")
    assert cache(home) == []


def test_a_refusal_is_not_taken_for_absence(home, mirror):
    mirror.answers["/letters/A.txt"] = send(b"no", 403)
    failure(home, f"{mirror.url}/letters/A.txt", "HTTP status 403")


def test_a_page_instead_of_the_file(home, mirror):
    mirror.answers["/letters/A.txt"] = send(PAGE)
    failure(home, f"{mirror.url}/letters/A.txt", "an HTML page")
    assert cache(home) == []


def test_a_wrong_file(home, mirror):
    (mirror.folder / "A.txt").write_bytes(FILES["B.txt"])
    failure(home, f"{mirror.url}/letters/A.txt", "another SHA-256")
    assert cache(home) == []


def test_a_truncated_file(home, mirror):
    half = FILES["A.txt"][: len(FILES["A.txt"]) // 2]
    mirror.answers["/letters/A.txt"] = send(half, length=len(FILES["A.txt"]))
    failure(home, f"{mirror.url}/letters/A.txt", "broke off half-way")
    mirror.answers["/letters/A.txt"] = send(half)  # and one that does not say how long it should be
    failure(home, f"{mirror.url}/letters/A.txt", "another SHA-256")
    assert cache(home) == []


def breaking_off(at, **headers):
    """Return an answer that announces all of A.txt and ends after so many bytes."""
    return send(FILES["A.txt"][:at], length=len(FILES["A.txt"]), **headers)


def stamp(server):
    """Return the date that the server gives A.txt."""
    return formatdate(int((server.folder / "A.txt").stat().st_mtime), usegmt=True)


def breaks_off_once(server, at=30, **headers):
    """Let the next answer end early, those after it be whole."""

    def answer(handler):
        del server.answers["/letters/A.txt"]
        breaking_off(at, **({"Last_Modified": stamp(server)} | headers))(handler)

    server.answers["/letters/A.txt"] = answer


def test_a_dropped_connection_goes_on_where_it_was(home, public):
    breaks_off_once(public)
    assert fetch.fetch("letters").paths[0].read_bytes() == FILES["A.txt"]
    assert public.parts == [30] and cache(home) == list(FILES)


def test_a_later_run_goes_on_where_an_earlier_one_was(home, public):
    breaks_off_once(public)
    again = public.answers["/letters/A.txt"]

    def broken(handler):
        again(handler)
        public.answers["/letters/A.txt"] = send(b"busy", 503)

    public.answers["/letters/A.txt"] = broken
    failure(home, f"{public.url}/letters/A.txt", "HTTP status 503")
    assert cache(home) == [".A.txt.part", ".A.txt.part.json"]
    del public.answers["/letters/A.txt"]
    assert fetch.fetch("letters").paths[0].read_bytes() == FILES["A.txt"]
    assert public.parts == [30] and cache(home) == list(FILES)


@pytest.mark.parametrize(
    "ranges, headers",
    [(False, {}), (True, {"Last_Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}), (True, {"Last_Modified": ""})],
    ids=["a server without ranges", "another file since", "no date"],
)
def test_what_cannot_be_continued_begins_anew(home, public, ranges, headers):
    public.ranges = ranges
    breaks_off_once(public, **headers)
    assert fetch.fetch("letters").paths[0].read_bytes() == FILES["A.txt"]
    assert public.parts == [] and cache(home) == list(FILES)


def test_a_part_that_is_longer_than_the_file(home, public):
    part = home / "downloads" / "letters" / ".A.txt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(10_000))
    said = {"url": f"{public.url}/letters/A.txt", "validator": stamp(public)}
    part.with_name(part.name + ".json").write_text(json.dumps(said))
    failure(home, f"{public.url}/letters/A.txt", "HTTP status 416")
    assert fetch.fetch("letters").paths[0].read_bytes() == FILES["A.txt"] and cache(home) == list(FILES)


def test_an_interrupted_download_leaves_no_half_file(home, public, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_refuse_large", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("letters")
    assert not set(cache(home)) & set(FILES)


def test_a_passing_trouble_is_tried_again(home, public, monkeypatch):
    def busy_once(handler):
        del public.answers["/letters/A.txt"]
        send(b"busy", 503)(handler)

    public.answers["/letters/A.txt"] = busy_once
    failure(home, f"{public.url}/letters/A.txt", "HTTP status 503")
    public.answers["/letters/A.txt"] = busy_once
    monkeypatch.setattr(fetch, "RETRIES", 2)
    assert len(fetch.fetch("letters").paths) == 3


def test_a_file_too_large(home, public, monkeypatch):
    source = fetch.SOURCES["letters"]
    monkeypatch.setitem(fetch.SOURCES, "letters", fetch.Source(source.locations, source.files, limit=60))
    failure(home, f"{public.url}/letters/A.txt", "more than the 5.59e-08 GiB")

    def endless(handler):  # does not say how long it is
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(bytes(100))

    public.answers["/letters/A.txt"] = endless
    failure(home, f"{public.url}/letters/A.txt", "more than the 5.59e-08 GiB")
    assert cache(home) == []


def test_no_room_is_said_before_a_byte_comes(home, public, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(InputError, match="are needed, 0.0 GiB are free; free space"):
        fetch.fetch("letters")


@pytest.fixture
def open_source(public, monkeypatch):
    """The same files without published digests."""
    source = fetch.Source(fetch.SOURCES["letters"].locations, dict.fromkeys(FILES, ""))
    monkeypatch.setitem(fetch.SOURCES, "letters", source)
    return public


def test_digests_are_recorded_at_first_use_and_checked_afterwards(home, open_source):
    got = fetch.fetch("letters")
    noted = json.loads((home / "digests" / "letters.json").read_text())
    assert noted == got.origins and noted["A.txt"] == {
        "sha256": hashlib.sha256(FILES["A.txt"]).hexdigest(), "url": f"{open_source.url}/letters/A.txt",
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "last_modified": stamp(open_source),
    }  # fmt: skip
    assert fetch.fetch("letters") == got and len(open_source.asked) == 3
    fetch.confirm("letters", got)
    (open_source.folder / "A.txt").write_bytes(FILES["B.txt"])
    assert fetch.at_hand("letters") == got and fetch.fetch("letters").origins["A.txt"]["url"]
    got.paths[0].unlink()
    failure(home, "/letters/A.txt", "another SHA-256 than the one whose digest was recorded", "digests/letters.json")
    (home / "digests" / "letters.json").unlink()
    assert fetch.fetch("letters").paths[0].read_bytes() == FILES["B.txt"]


def test_a_file_that_could_not_be_used_may_be_replaced(home, open_source):
    (open_source.folder / "A.txt").write_bytes(b"cut off")
    fetch.fetch("letters").paths[0].unlink()  # as the reader's message asks
    (open_source.folder / "A.txt").write_bytes(FILES["A.txt"])
    assert fetch.fetch("letters").paths[0].read_bytes() == FILES["A.txt"]


def test_the_digests_of_a_folder_are_recorded_too(home, open_source, monkeypatch):
    monkeypatch.setenv("GEXLIB_DATA", str(open_source.folder.parent))
    got = fetch.fetch("letters")
    assert got.origins["A.txt"]["sha256"] == sha256(got.paths[0])
    fetch.confirm("letters", got)
    (open_source.folder / "A.txt").write_bytes(FILES["B.txt"])
    with pytest.raises(InputError, match="A.txt is another file .* than the one whose digest was recorded"):
        fetch.fetch("letters")


def test_damaged_records_of_digests(home, open_source):
    fetch.fetch("letters")
    for content in (b"{", b"[1]", b'{"A.txt": 1}', b"\xff"):
        (home / "digests" / "letters.json").write_bytes(content)
        with pytest.raises(InputError, match="digests/letters.json is damaged"):
            fetch.fetch("letters")


def test_a_file_put_there_by_hand(home, open_source):
    target = home / "downloads" / "letters" / "A.txt"
    target.parent.mkdir(parents=True)
    target.write_bytes(PAGE)
    with pytest.raises(InputError, match="A.txt is an HTML page: delete it"):
        fetch.fetch("letters")
    target.write_bytes(FILES["A.txt"])
    assert fetch.fetch("letters").origins["A.txt"]["path"] == str(target)
    assert "/letters/A.txt" not in open_source.asked


def test_locations_are_asked_in_order(home, public, tmp_path, serve, monkeypatch):
    first = serve(tmp_path)
    locations = (f"{first.url}/gone/", f"{public.url}/letters/")
    monkeypatch.setitem(fetch.SOURCES, "letters", fetch.Source(locations, fetch.SOURCES["letters"].files))
    assert len(fetch.fetch("letters").paths) == 3 and first.asked == [f"/gone/{file}" for file in FILES]
    shutil.rmtree(home)
    public.answers["/letters/A.txt"] = send(PAGE)
    failure(home, f"{first.url}/gone/A.txt", "HTTP status 404; ", f"{public.url}/letters/A.txt", "an HTML page")


def test_a_file_of_another_kind(home, serve, tmp_path, monkeypatch):
    monkeypatch.delenv("GEXLIB_DATA", raising=False)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "X.npz").write_bytes(b"no archive")
    server = serve(tmp_path / "served")
    source = fetch.Source((f"{server.url}/",), {"X.npz": ""})
    with pytest.raises(InputError, match="X.npz could not be fetched, what came back was: no .npz file instead"):
        fetch.fetch("arrays", source=source)
    assert list((home / "downloads" / "arrays").iterdir()) == []


def test_what_is_optional_may_be_absent(home, public):
    source = fetch.Source(fetch.SOURCES["letters"].locations, {"A.txt": "", "Z.txt": ""}, optional=("Z.txt",))
    got = fetch.fetch("letters", source=source)
    assert [path.name for path in got.paths] == ["A.txt"] and got.missing == ("Z.txt",)
    assert got.path("A.txt") == got.paths[0] and got.path("Z.txt") is None


def test_many_fetch_one_file_at_once(home, open_source):
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: fetch.fetch("letters"), range(8)))
    assert all(one == got[0] for one in got) and sorted(open_source.asked) == [f"/letters/{file}" for file in FILES]
    assert cache(home) == list(FILES)


def test_encryption_is_not_given_up(home, public, monkeypatch):
    """A server of a secure address that sends elsewhere without encryption."""
    asked = public.url.replace("http://", "https://")
    get_plain = requests.Session.get

    def get(self, url, **how):
        return get_plain(self, url.replace("https://", "http://"), **how)

    monkeypatch.setattr("requests.Session.get", get)
    monkeypatch.setitem(fetch.SOURCES, "letters", fetch.Source((f"{asked}/letters/",), fetch.SOURCES["letters"].files))
    failure(home, f"{asked}/letters/A.txt", "a redirection to http://127.0.0.1", "not encrypted")


def test_a_refused_connection(home, public, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    digests = fetch.SOURCES["letters"].files
    monkeypatch.setitem(fetch.SOURCES, "letters", fetch.Source((f"{url}/letters/",), digests))
    failure(home, f"{url}/letters/A.txt", "connection refused")
    monkeypatch.setenv("GEXLIB_DATA", url)  # a mirror that is down is not one without files
    failure(home, f"{url}/letters/A.txt", "connection refused")


def test_a_host_that_does_not_exist(home, public, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("GEXLIB_DATA", "http://mirror.invalid")
    monkeypatch.setenv("no_proxy", "*")
    failure(home, "http://mirror.invalid/letters/A.txt", "no such host")


def test_a_silent_host(home, public, monkeypatch):
    let_go = threading.Event()
    public.answers["/letters/A.txt"] = lambda handler: let_go.wait(10)
    monkeypatch.setattr(fetch, "TIMEOUT", 0.1)
    failure(home, f"{public.url}/letters/A.txt", "no answer within 0.1 seconds")
    let_go.set()


def test_a_full_disk_is_not_a_network_error(home, public, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_refuse_large", full)
    with pytest.raises(InputError, match=f"cannot write to {home}.*No space left.*GEXLIB_HOME"):
        fetch.fetch("letters")


def test_a_home_that_cannot_be_written_to(home, public):
    home.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=f"cannot write to {home}.*GEXLIB_HOME"):
        fetch.fetch("letters")


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_folder_is_used_where_it_lies(home, public, tmp_path, monkeypatch, prefix):
    folder = tmp_path / "with space" / "letters"
    shutil.copytree(tmp_path / "public" / "letters", folder)
    (folder / "C.txt").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    given = str(folder.parent)
    monkeypatch.setenv("GEXLIB_DATA", folder.parent.as_uri() if prefix else given)
    got = fetch.fetch("letters")
    assert got.paths == (folder / "A.txt", folder / "B.txt") and got.missing == ("C.txt",)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert public.asked == [] and cache(home) == []
    assert fetch.at_hand("letters") == got


def test_a_folder_with_the_wrong_files(home, public, tmp_path, monkeypatch):
    folder = tmp_path / "public" / "letters"
    monkeypatch.setenv("GEXLIB_DATA", str(folder.parent))
    (folder / "B.txt").write_bytes(b"other")
    with pytest.raises(InputError, match=rf"{folder}/B.txt is another file \(5 bytes\).*{public.url}/letters/B"):
        fetch.fetch("letters")
    (folder / "B.txt").write_bytes(PAGE)  # what a browser saves when it is not let in
    with pytest.raises(InputError, match=f"{folder}/B.txt is an HTML page"):
        fetch.fetch("letters")
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=f"none of A.txt, B.txt, C.txt at {folder}"):
        fetch.fetch("letters")
    assert fetch.at_hand("letters") is None


@pytest.mark.parametrize("given", ["/no/such/folder", "s3://bucket"])
def test_a_place_that_is_none(home, public, monkeypatch, given):
    monkeypatch.setenv("GEXLIB_DATA", given)
    with pytest.raises(InputError, match=f"GEXLIB_DATA={given} is neither a folder"):
        fetch.fetch("letters")


def test_only_a_complete_set_of_downloads_is_at_hand(home, public):
    assert fetch.at_hand("letters") is None
    fetch.fetch("letters", only=["A", "B"])
    assert fetch.at_hand("letters") is None
    got = fetch.fetch("letters")
    asked = len(public.asked)
    assert fetch.at_hand("letters") == got and len(public.asked) == asked
    got.paths[0].write_bytes(b"altered")
    assert fetch.at_hand("letters") is None


def test_what_is_simulated_is_not_fetched(home):
    with pytest.raises(InputError, match="nothing is fetched"):
        cohorts.fetch_cohort("simulated-tcga:smoke")


def test_tcga_pairs_from_a_mirror_and_from_a_folder_agree(home, serve, real_data, monkeypatch):
    server = serve(real_data)
    monkeypatch.setenv("GEXLIB_DATA", server.url)
    with pytest.raises(InputError, match="run `gexlib fetch tcga-pairs`"):
        cohorts.open_cohort("tcga-pairs")
    fetched = cohorts.fetch_cohort("tcga-pairs")
    present = sorted(path.name for path in (real_data / "tcga-pairs").glob("*.RData"))
    assert sorted(path.name for path in (home / "downloads" / "tcga-pairs").iterdir()) == present
    digest = fetched.uns["digest"]
    server.shutdown()
    assert cohorts.open_cohort("tcga-pairs").uns["digest"] == digest  # from the store, without a network

    shutil.rmtree(store.folder_of("tcga-pairs"))
    monkeypatch.setenv("GEXLIB_DATA", str(real_data))
    assert cohorts.open_cohort("tcga-pairs").uns["digest"] == digest
