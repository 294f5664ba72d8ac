"""What the single events of the crash campaign have in common: a run nobody disturbs, others beside it, their ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crash_compare import differences
from crash_processes import PATIENCE, Launch, Started, fresh
from crash_recipes import Course

WHO = "homestretch: "
REFUSED = 2


class Wrong(Exception):
    """Something that must not happen; says what."""


@dataclass(frozen=True)
class Bench:
    """A course with its undisturbed run, and a place for those that are disturbed."""

    course: Course
    folder: Path
    seed: int
    launch: Launch

    def place(self, name: str) -> Path:
        """A new folder."""
        (self.folder / name).mkdir()
        return self.folder / name

    def start(self, place: Path, **limit: Callable[[], None]) -> Started:
        """The course's command there, from the first import; its log stands elsewhere, since there it may not."""
        return fresh(self.course.command, place, logs=place.with_name(f"{place.name}-logs"), **limit)

    def forked(self, place: Path) -> Started:
        """The same, forked from a process that has imported everything."""
        return self.launch(self.course.command, place, logs=place.with_name(f"{place.name}-logs"))

    def run(self, place: Path) -> None:
        """The command must succeed and end with the bytes of the undisturbed run."""
        process = self.forked(place)
        if code := process.end():
            raise Wrong(f"then the same command ended with {code}: {process.said()[-300:]}")
        reference = self.folder / f"reference-{self.course.name}" / "run"
        if different := differences(reference, place / "run"):
            raise Wrong(f"then {', '.join(different)} differ in {place}")

    def reference(self) -> Path:
        """The undisturbed run, made once."""
        place = self.folder / f"reference-{self.course.name}"
        if not place.exists() and (code := self.start(self.place(place.name)).end()):
            raise Wrong(f"the undisturbed run ended with {code}")
        return place

    def begun(self, place: Path) -> Started:
        """A run that has saved its first checkpoint and is still at work."""
        process, deadline = self.forked(place), time.monotonic() + PATIENCE
        while not list(place.glob("run/stages/01-*/checkpoints/checkpoint-*")):
            if process.wait(0.005) is not None or time.monotonic() > deadline:
                raise Wrong(f"it came to no checkpoint: {process.said()[-300:]}")
        return process


def sentence(process: Started, code: int = REFUSED) -> str:
    """The one sentence that the process ended with. Raises Wrong for another exit code, or for more or less."""
    found, said = process.end(), process.said()
    lines = [line for line in said.splitlines() if line.startswith(WHO)]
    if found != code or "Traceback" in said or len(lines) != 1 or not said.rstrip().endswith(lines[0]):
        raise Wrong(f"it ended with {found} instead of {code} and said: {said[-500:]}")
    return lines[0].removeprefix(WHO)
