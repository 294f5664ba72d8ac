"""Runs that are killed at seeded points and started again with the same command.

They must end with the bytes of a run that nobody disturbed: weights, checkpoints, logs, results, report.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from crash_compare import differences
from crash_processes import PATIENCE, Launch, Started, fresh, server
from crash_recipes import END, START, Course, courses

AT_ONCE = 2
FRESH_SHARE = 0.1
"""Of the processes that are killed: those that start from the first import."""
AFTER_THE_LAST = 0.1
"""Seconds from the end of the last stage in which the process writes the final model."""
TRIES = 3


@dataclass
class Kills:
    """What a campaign has counted. `places`: where processes were when they were killed; `missed`: they were done."""

    places: Counter[str] = field(default_factory=Counter)
    fresh: int = 0
    missed: int = 0
    runs: int = 0
    equal: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Kills) -> None:
        """Count another part."""
        self.places += other.places
        for name in ("fresh", "missed", "runs", "equal"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures += other.failures


@dataclass(frozen=True)
class Point:
    """Where a process is killed: in a place, after a share of the time that it takes there."""

    place: str
    share: float
    fresh: bool


def campaign(points: int, seed: int, folder: Path, tell: Callable[[str], None]) -> Kills:
    """Kill processes at so many points of runs of every stage, two runs at a time."""
    made, total, rng = courses(folder), Kills(), random.Random(seed)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
        launchers = [stack.enter_context(server()) for _ in range(AT_ONCE)]
        seconds = {}
        for course in made:
            seconds[course.name], baseline = undisturbed(course, folder, launchers[0])
            total.add(baseline)
            tell(f"{course.name}: two undisturbed runs, {'equal' if baseline.equal else baseline.failures}")
        for attempt in range(TRIES):
            runs = planned(made, points - total.places.total(), rng)
            jobs = [(c, its, folder / f"killed-{attempt}-{n}-{c.name}") for n, (c, its) in enumerate(runs)]

            def work(i: int, jobs: list[tuple[Course, list[Point], Path]] = jobs) -> list[Kills]:
                found = []
                for course, its_points, place in jobs[i::AT_ONCE]:
                    reference = _reference(course, folder)
                    found.append(killed(course, its_points, place, reference, seconds[course.name], launchers[i]))
                    tell(f"{course.name}: killed {found[-1].places.total()} times, {found[-1].failures or 'equal'}")
                return found

            for part in pool.map(work, range(AT_ONCE)):
                for found in part:
                    total.add(found)
    return total


def planned(made: Sequence[Course], points: int, rng: random.Random) -> list[tuple[Course, list[Point]]]:
    """Runs, each with points in the order of its places; until all places have had one, none has another."""
    everywhere, runs = [(course, place) for course in made for place in course.places], []
    while points > 0:
        chosen = rng.sample(everywhere, min(points, len(everywhere)))
        points -= len(chosen)
        for course in made:
            places = [place for place in course.places if (course, place) in chosen]
            its_points = [Point(place, rng.random(), rng.random() < FRESH_SHARE) for place in places]
            runs += [(course, its_points)] if its_points else []
    return runs


def undisturbed(course: Course, folder: Path, launch: Launch) -> tuple[dict[str, float], Kills]:
    """The reference run, by a process of its own, and a forked one that must equal it; seconds of each place."""
    reference, twin = _reference(course, folder), folder / f"twin-{course.name}"
    code = fresh(course.command, reference).end()
    again = launch(course.command, twin)
    at_work = _wait(again, twin / "run", course.stages[0], ("running", "done"))
    before = time.time_ns() - again.began if at_work else 0
    ended = again.end()
    found = Kills(runs=1)
    if (code, ended) != (0, 0):
        found.failures.append(f"{course.name}: undisturbed runs end with {code} and {ended}: {_last(again)}")
        return dict.fromkeys(course.places, 0.0), found
    records = {stage: json.loads(_record(twin / "run", stage).read_text()) for stage in course.stages}
    seconds = {stage: record["seconds"] for stage, record in records.items()}
    _judge(found, course, reference, twin)
    return {START: before / 1e9, END: AFTER_THE_LAST, **seconds}, found


def killed(
    course: Course, points: Sequence[Point], place: Path, reference: Path, seconds: dict[str, float], launch: Launch
) -> Kills:
    """A run that is killed at each of the points, goes on each time, and is compared with the reference."""
    found = Kills(runs=1)
    for point in points:
        process = (fresh if point.fresh else launch)(course.command, place)
        code = kill_at(process, course, place / "run", point, seconds)
        if code == -signal.SIGKILL:
            found.places[where(course, place / "run", process.began)] += 1
            found.fresh += point.fresh
        elif code == 0:
            found.missed += 1
        else:
            found.failures.append(f"{course.name}: on the way to {point} it ended with {code}: {_last(process)}")
            return found
    last = launch(course.command, place)
    code = last.end()
    if code != 0:
        found.failures.append(f"{course.name}: killed at {list(points)}, it ended with {code}: {_last(last)}")
        return found
    _judge(found, course, reference, place, f", killed at {list(points)}")
    return found


def kill_at(process: Started, course: Course, run: Path, point: Point, seconds: dict[str, float]) -> int | None:
    """Wait for the point, send SIGKILL, and give the exit code: 0 where the process was done before."""
    stage = {START: None, END: course.stages[-1]}.get(point.place, point.place)
    if stage is not None:
        _wait(process, run, stage, ("done",) if point.place == END else ("running", "done"))
    code = process.wait(point.share * seconds[point.place])
    if code is None:
        process.kill()
        code = process.wait(PATIENCE)
    return code


def where(course: Course, run: Path, began: int) -> str:
    """The stage in which a process was that began then: its name, or what lies around stages."""
    states = [_state(run, stage, began) for stage in course.stages]
    if "running" in states:
        return course.stages[states.index("running")].split("-", 1)[1]
    if all(_state(run, stage, 0) == "done" for stage in course.stages):
        return END
    return "between stages" if "done" in states else START


def _wait(process: Started, run: Path, stage: str, states: tuple[str, ...]) -> bool:
    """Whether this process has come to such a state of the stage; False where it has ended before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.wait(0.002) is None:
        if _state(run, stage, process.began) in states:
            return True
    return False


def _record(run: Path, stage: str) -> Path:
    return run / "stages" / stage / "stage.json"


def _state(run: Path, stage: str, began: int) -> str | None:
    """What the stage's record says, if it was written since."""
    try:
        written = _record(run, stage).stat().st_mtime_ns
        return json.loads(_record(run, stage).read_text())["status"] if written >= began else None
    except FileNotFoundError:
        return None


def _reference(course: Course, folder: Path) -> Path:
    return folder / f"reference-{course.name}"


def _judge(found: Kills, course: Course, reference: Path, other: Path, how: str = "") -> None:
    """Compare two finished runs; an equal one is deleted, another kept to be looked at."""
    different = differences(reference / "run", other / "run")
    if different:
        found.failures.append(f"{course.name}{how}: {', '.join(different)} differ in {other}")
    else:
        found.equal += 1
        shutil.rmtree(other)


def _last(process: Started) -> str:
    return " | ".join(process.said().splitlines()[-3:])
