"""Damage to files: what transport, editors and spreadsheets do to them, and what nobody would do."""

import bz2
import gzip
import io
import random
import zipfile
from collections.abc import Callable, Iterator

BITS = (
    b"\x00", b"\xff", b"\xe9", b'"', b"\t", b"\n", b"\r\n", b",", b";", b"-", b"NA", b"nan", b"inf", b"1e999", b"<",
    b"../", b"\xef\xbb\xbf", b"99999999999999999999", b"\t\t\t\t", b"!", b"#", b"{}", b"%s",
)  # fmt: skip


def mutations(content: bytes, n: int, seed: int) -> Iterator[bytes]:
    """Yield n damaged copies of a file; of a compressed one also copies that are damaged inside."""
    draw = random.Random(seed)
    for _ in range(n):
        inside = draw.random() < 0.7 and _unpack(content)
        if inside:
            plain, pack = inside
            yield pack(_damaged(plain, draw), draw)
        else:
            yield _damaged(content, draw)


def _damaged(content: bytes, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        content = draw.choice(_DAMAGES)(content, draw)
    return content


def _place(content: bytes, draw: random.Random) -> int:
    """Choose a place, often in the head of the file, where its form is said."""
    return draw.randrange(max(1, min(len(content), draw.choice((40, 400, len(content) or 1)))))


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _behead(content: bytes, draw: random.Random) -> bytes:
    return content[_place(content, draw) :]


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 3, 20)) if changed else 0):
        changed[_place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _insert(content: bytes, draw: random.Random) -> bytes:
    at = _place(content, draw)
    return content[:at] + draw.choice(BITS) * draw.choice((1, 1, 1, 50)) + content[at + draw.choice((0, 0, 1, 5)) :]


def _lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            del lines[a]
        case 1:
            lines.insert(b, lines[a])
        case 2:
            lines[a], lines[b] = lines[b], lines[a]
        case 3:
            lines[a] = _cells(lines[a], draw)
    return b"\n".join(lines)


def _cells(line: bytes, draw: random.Random) -> bytes:
    cells = line.split(b"\t")
    a, b = draw.randrange(len(cells)), draw.randrange(len(cells))
    match draw.randrange(4):
        case 0:
            del cells[a]
        case 1:
            cells.insert(b, cells[a])
        case 2:
            cells[a], cells[b] = cells[b], cells[a]
        case 3:
            cells[a] = draw.choice((b"", *BITS))
    return b"\t".join(cells)


def _replace(content: bytes, draw: random.Random) -> bytes:
    old, new = draw.choice(
        ((b"\t", b","), (b"\t", b" "), (b"\n", b"\r\n"), (b"\n", b"\r"), (b".", b","), (b'"', b""), (b"\t", b"\t\t"))
    )
    return content.replace(old, new)


def _encode(content: bytes, draw: random.Random) -> bytes:
    return content.decode("latin-1").encode(draw.choice(("utf-8", "utf-16", "utf-32", "utf-8-sig")))


_DAMAGES = (_cut, _behead, _flip, _flip, _insert, _insert, _lines, _lines, _replace, _encode)


def _unpack(content: bytes) -> tuple[bytes, Callable] | None:
    """Return what is in a compressed file, and what packs it again; None where it is not compressed."""
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content), lambda plain, draw: draw.choice((gzip.compress, gzip.compress, bz2.compress))(
            plain
        )
    if content[:2] != b"PK":
        return None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def pack(plain: bytes, draw: random.Random) -> bytes:
        target, changed = io.BytesIO(), draw.choice(list(members))
        with zipfile.ZipFile(
            target, "w", draw.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2))
        ) as archive:
            for name, inside in members.items():
                archive.writestr(
                    draw.choice((name, name, name, "../" + name, "x" + name)), plain if name == changed else inside
                )
        return target.getvalue()

    return members[list(members)[0]], pack
