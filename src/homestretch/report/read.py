"""A run folder as plain data for the page. Half-finished folders are fine: what is missing is said in words."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homestretch.errors import InputError
from homestretch.pairing import answers_of
from homestretch.results import Environment, Results, RunFolder, StageFolder, StageRecord

Row = dict[str, Any]


@dataclass(frozen=True)
class Output:
    """What one arm wrote for one prompt."""

    text: str
    terminated: bool
    tokens: int | None
    reward: float | None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One prompt, its references, and the output of every arm; `answer` is the same in other runs."""

    id: str
    prompt: str
    references: tuple[str, ...]
    outputs: dict[str, Output] = field(default_factory=dict)
    answer: Hashable = None


@dataclass(frozen=True)
class StageView:
    """One stage: its record, its numeric rows in order of `step`, and the run doctor's sentences."""

    label: str
    record: StageRecord
    rows: list[Row]
    doctor: list[tuple[int | None, str]]


@dataclass(frozen=True)
class RunView:
    """Everything the page shows about one run. `notes` are sentences about what is missing or unreadable."""

    name: str
    path: str
    results: Results | None
    environment: Environment | None
    recipe: str | None
    stages: list[StageView]
    samples: list[Sample]
    notes: list[str]


def read_run(path: str | Path) -> RunView:
    """Read the folder of a run. Raises InputError where it is no run, or a record of it cannot be used."""
    folder = RunFolder(path)
    if not folder.path.is_dir():
        raise InputError(f"{folder.path}: there is no such folder; give the folder of a run.")
    if not folder.is_run():
        raise InputError(f"{folder.path}: this is not the folder of a run (no recipe, no stages, no evaluation).")
    notes: list[str] = []
    results = Results.read(folder.results) if folder.results.is_file() else None
    environment = Environment.read(folder.environment) if folder.environment.is_file() else None
    recipe = clean(folder.recipe.read_text("utf-8", errors="replace")) if folder.recipe.is_file() else None
    stages = [_stage(stage, notes) for stage in folder.stage_folders()]
    # The stage that is writing this very page is running: to say so would be true and misleading.
    stages = [s for s in stages if (s.record.name, s.record.status) != ("report", "running")]
    samples = _samples(folder.generations, notes)
    notes = _missing(results, stages, samples) + notes
    name = clean(folder.path.resolve().name)
    return RunView(name, clean(str(folder.path)), results, environment, recipe, stages, samples, notes)


def clean(text: str) -> str:
    """Text that every browser shows: lone surrogates replaced, control characters as visible signs."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\r\n", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", lambda m: chr(0x2400 + (ord(m[0]) if m[0] != "\x7f" else 0x21)), whole)


def plain(value: Any) -> str:
    """Text of a prompt or reference: as it is, or chat messages one after the other with their role."""
    if isinstance(value, list):
        parts = [f"{m.get('role', '?')}: {m.get('content', '')}" if isinstance(m, dict) else str(m) for m in value]
        return clean("\n".join(parts))
    return clean(str(value))


def _stage(folder: StageFolder, notes: list[str]) -> StageView:
    record = StageRecord.read(folder.record)
    rows, doctor = [], []
    for row in _jsonl(folder.metrics, notes):
        step = row.get("step")
        step = step if isinstance(step, int) and not isinstance(step, bool) else None
        if isinstance(row.get("doctor"), str):
            doctor.append((step, clean(row["doctor"])))
        if step is not None:
            rows.append(row)
    rows.sort(key=lambda row: row["step"])
    return StageView(folder.path.name, record, rows, doctor)


def _samples(path: Path, notes: list[str]) -> list[Sample]:
    found: dict[Hashable, Sample] = {}
    everything = list(_jsonl(path, notes))
    rows = [r for r in everything if isinstance(r.get("text"), str) and isinstance(r.get("arm"), str) and "id" in r]
    odd = len(everything) - len(rows)
    for row, key in zip(rows, answers_of(rows), strict=True):
        if key not in found:
            references = row.get("references") or []
            refs = tuple(plain(r) for r in (references if isinstance(references, list) else [references]))
            found[key] = Sample(clean(str(row["id"])), plain(row.get("prompt", "")), refs, answer=key)
        # Several outputs of a prompt in one arm: the first stands for them.
        found[key].outputs.setdefault(clean(row["arm"]), _output(row))
    if odd:
        notes.append(f"{odd} rows of {path.name} have no `id`, `arm` or `text` and are left out.")
    return list(found.values())


def _output(row: Row) -> Output:
    failures = row.get("failures")
    tokens = _number(row.get("tokens"))
    return Output(
        text=clean(row["text"]),
        terminated=row.get("terminated") is not False,
        tokens=None if tokens is None else int(tokens),
        reward=_number(row.get("reward")),
        failures=tuple(clean(str(f)) for f in failures) if isinstance(failures, list) else (),
    )


def _number(value: Any) -> float | None:
    # JSON of Python may hold NaN and Infinity: neither can be drawn or written as a number.
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if usable else None


def _jsonl(path: Path, notes: list[str]) -> Iterator[Row]:
    """Objects of a JSONL file; lines that are none, such as the last one of a killed run, are counted in `notes`."""
    if not path.is_file():
        return
    bad: list[int] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for count, line in enumerate(file, 1):
            try:
                row = json.loads(line) if line.strip() else {}
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield row
            else:
                bad.append(count)
    if bad:
        where = f"line {bad[0]}" if len(bad) == 1 else f"{len(bad)} lines, the first of them line {bad[0]},"
        notes.append(f"{path.parent.name}/{path.name}: {where} cannot be read and is left out.")


def _missing(results: Results | None, stages: list[StageView], samples: list[Sample]) -> list[str]:
    notes = []
    for stage in stages:
        status, error = stage.record.status, stage.record.error
        if status == "failed":
            notes.append(f"Stage {stage.label} failed{': ' + clean(error) if error else '.'}")
        elif status == "running":
            notes.append(f"Stage {stage.label} has not finished: it is running or was interrupted.")
        elif status == "pending":
            notes.append(f"Stage {stage.label} has not started.")
    if results is None:
        notes.append("There is no evaluation yet, so arms, comparisons and failure modes are missing.")
    if not samples:
        notes.append("There are no generations yet, so samples and length distributions are missing.")
    return notes
