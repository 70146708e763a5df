"""A web server of this machine, well-behaved or not."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gexlib.cohorts import fetch, schema

PAGE = b"\n<!DOCTYPE html><html><body>Sign in to the network</body></html>"


@pytest.fixture(autouse=True)
def no_trial(monkeypatch):
    """Read .h5ad files without a trial in another process, which takes seconds; `test_schema` tests it."""
    monkeypatch.setattr(schema, "_trial", lambda path: None)


class Handler(SimpleHTTPRequestHandler):
    """Serve a folder, parts of files too; ``server.answers`` holds other behaviour by path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path)
        if answer:
            answer(self)
        elif self.server.ranges and "Range" in self.headers:
            self.part()
        else:
            super().do_GET()

    def part(self):
        file = self.translate_path(self.path)
        with open(file, "rb") as opened:
            body = opened.read()
        modified = self.date_time_string(int(os.stat(file).st_mtime))
        if self.headers.get("If-Range") not in (None, modified):
            return super().do_GET()
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.server.parts.append(start)
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Last-Modified", modified)
        self.end_headers()
        self.wfile.write(body[start:])

    def log_message(self, *_):
        pass


def send(body, status=200, length=None, **headers):
    """Return an answer with this body, whatever length it announces."""

    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(length or len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves a folder on this machine; no patience with failures."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "RETRIES", 1)
    monkeypatch.setattr(fetch, "PAUSE", 0)
    servers = []

    def start(folder, ranges=True):
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        server.answers, server.asked, server.parts, server.ranges = {}, [], [], ranges
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def put(home, tmp_path, monkeypatch):
    """Return a function that puts a cohort's files where GEXLIB_DATA points, as if they came for the first time."""
    monkeypatch.setenv("GEXLIB_DATA", str(tmp_path / "data"))

    def write(files, cohort):
        place = tmp_path / "data" / cohort
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (place / name).write_bytes(content)
        (home / "digests" / f"{cohort}.json").unlink(missing_ok=True)
        return place

    return write
