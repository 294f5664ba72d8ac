"""What the benchmarks share: ways that are timed in turn, a table, and one JSON object as the last line.

A way is a function that does one round of work and returns its rate, in units a second. Rounds of the ways alternate,
so that whatever else the machine does strikes all of them. The first round of each is a warm-up and is not counted,
except where a round is a process of its own (`Worker`), which leaves its own first step out.
Ratios are taken round by round: `ratio` is their median, `low` and `high` the 2.5 and 97.5 percentiles of the median
of resampled rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from homestretch.policies.load import choose_device
from homestretch.policies.precision import bf16_pays

Ways = Mapping[str, Callable[[], float]]
RESAMPLES = 2000
WORKERS = Path(__file__).parent / "workers"


def arguments(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes: `--rounds` and `--quick`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="measured rounds of each way")
    parser.add_argument("--quick", action="store_true", help="the same in small, under two minutes")
    return parser


def interleaved(ways: Ways, *, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Rates of each way, `rounds` of them, one round of each in turn, after `warm_up` that are not counted."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + warm_up):
        for name, way in ways.items():
            rate = way()
            if number >= warm_up:
                rates[name].append(rate)
    return rates


def ratio_of(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Median of the round-by-round ratios, with its bootstrap interval."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return {
        "ratio": statistics.median(ratios),
        "low": medians[int(0.025 * RESAMPLES)],
        "high": medians[int(0.975 * RESAMPLES)],
    }


def result(
    case: str, unit: str, rates: Mapping[str, list[float]], *, ours: str, peer: str, **more: Any
) -> dict[str, Any]:
    """Print a table of one case of a benchmark, and give what its JSON object holds."""
    print(f"\n{case}")
    for way, found in rates.items():
        print(f"  {way:32s} {statistics.median(found):10.2f} {unit}  ({min(found):.2f} to {max(found):.2f})")
    found = ratio_of(rates[ours], rates[peer])
    print(
        f"  {'ratio':32s} {found['ratio']:10.2f}  (95 % interval {found['low']:.2f} to {found['high']:.2f})", flush=True
    )
    medians = {way: statistics.median(r) for way, r in rates.items()}
    return {"case": case, **found, "peer": peer, "unit": unit, "rounds": len(rates[ours]), "medians": medians, **more}


def finish(name: str, cases: list[dict[str, Any]], *, save: Path | None = None) -> None:
    """The last line: the first case, which is the one with a goal, and all of them. It is kept in `save` as well."""
    command = shlex.join([f"benchmarks/{name}.py", *sys.argv[1:]])
    found = {"name": name, "command": command, **cases[0], "machine": machine(), "cases": cases}
    if save:
        save.parent.mkdir(exist_ok=True)
        save.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("\n" + json.dumps(found))


def precisions() -> list[str]:
    """What is compared here: `bf16`, mixed precision, only where the machine has products of bfloat16."""
    return ["float32", *(["bf16"] if bf16_pays(choose_device()) else [])]


def machine() -> str:
    """Processor, cores that may be used, accelerator and the version of torch."""
    found = [line for line in _cpuinfo() if line.startswith("model name")]
    name = found[0].partition(":")[2].strip() if found else platform.processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bf16 = {"AMX": torch.cpu._is_amx_tile_supported(), "AVX-512 BF16": torch.cpu._is_avx512_bf16_supported()}
    units = "".join(f", {name}" for name, there in bf16.items() if there)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {cores} cores{units}{gpu}, torch {torch.__version__}"


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.is_file() else []


class Worker:
    """A way whose every round is a new process (`workers/`), in its own environment, so that no round has the memory of
    another.

    `peak_bytes` is the largest peak of the rounds so far.
    """

    def __init__(self, python: Path | str, script: str, *arguments: str) -> None:
        self.command = [str(python), str(WORKERS / script), *arguments]
        self.peak_bytes = 0

    def __call__(self) -> float:
        """One round; its rate. Raises RuntimeError where the process fails."""
        done = subprocess.run(self.command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(self.command)} ended with {done.returncode}; its last words are above.")
        found = json.loads(done.stdout)
        self.peak_bytes = max(self.peak_bytes, found["peak_bytes"])
        return float(found["rate"])


def against_trl(unit: str, ours: Mapping[str, Worker], peer: Worker, *, rounds: int) -> list[dict[str, Any]]:
    """Time `ours`, a worker for each case, and one of TRL in turn; the cases with the peak memory of each."""
    rates = interleaved({**ours, "TRL": peer}, rounds=rounds, warm_up=0)
    cases = []
    for case, worker in ours.items():
        memory = {"homestretch": worker.peak_bytes, "TRL": peer.peak_bytes}
        print(f"\npeak memory: {worker.peak_bytes / 1e9:.1f} GB against {peer.peak_bytes / 1e9:.1f} GB", end="")
        measured = {"homestretch": rates[case], "TRL": rates["TRL"]}
        more = {"peak_bytes": memory, "memory_ratio": worker.peak_bytes / peer.peak_bytes}
        cases.append(result(case, unit, measured, ours="homestretch", peer="TRL", **more))
    return cases


def environment(name: str) -> Path:
    """The python of an environment with `requirements/NAME.txt`, made on first use in `.bench/NAME`."""
    here = Path(__file__).parent
    requirements, folder = here / "requirements" / f"{name}.txt", here.parent / ".bench" / name
    done = folder / "requirements.txt"
    if not done.is_file() or done.read_text() != requirements.read_text():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "-q", "-r", requirements], check=True)
        done.write_text(requirements.read_text())
    return folder / "bin" / "python"
