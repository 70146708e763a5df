import errno
import hashlib
import os
from pathlib import Path

import pytest

from gexlib import files
from gexlib.errors import InputError


def test_home_is_what_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("GEXLIB_HOME", str(tmp_path / "here"))
    assert files.home() == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GEXLIB_HOME", "~/there")
    assert files.home() == tmp_path / "there"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEXLIB_HOME", "relative")
    assert files.home() == tmp_path / "relative"


@pytest.mark.parametrize("given", [None, ""])
def test_home_is_a_cache_folder_otherwise(tmp_path, monkeypatch, given):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("GEXLIB_HOME")
    if given is not None:
        monkeypatch.setenv("GEXLIB_HOME", given)
    assert files.home().name == "gexlib" and tmp_path in files.home().parents


def test_project_root_is_above_or_that_of_the_package(tmp_path, monkeypatch):
    package = Path(files.__file__).parents[1]
    monkeypatch.chdir(tmp_path)
    assert files.project_root() == package
    for folder in ("notebooks/deep", "profiles"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deep")
    assert files.project_root() == tmp_path


def test_project_root_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "gexlib" / "files.py"))
    with pytest.raises(InputError, match="clone of the project"):
        files.project_root()


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "table.parquet"
    with files.atomic_path(target) as path:
        assert path.parent == target.parent and path.suffix == ".parquet"
        path.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole" and list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "table"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic_path(target) as path:
        path.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to .*file/sub"):
        with files.atomic_path(tmp_path / "file" / "sub" / "table"):
            pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_full_or_closed_folder_is_an_input_error(tmp_path, number):
    for name in (None, str(tmp_path), str(tmp_path / "file"), str(tmp_path.parent)):
        with pytest.raises(InputError, match=f"cannot write to {tmp_path}: .*{os.strerror(number)}"):
            with files.writing(tmp_path):
                raise OSError(number, os.strerror(number), name)


def test_errors_about_other_files_pass(tmp_path):
    with pytest.raises(PermissionError), files.writing(tmp_path):
        raise PermissionError(errno.EACCES, "denied", "/elsewhere/secret")
    with pytest.raises(FileNotFoundError), files.writing(tmp_path):
        (tmp_path / "missing").read_text()


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"gene" * 1000)
    assert files.sha256(tmp_path / "file") == hashlib.sha256(b"gene" * 1000).hexdigest()
