import errno
import gzip
import hashlib
import shutil
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest

from gexlib import cohorts
from gexlib.cohorts import fetch, store
from gexlib.errors import InputError

FILES = {f"{letter}.txt": gzip.compress(letter.encode() * 50_000, mtime=0) for letter in "ABC"}
PAGE = b"\n<!DOCTYPE html><html><body>Sign in to the network</body></html>"


class Handler(SimpleHTTPRequestHandler):
    """Serve a folder; ``server.answers`` holds other behaviour by path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path)
        if answer:
            answer(self)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


def send(body, status=200, length=None):
    """Return an answer with this body, whatever length it announces."""

    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(length or len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves a folder on this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        server.answers, server.asked = {}, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def public(tmp_path, monkeypatch, serve):
    """Put a cohort `letters` of three files on a public server of its own."""
    for file, body in FILES.items():
        (tmp_path / "public" / "letters").mkdir(parents=True, exist_ok=True)
        (tmp_path / "public" / "letters" / file).write_bytes(body)
    server = serve(tmp_path / "public")
    digests = {file: hashlib.sha256(body).hexdigest() for file, body in FILES.items()}
    monkeypatch.setitem(fetch.SOURCES, "letters", fetch.Source(f"{server.url}/letters/", digests))
    monkeypatch.delenv("GEXLIB_DATA", raising=False)
    monkeypatch.setattr(fetch, "RETRIES", 0)
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


def test_an_interrupted_download_leaves_nothing(home, public, monkeypatch):
    def interrupted(self, url, target, store):
        with open(target, "wb") as file:
            file.write(FILES["A.txt"][:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("letters")
    assert cache(home) == []


def test_a_passing_trouble_is_tried_again(home, public, monkeypatch):
    def busy_once(handler):
        del public.answers["/letters/A.txt"]
        send(b"busy", 503)(handler)

    public.answers["/letters/A.txt"] = busy_once
    failure(home, f"{public.url}/letters/A.txt", "HTTP status 503")
    public.answers["/letters/A.txt"] = busy_once
    monkeypatch.setattr(fetch, "RETRIES", 1)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    assert len(fetch.fetch("letters").paths) == 3


def test_a_refused_connection(home, public, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    digests = fetch.SOURCES["letters"].files
    monkeypatch.setitem(fetch.SOURCES, "letters", fetch.Source(f"{url}/letters/", digests))
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
    def full(self, url, target, store):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    with pytest.raises(InputError, match=f"cannot write to {home}.*No space left.*GEXLIB_HOME"):
        fetch.fetch("letters")
    assert cache(home) == []


def test_a_home_that_cannot_be_written_to(home, public, monkeypatch):
    home.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=f"cannot write to {home}.*GEXLIB_HOME"):
        fetch.fetch("letters")
    home.unlink()

    def closed(*_):
        raise PermissionError("pooch says this without an error number")

    monkeypatch.setattr("pooch.core.make_local_storage", closed)
    with pytest.raises(InputError, match=f"cannot write to {home}.*Permission denied"):
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
