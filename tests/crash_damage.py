"""Files of a run or of a cache that are not as they were written: refused in a sentence or made anew, not believed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from crash_bench import Bench, Wrong, sentence
from crash_processes import fresh

from homestretch.rewards.cache import FILE as REWARDS

ANEW = "no sentence: what was damaged is computed anew"


def damaged_checkpoint(bench: Bench, part: str, how: str) -> str:
    """A checkpoint, or the best one, whose file is not as it was written; then it is deleted, as the sentence says."""
    place = bench.place(f"damaged-{part.replace('/', '-').replace('*', 'N')}-{how}")
    process = bench.begun(place)
    process.kill()
    process.end()
    [file] = place.glob(f"run/stages/01-*/{part}")
    damage(file, how, bench.seed)
    process = bench.forked(place)
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
    said = sentence(bench.forked(place))
    shutil.rmtree(stage)
    bench.run(place)
    return said


def damaged_cache(bench: Bench, how: str) -> str:
    """A cache of rewards that is not as it was written: refused, or computed anew."""
    place = bench.place(f"cache-{how}")
    shutil.copytree(bench.reference(), place, dirs_exist_ok=True)
    shutil.rmtree(place / "run" / "stages" / bench.course.stages[-1])
    damage(place / "cache" / REWARDS, how, bench.seed)
    process, said = bench.forked(place), ANEW
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
