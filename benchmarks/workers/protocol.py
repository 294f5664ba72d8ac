"""A round of a benchmark in a process and an environment of its own, which answers in JSON."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path


def answer(work: Callable[[], float]) -> None:
    """Do `work` once and print its rate with the process's peak memory."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the libraries print must not be taken for the answer
    rate = work()
    print(json.dumps({"rate": rate, "peak_bytes": peak_bytes()}), file=answers, flush=True)


def peak_bytes() -> int:
    """The most memory of this process so far. `getrusage` on Linux begins with what the parent had."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def steady_rate(counts: list[float], seconds: list[float]) -> float:
    """Units a second of all steps but the first, from cumulative counts and times at the end of each step."""
    return (counts[-1] - counts[0]) / (seconds[-1] - seconds[0])
