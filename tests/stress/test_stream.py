"""The matrix of E-MTAB-3732 at its size, made while it is downloaded."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests.cohorts import sources

pytestmark = pytest.mark.stress

ARRAYS = 27_887
GIB = float(os.environ.get("STRESS_STREAM_GIB", "2"))  # of text; the real file has 24
MEMORY = 2 * 2**30
DISTINCT = 40  # rows that are made; the others repeat them under other ids

LOAD = """
import json, resource, sys, threading, time
from gexlib import cohorts
anonymous = [0]
def watch():
    while True:
        fields = dict(line.split(":") for line in open("/proc/self/status") if ":" in line)
        anonymous[0] = max(anonymous[0], int(fields["RssAnon"].split()[0]))
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
begun = time.time()
cohort = cohorts.fetch_cohort("microarray")
print(json.dumps({"shape": cohort.shape, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "anonymous": anonymous[0] * 1024, "seconds": time.time() - begun, "report": cohort.uns["report"],
    "corner": cohort.X[:3, -3:].tolist(), "genes": list(cohort.var_names[-3:])}))
"""


class Unseekable:
    """The socket, as `zipfile` writes to a pipe."""

    def __init__(self, file):
        self.file, self.written = file, 0

    def write(self, data):
        self.file.write(data)
        self.written += len(data)
        return len(data)

    def flush(self):
        pass


@pytest.fixture
def server():
    """Serve the sample table, and a zip archive that is made on the fly."""
    rows = int(GIB * 2**30 / (ARRAYS * 16))
    values = np.random.default_rng(0).normal(8, 2, (DISTINCT, ARRAYS))
    bodies = ["\t".join(f"{value:.13f}" for value in row).encode() for row in values]
    names = [f"Sample {i}" for i in range(1, ARRAYS + 1)]
    kinds = [
        ("normal", "lung"),
        ("lung carcinoma", "lung"),
        ("breast carcinoma", "breast"),
        ("-", "brain"),
        ("asthma", "lung"),
    ]
    sdrf = "Source Name\tCharacteristics[organism part]\tCharacteristics[disease]\n" + "".join(
        f"{name}\t{kinds[i % 5][1]}\t{kinds[i % 5][0]}\n" for i, name in enumerate(names)
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            file = self.path.rsplit("/", 1)[-1]
            if file == "GPL570.annot.gz":
                return self.send_error(404)
            self.send_response(200)
            self.end_headers()
            if file.endswith(".txt"):
                return self.wfile.write(sdrf.encode())
            with (
                zipfile.ZipFile(Unseekable(self.wfile), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
                archive.open(sources.MEMBER, "w", force_zip64=True) as member,
            ):
                member.write(("CompositeSequence Identifier\t" + "\t".join(names) + "\n").encode())
                for i in range(rows):
                    member.write(b"probe_%d\t%b\n" % (i, bodies[i % DISTINCT]))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    server.rows, server.values = rows, values
    yield server
    server.shutdown()
    server.server_close()


def test_a_matrix_of_any_size_loads_within_bounded_memory(server, tmp_path, record_property):
    """The text matrix of E-MTAB-3732, 27,887 arrays wide and made on the fly (STRESS_STREAM_GIB sets its size), is
    downloaded and stored by one process that never holds more than 2 GiB, file pages included.
    """
    environment = os.environ | {
        "GEXLIB_DATA": f"http://127.0.0.1:{server.server_port}", "GEXLIB_HOME": str(tmp_path / "home"),
        "no_proxy": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    kept = [i for i in range(ARRAYS) if i % 5 < 3]
    assert told["shape"] == [len(kept), server.rows] and told["genes"][-1] == f"probe_{server.rows - 1}"
    last = [(server.rows - k) % DISTINCT for k in (3, 2, 1)]
    np.testing.assert_allclose(told["corner"], server.values[last][:, kept[:3]].T, rtol=1e-6)
    record_property("text", f"{GIB:g} GiB, {server.rows:,} probe sets x {ARRAYS:,} arrays")
    record_property(
        "peak memory", f"{told['peak'] / 2**30:.2f} GiB, of it {told['anonymous'] / 2**30:.2f} the process's own"
    )
    record_property("seconds", f"{told['seconds']:.0f}")
    assert told["peak"] < MEMORY
