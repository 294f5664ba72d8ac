"""The command line in real processes that can be killed: fresh ones, and ones forked from a server.

The server has imported everything and done nothing, so that a process costs what its work costs. Each has one child at
a time: for several at once there are several servers.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 300.0
"""Seconds after which a process that should have ended counts as one that hangs."""
IMPORTED = (
    "homestretch.training.pipeline",
    "homestretch.verbs.run",
    "homestretch.cli.main",
    "homestretch.cli.summary",
    "homestretch.report.page",
)
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass
class Started:
    """A process at work. What it says stands in `log`, `began` is the time of its start in nanoseconds."""

    pid: int
    log: Path
    wait: Callable[[float], int | None]
    """Its exit code, minus the signal that ended it; None where it still runs after so many seconds."""
    began: int = field(default_factory=time.time_ns)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; it may have ended already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self) -> int:
        """Its exit code; one that hangs is killed."""
        code = self.wait(PATIENCE)
        if code is None:
            self.kill()
            code = self.wait(PATIENCE)
        return -signal.SIGKILL if code is None else code

    def said(self) -> str:
        """All that it has written."""
        return self.log.read_text(encoding="utf-8", errors="replace")


Launch = Callable[..., Started]
"""Starts `homestretch ARGUMENTS` in a folder, whose part `cache` is its cache; the log may stand elsewhere."""


def fresh(
    arguments: list[str], folder: Path, *, logs: Path | None = None, limit: Callable[[], None] | None = None
) -> Started:
    """A process of its own from the first import, whose log may stand elsewhere. `limit` is called in it before."""
    log = _new_log(logs or folder)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "homestretch", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **SETTINGS, "HOMESTRETCH_CACHE": str(folder / "cache")},
            preexec_fn=limit,
        )

    def wait(seconds: float) -> int | None:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    return Started(process.pid, log, wait)


@contextlib.contextmanager
def server() -> Iterator[Launch]:
    """A launcher of forked processes."""
    command = [sys.executable, str(Path(__file__).resolve())]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command, env={**os.environ, **SETTINGS}, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers, last = process.stdout, list[Started]()

        def launch(arguments: list[str], folder: Path, *, logs: Path | None = None) -> Started:
            for other in last:  # whoever started it has given up on it
                if other.wait(0) is None:
                    other.kill()
                    other.end()
            log, code = _new_log(logs or folder), list[int]()
            asked, began = {"arguments": arguments, "folder": str(folder), "log": str(log)}, time.time_ns()
            process.stdin.write(json.dumps(asked).encode() + b"\n")

            def wait(seconds: float) -> int | None:
                if not code and select.select([answers], [], [], seconds)[0]:
                    code.append(int(answers.readline()))
                return code[0] if code else None

            pid = int(answers.readline())
            assert pid > 1, "not a process, and signals to it would reach others"
            last[:] = [Started(pid, log, wait, began)]
            return last[0]

        try:
            yield launch
        finally:
            process.stdin.close()


def _new_log(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"log-{len(list(folder.glob('log-*.txt')))}.txt"


def _serve() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _work(**json.loads(line))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _work(arguments: list[str], folder: str, log: str) -> None:
    """Become the command; ends in its SystemExit."""
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (os.open(log, os.O_WRONLY | os.O_CREAT), 1)):
        os.dup2(source, target)
    os.dup2(1, 2)
    os.chdir(folder)
    os.environ["HOMESTRETCH_CACHE"] = str(Path(folder) / "cache")
    main = importlib.util.find_spec("homestretch.__main__")
    assert main is not None
    sys.argv = [str(main.origin), *arguments]
    importlib.import_module("homestretch.cli.main").main()


if __name__ == "__main__":
    _serve()
