"""Single events, each met by real processes: full disks, folders without rights, signals, a second process, damage.

After each of them the same command must go on, or do over, and end with the bytes of a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from crash_bench import Bench, Wrong, sentence
from crash_damage import damaged_cache, damaged_checkpoint, damaged_data, damaged_model
from crash_processes import Launch, server
from crash_recipes import scored, short

ENDED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Event:
    """What happened and what came of it: `ok`, `skipped` or `FAILED`, and the sentence that a user read or why."""

    name: str
    verdict: str
    said: str


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
        said = sentence(bench.start(place, limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))
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


def events(folder: Path, seed: int, launch: Launch) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every event by its name."""
    rng = random.Random(seed)
    for name in ("short", "scored", "data"):
        (folder / name).mkdir()
    bench, cached = (
        Bench(make(folder / name), folder / name, seed, launch) for name, make in (("short", short), ("scored", scored))
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
    with server() as launch:
        for name, meet in events(folder, seed, launch):
            try:
                event = Event(name, "ok", meet())
            except NotImplementedError as why:
                event = Event(name, "skipped", str(why))
            except Wrong as wrong:
                event = Event(name, "FAILED", str(wrong))
            found.append(event)
            tell(f"{event.verdict:7s} {event.name}: {event.said}")
    return found
