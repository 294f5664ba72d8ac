"""Before a run: what this machine has, what the data looks like as tokens, and about what the run will cost.

Costs are arithmetic, not promises: that of `costs`, at the speed of a matrix product and of a sum timed on the spot.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from homestretch.config.recipe import Recipe
from homestretch.config.training import MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS_CPU
from homestretch.costs.time import Machine
from homestretch.report.names import memory
from homestretch.verbs.estimates import estimate, memory_needed, numbers_of, seconds_needed, unchecked
from homestretch.verbs.teaching import teaching

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets")
SAMPLES, MARK = 3, " >>> "  # the mark stands where the model begins to write
MATRIX, SUMMED, TIMED_SECONDS = 1024, 1 << 25, 0.3


@dataclass(frozen=True)
class Diagnosis:
    """Named facts in sections, three rendered samples, warnings, each one sentence, and of each training stage
    the bytes of its peak and the seconds it takes."""

    sections: dict[str, dict[str, str]]
    samples: list[str]
    warnings: list[str]
    memory: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def doctor(recipe: Recipe | None = None, *, out: Path = Path("runs")) -> Diagnosis:
    """Facts about this machine and, with a recipe, about its data and costs. Loads a tokenizer, no weights.

    Raises InputError where the recipe cannot run: no such data, no such model, no such device.
    """
    sections = {"environment": environment(out)}
    if recipe is None:
        return Diagnosis(sections, [], [])
    from homestretch.data.prompts import end_marker
    from homestretch.generation.schedule import MAX_ROWS, MAX_ROWS_ELSEWHERE
    from homestretch.policies.load import choose_device, load_tokenizer
    from homestretch.policies.shape import model_shape
    from homestretch.policies.trunk import CHUNK_LOGITS, CHUNK_LOGITS_CPU

    device = choose_device(recipe.device)
    tokenizer = load_tokenizer(recipe.model_name_or_path, **recipe.load_options())
    end_marker(tokenizer)
    shape = model_shape(recipe.model_name_or_path, **recipe.load_options())
    data, samples, lengths = _data(recipe, tokenizer, shape.is_encoder_decoder)
    sections["data"] = data
    on_cpu, rows = device.type == "cpu", MAX_ROWS.get(device.type, MAX_ROWS_ELSEWHERE)
    peaks = memory_needed(
        recipe,
        shape,
        lengths,
        tokens=MICRO_BATCH_TOKENS_CPU if on_cpu else MICRO_BATCH_TOKENS,
        rows=rows,
        logits=CHUNK_LOGITS_CPU if on_cpu else CHUNK_LOGITS,
        numbers=numbers_of(recipe, device),
    )
    machine = measured_machine(device)
    seconds = seconds_needed(recipe, shape, lengths, machine=machine, rows=rows)
    beside = teaching(recipe, shape, lengths, machine=machine, numbers=numbers_of(recipe, device), rows=rows)
    for name, (held, taken) in beside.items():
        peaks[name] += held
        seconds[name] += taken
    sections["estimate"] = estimate(shape, peaks, seconds, rough=unchecked(recipe, device))
    return Diagnosis(sections, samples, _warnings(recipe, lengths), peaks, seconds)


def environment(out: Path) -> dict[str, str]:
    """Versions, cores, memory, disk and accelerator."""
    import torch

    there = next(p for p in [out.absolute(), *out.absolute().parents] if p.exists())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {"python": platform.python_version()}
    facts |= {name: importlib.metadata.version(name) for name in PACKAGES}
    facts |= {
        "cores": str(cores),
        "memory": memory(_physical_memory()),
        "free disk": memory(shutil.disk_usage(there).free),
    }
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    facts["accelerator"] = gpu or ("mps" if torch.backends.mps.is_available() else "none")
    return facts


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _data(
    recipe: Recipe, tokenizer: Any, is_encoder_decoder: bool
) -> tuple[dict[str, str], list[str], dict[str, list[int]]]:
    from homestretch.data.prompts import completion_ids, prompt_ids
    from homestretch.data.sources import load

    d = recipe.dataset
    splits = load(
        d.name, columns=d.columns, prompt_suffix=d.prompt_suffix, split={str(k): v for k, v in d.split.items()},
        on_bad_row=d.on_bad_row, rejected=Path(os.devnull), seed=recipe.seed,
        max_train=d.max_train, max_validation=d.max_validation, max_test=d.max_test,
    )  # fmt: skip
    kind = {"is_encoder_decoder": is_encoder_decoder}
    prompts = [prompt_ids(e.prompt, tokenizer, where=e.where, **kind) for e in splits.train]
    answers = [completion_ids(e.completion, e.prompt, tokenizer, where=e.where, **kind) for e in splits.train]
    lengths = {"prompt": [len(p) for p in prompts], "completion": [len(a) for a in answers]}
    counts = {"train": splits.train, "choose by": splits.validation, "report on": splits.test}
    facts = {"source": splits.description, "used": ", ".join(f"{len(v)} to {k}" for k, v in counts.items())}
    for name, limit in _limits(recipe).items():
        n = lengths[name]
        longer = sum(k > limit for k in n)
        facts[f"{name} tokens"] = f"median {median(n):.0f}, longest {max(n)}, {longer} above {limit}"
    shown = [tokenizer.decode(p) + MARK + tokenizer.decode(a) for p, a in zip(prompts, answers, strict=True)]
    return facts, shown[:SAMPLES], lengths


def _limits(recipe: Recipe) -> dict[str, int]:
    return {"prompt": recipe.dataset.max_prompt_length, "completion": recipe.dataset.max_completion_length}


def measured_machine(device: Any) -> Machine:
    """What a device reaches in a float32 matrix product and in a sum."""
    import torch

    a, numbers = torch.ones(MATRIX, MATRIX, device=device), torch.ones(SUMMED, device=device)
    return Machine(
        rate=2 * MATRIX**3 * _times_a_second(lambda: float((a @ a)[0, 0])),
        bandwidth=SUMMED * numbers.element_size() * _times_a_second(lambda: float(numbers.sum())),
    )


def _times_a_second(work: Callable[[], object]) -> float:
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < TIMED_SECONDS:
        work()
        done += 1
    return done / (time.perf_counter() - start)


def _warnings(recipe: Recipe, lengths: dict[str, list[int]]) -> list[str]:
    if recipe.dataset.truncate:
        return []
    longer = {name: sum(n > limit for n in lengths[name]) for name, limit in _limits(recipe).items()}
    return [
        f"{count} {name}s are longer than dataset.max_{name}_length and count as bad rows; "
        "raise it, or set dataset.truncate=true."
        for name, count in longer.items()
        if count
    ]
