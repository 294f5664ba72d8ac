"""One process at a time in a folder; what killed processes leave behind stops nobody."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from homestretch.errors import InputError
from homestretch.locking import FILE, alone_in, is_free
from homestretch.writing import clear_parts, write_text

HOLDER = """
import sys, time
from pathlib import Path
from homestretch.locking import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that is at work in the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with holder(folder) as process:
        with pytest.raises(InputError) as refused, alone_in(folder):
            pass
        said = str(refused.value)
        assert said.startswith(f"{folder}: process {process.pid} on ")
        assert said.endswith(" is at work in this folder; wait until it is done, or choose another one with --out.")
        process.send_signal(signal.SIGKILL)
    with alone_in(folder):
        assert (folder / FILE).read_text().startswith(f"process {os.getpid()} on ")
    with alone_in(folder):
        pass


def test_only_the_first_of_several_processes_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with alone_in(tmp_path / "run"):
        monkeypatch.setenv("RANK", "1")
        with alone_in(tmp_path / "run"):
            pass


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(InputError, match=r"file/run: cannot be written \(Not a directory\); choose another folder")
    with refused, alone_in(tmp_path / "file" / "run"):
        pass


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with alone_in(tmp_path):
        assert "this file system has no locks (No locks available), so do not start" in capsys.readouterr().err


def test_what_a_killed_process_leaves_makes_no_folder_another_s(tmp_path: Path) -> None:
    folder, part = tmp_path / "run", tmp_path / "run" / "deep" / ".recipe.yaml.123.part"
    assert is_free(folder)
    folder.mkdir()
    (folder / FILE).write_text("process 123 on here")
    (folder / ".recipe.yaml.123.part").write_text("half")
    assert is_free(folder)
    part.parent.mkdir()
    part.write_text("half")
    write_text(part.parent / "a.part", "whole")
    assert not is_free(folder)
    clear_parts(folder)
    assert sorted(path.name for path in folder.rglob("*")) == [FILE, "a.part", "deep"]
