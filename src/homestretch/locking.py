"""One process at a time in a folder: an advisory lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from homestretch import ranks
from homestretch.errors import InputError
from homestretch.progress import say
from homestretch.writing import is_part

FILE = ".lock"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """In this block no other process enters the same folder; of several processes of a run the first one holds it.

    The folder is made where it is not there. Its file `.lock` names the holder, stays, and means nothing once that
    process is gone. Raises InputError where another process is at work, or where nothing can be written.
    """
    if not ranks.is_first():
        yield
        return
    descriptor = _taken(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def is_free(folder: Path) -> bool:
    """Whether there is no such folder, or nothing in it but what a killed process has left behind."""
    return not folder.is_dir() or all(path.name == FILE or is_part(path) for path in folder.iterdir())


def _taken(folder: Path) -> int:
    """The lock's file, open and locked."""
    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); choose another folder with --out, or make room."
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        holder = file.read_text("utf-8", errors="replace") or "another process"
        raise InputError(
            f"{folder}: {holder} is at work in this folder; wait until it is done, or choose another one with --out."
        ) from None
    except OSError as error:
        say(f"{folder}: this file system has no locks ({error.strerror}), so do not start the same run twice.")
    with contextlib.suppress(OSError):  # a full disk is met where something is lost
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    return descriptor
