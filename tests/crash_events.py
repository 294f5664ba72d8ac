"""Single events, each met by real processes: full disks, folders without rights, signals, a second process, damage.

After each of them the same command must go on, or do over, and end with the bytes of a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from crash_compare import differences
from crash_processes import PATIENCE, Started, fresh
from crash_recipes import Course, scored, short

from homestretch.rewards.cache import FILE as REWARDS

WHO = "homestretch: "
ANEW = "no sentence: what was damaged is computed anew"
REFUSED, ENDED = 2, 128 + signal.SIGTERM


@dataclass(frozen=True)
class Event:
    """What happened and what came of it: `ok`, `skipped` or `FAILED`, and the sentence that a user read or why."""

    name: str
    verdict: str
    said: str


class Wrong(Exception):
    """Something that must not happen; says what."""


@dataclass(frozen=True)
class Bench:
    """A course with its undisturbed run, and a place for those that are disturbed."""

    course: Course
    folder: Path
    seed: int

    def place(self, name: str) -> Path:
        """A new folder."""
        (self.folder / name).mkdir()
        return self.folder / name

    def start(self, place: Path, limit: Callable[[], None] | None = None) -> Started:
        """The course's command there; what it says is written elsewhere, since there it may be impossible."""
        return fresh(self.course.command, place, logs=place.with_name(f"{place.name}-logs"), limit=limit)

    def run(self, place: Path) -> None:
        """The command must succeed and end with the bytes of the undisturbed run."""
        process = self.start(place)
        if code := process.end():
            raise Wrong(f"then the same command ended with {code}: {process.said()[-300:]}")
        reference = self.folder / f"reference-{self.course.name}" / "run"
        if different := differences(reference, place / "run"):
            raise Wrong(f"then {', '.join(different)} differ in {place}")

    def reference(self) -> Path:
        """The undisturbed run, made once."""
        place = self.folder / f"reference-{self.course.name}"
        if not place.exists() and (code := self.start(place).end()):
            raise Wrong(f"the undisturbed run ended with {code}")
        return place

    def begun(self, place: Path) -> Started:
        """A run that has saved its first checkpoint and is still at work."""
        process, deadline = self.start(place), time.monotonic() + PATIENCE
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


@contextlib.contextmanager
def mounted(place: Path, size: str) -> Iterator[None]:
    """A small file system of its own at a folder. Raises OSError where the system does not allow it."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        raise PermissionError(made.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place: Path, how: str) -> None:
    """Change the file system at a folder."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True, capture_output=True)


def full_disk(bench: Bench, share: float) -> str:
    """The disk is full when a share of what a run writes has been written; then there is room."""
    needed = sum(path.stat().st_size for path in bench.reference().rglob("*") if path.is_file())
    place = bench.place(f"full-{share}")
    try:
        with mounted(place, str(int(needed * share))):
            said = sentence(bench.start(place))
            remount(place, f"size={4 * needed}")
            bench.run(place)
    except PermissionError:
        largest = max(path.stat().st_size for path in bench.reference().rglob("*") if path.is_file())
        limit = int(largest * share)
        said = sentence(bench.start(place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))
        bench.run(place)
    return said


def read_only(bench: Bench, begun: bool) -> str:
    """Nothing can be written where a run is to begin, or where one has begun; then it can."""
    place = bench.place(f"read-only-{begun}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(mounted(place, "64m"))
        except PermissionError as error:
            if os.geteuid() == 0:
                raise NotImplementedError(f"root may write everywhere, and nothing can be mounted ({error})") from None
        if begun:
            process = bench.begun(place)
            process.kill()
            process.end()
        shut = [place, *(path for path in place.rglob("*") if path.is_dir())]
        is_mount = place.is_mount()
        remount(place, "ro") if is_mount else [path.chmod(0o555) for path in shut]
        said = sentence(bench.start(place))
        remount(place, "rw") if is_mount else [path.chmod(0o755) for path in shut]
        bench.run(place)
    return said


def asked_to_end(bench: Bench, share: float) -> str:
    """SIGTERM behind the first checkpoint, after a share of the time that the training takes."""
    place, record = bench.place(f"sigterm-{share:.2f}"), "run/stages/01-sft/stage.json"
    seconds = json.loads((bench.reference() / record).read_text(encoding="utf-8"))["seconds"]
    process = bench.begun(place)
    process.wait(share * seconds)
    process.kill(signal.SIGTERM)
    said = sentence(process, ENDED)
    bench.run(place)
    return said


def second_process(bench: Bench) -> str:
    """The same command while the first one is at work, here halted: refused, and the first one is none the worse."""
    place = bench.place("second")
    process = bench.begun(place)
    process.kill(signal.SIGSTOP)
    said = sentence(bench.start(place))
    process.kill(signal.SIGCONT)
    if f"process {process.pid} on " not in said:
        raise Wrong(f"the sentence does not name process {process.pid}: {said}")
    if code := process.end():
        raise Wrong(f"the first process ended with {code}: {process.said()[-300:]}")
    bench.run(place)
    return said


def damaged_checkpoint(bench: Bench, part: str, how: str) -> str:
    """A checkpoint, or the best one, whose file is not as it was written; then it is deleted, as the sentence says."""
    place = bench.place(f"damaged-{part.replace('/', '-').replace('*', 'N')}-{how}")
    process = bench.begun(place)
    process.kill()
    process.end()
    [file] = place.glob(f"run/stages/01-*/{part}")
    damage(file, how, bench.seed)
    process = bench.start(place)
    if process.end() == 0:  # a better one has taken its place
        bench.run(place)
        return ANEW
    said = sentence(process)
    folder = said.partition("delete ")[2].partition(" and start")[0].replace("this folder", said.partition(":")[0])
    if not folder or not (place / folder).is_dir():
        raise Wrong(f"the sentence names no folder to delete: {said}")
    shutil.rmtree(place / folder)
    bench.run(place)
    return said


def damaged_model(bench: Bench, how: str) -> str:
    """What a finished stage has made cannot be read by the next one; then its folder is deleted."""
    place = bench.place(f"model-{how}")
    shutil.copytree(bench.reference(), place, dirs_exist_ok=True)
    shutil.rmtree(place / "run" / "stages" / bench.course.stages[-1])
    stage = place / "run" / "stages" / bench.course.stages[0]
    damage(stage / "model" / "model.safetensors", how, bench.seed)
    said = sentence(bench.start(place))
    shutil.rmtree(stage)
    bench.run(place)
    return said


def damaged_cache(bench: Bench, how: str) -> str:
    """A cache of rewards that is not as it was written: refused, or computed anew."""
    place = bench.place(f"cache-{how}")
    shutil.copytree(bench.reference(), place, dirs_exist_ok=True)
    shutil.rmtree(place / "run" / "stages" / bench.course.stages[-1])
    damage(place / "cache" / REWARDS, how, bench.seed)
    process, said = bench.start(place), ANEW
    if process.end() != 0:
        said = sentence(process)
        (place / "cache" / REWARDS).unlink()
    bench.run(place)
    return said


def damaged_data(folder: Path, seed: int) -> str:
    """The cache of the built-in data is not as it was written: made again, with the same rows."""
    made = []
    for place in ("before", "after"):
        out = folder / f"{place}.jsonl"
        command = ["negatives", "make", "builtin/docstrings", "--max-examples", "40", "--out", str(out)]
        if code := fresh(command, folder).end():
            raise Wrong(f"{place} the damage it ended with {code}")
        made.append(out.read_bytes())
        [file] = folder.glob("cache/docstrings-*.jsonl")
        damage(file, "bits", seed)
    if made[0] != made[1]:
        raise Wrong("other rows were made of the damaged cache")
    return ANEW


def damage(file: Path, how: str, seed: int) -> None:
    """Change a file: lose its second half, or all; other bits at some places; other bytes at its start."""
    data, rng = bytearray(file.read_bytes()), random.Random(seed)
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    elif how == "start":
        data[:16] = rng.randbytes(16)
    else:
        for _ in range(64 if file.suffix == ".sqlite" else 1):
            data[rng.randrange(len(data) // 8, len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def events(folder: Path, seed: int) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every event by its name."""
    rng = random.Random(seed)
    for name in ("short", "scored", "data"):
        (folder / name).mkdir()
    bench, cached = (
        Bench(make(folder / name), folder / name, seed) for name, make in (("short", short), ("scored", scored))
    )
    for share in (0.05, 0.4, 0.8):
        yield f"disk full after {share:.0%} of a run", lambda share=share: full_disk(bench, share)
    yield "read-only folder before the start", lambda: read_only(bench, begun=False)
    yield "read-only folder behind a checkpoint", lambda: read_only(bench, begun=True)
    for share in (0.0, 0.5 * rng.random(), 0.5 * rng.random()):
        yield f"SIGTERM {share:.0%} of a stage behind a checkpoint", lambda share=share: asked_to_end(bench, share)
    yield "second process in the run folder", lambda: second_process(bench)
    for part, how in (
        ("checkpoints/*/tensors.safetensors", "bits"),
        ("checkpoints/*/tensors.safetensors", "cut"),
        ("checkpoints/*/state.json", "cut"),
        ("best/tensors.safetensors", "bits"),
    ):
        name = f"damaged checkpoint: {part.split('/')[0]}, {part.split('/')[-1]}, {how}"
        yield name, lambda part=part, how=how: damaged_checkpoint(bench, part, how)
    for how in ("cut", "start"):
        yield f"damaged model of a finished stage: {how}", lambda how=how: damaged_model(bench, how)
    yield "damaged cache of built-in data: bits", lambda: damaged_data(folder / "data", seed)
    for how in ("bits", "cut", "empty", "start"):
        yield f"damaged cache of rewards: {how}", lambda how=how: damaged_cache(cached, how)


def campaign(seed: int, folder: Path, tell: Callable[[str], None]) -> list[Event]:
    """All events, one after the other."""
    found = []
    for name, meet in events(folder, seed):
        try:
            event = Event(name, "ok", meet())
        except NotImplementedError as why:
            event = Event(name, "skipped", str(why))
        except Wrong as wrong:
            event = Event(name, "FAILED", str(wrong))
        found.append(event)
        tell(f"{event.verdict:7s} {event.name}: {event.said}")
    return found
