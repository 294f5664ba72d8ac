"""Before a run: what this machine has, what the data looks like as tokens, and about what the run will cost.

Costs are arithmetic, not promises: that of `costs`, at the speed of a matrix product and of a sum timed on the spot.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from homestretch.config.negatives import NegativesConfig
from homestretch.config.recipe import Recipe
from homestretch.config.rollouts import RolloutConfig
from homestretch.config.training import MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS_CPU, TrainingConfig
from homestretch.costs.memory import CPU, GPU, Numbers, Work, needed
from homestretch.costs.shape import Row, Shape
from homestretch.costs.time import Machine, Round, learning, round_seconds
from homestretch.report.names import duration, memory

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets")
PAIRED = ("reward", "dpo")  # stages whose rows have two answers
SAMPLES, MARK = 3, " >>> "  # the mark stands where the model begins to write
MATRIX, SUMMED, TIMED_SECONDS = 1024, 1 << 25, 0.3


@dataclass(frozen=True)
class Diagnosis:
    """Named facts in sections, three rendered samples, warnings, each one sentence, and bytes of each stage's peak."""

    sections: dict[str, dict[str, str]]
    samples: list[str]
    warnings: list[str]
    memory: dict[str, float] = field(default_factory=dict)


def doctor(recipe: Recipe | None = None, *, out: Path = Path("runs")) -> Diagnosis:
    """Facts about this machine and, with a recipe, about its data and costs. Loads a tokenizer, no weights.

    Raises InputError where the recipe cannot run: no such data, no such model, no such device.
    """
    sections = {"environment": environment(out)}
    if recipe is None:
        return Diagnosis(sections, [], [])
    from homestretch.generation.schedule import MAX_ROWS, MAX_ROWS_ELSEWHERE
    from homestretch.policies.load import choose_device, load_tokenizer
    from homestretch.policies.shape import model_shape
    from homestretch.policies.trunk import CHUNK_LOGITS, CHUNK_LOGITS_CPU

    device = choose_device(recipe.device)
    tokenizer = load_tokenizer(recipe.model_name_or_path, revision=recipe.model_revision)
    shape = model_shape(recipe.model_name_or_path, revision=recipe.model_revision)
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
        numbers=CPU if on_cpu else GPU,
    )
    sections["estimate"] = estimate(
        recipe, shape, lengths, peaks, machine=measured_machine(device), rows=rows, rough=unchecked(recipe, device)
    )
    return Diagnosis(sections, samples, _warnings(recipe, lengths), peaks)


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


def memory_needed(
    recipe: Recipe,
    shape: Shape,
    lengths: dict[str, list[int]],
    *,
    tokens: int,
    rows: int,
    logits: int,
    numbers: Numbers = CPU,
) -> dict[str, float]:
    """Bytes of the peak of each training stage, by name; the settings are those of `work_of`."""
    works = {
        s.name: work_of(s.kind, s.config, lengths, tokens=tokens, rows=rows, logits=logits)
        for s in recipe.stages
        if isinstance(s.config, TrainingConfig)
    }
    return {name: needed(shape, work, numbers)["peak"] for name, work in works.items()}


def estimate(
    recipe: Recipe,
    shape: Shape,
    lengths: dict[str, list[int]],
    peaks: dict[str, float],
    *,
    machine: Machine,
    rows: int,
    rough: Collection[str] = (),
) -> dict[str, str]:
    """Memory and time of each stage. `lengths`: tokens of prompts and completions; `peaks`: bytes of each stage, of
    which those of `rough` have not been checked; `rows` that decode at a time."""
    facts: dict[str, str] = {"parameters": f"{shape.parameters / 1e6:.0f} million"}
    for name, value in peaks.items():
        doubt = ", roughly: only float32 on a CPU has been checked" if name in rough else ""
        facts[f"{name} memory"] = f"about {memory(round(value))}{doubt}"
    trained = [(s.name, s.kind, s.config) for s in recipe.stages if isinstance(s.config, TrainingConfig)]
    load = Load(
        examples=len(lengths["prompt"]),
        prompt=median(lengths["prompt"] or [0]),
        answer=median(lengths["completion"] or [0]),
        failures=_failures_of_an_example(recipe),
    )
    seconds = {name: stage_seconds(shape, kind, config, load, machine, rows=rows) for name, kind, config in trained}
    facts |= {name: f"about {duration(value)}" for name, value in seconds.items()}
    facts["all training"] = f"about {duration(sum(seconds.values()))}, validation and evaluation apart"
    return facts


def unchecked(recipe: Recipe, device: Any) -> set[str]:
    """Training stages whose memory is not that of float32 on a CPU, which alone was compared with measured peaks."""
    from homestretch.policies.precision import bf16_pays

    trained = [s for s in recipe.stages if isinstance(s.config, TrainingConfig)]
    return {
        s.name
        for s in trained
        if device.type != "cpu" or (bf16_pays(device) if s.config.bf16 is None else s.config.bf16)
    }


@dataclass(frozen=True)
class Load:
    """Training examples, tokens of a typical prompt and answer, and the failures made of each example."""

    examples: int
    prompt: float
    answer: float
    failures: int


def _failures_of_an_example(recipe: Recipe) -> int:
    config = next((s.config for s in recipe.stages if isinstance(s.config, NegativesConfig)), None)
    if config is None:
        return 1
    return len(config.trained) if config.classes_per_example == "all" else config.classes_per_example


def stage_seconds(shape: Shape, kind: str, config: Any, load: Load, machine: Machine, *, rows: int) -> float:
    """Time of a training stage; a prompt counts once for all that is packed behind it."""
    rank = config.lora_r if config.use_peft else None
    if isinstance(config, RolloutConfig):
        row = Row(load.prompt, load.answer, config.num_generations)
        own = (config.max_steps or 1) * config.rollout_batch_size * config.num_ppo_epochs
        samples = _limit(config, load.prompt + load.answer, own) / config.num_ppo_epochs
        # The policy as it was and the reference give log-probabilities, the reward model does not.
        one = Round(config.rollout_batch_size, rows, config.num_ppo_epochs, scored=2, judged=1)
        parts = round_seconds(shape, row, machine, one, rank, checkpointing=config.gradient_checkpointing)
        return sum(parts.values()) * samples / config.rollout_batch_size
    judged = kind == "reward"
    # The rows of a pair share their prompt with all other answers to it.
    each = (load.failures + 1) / load.failures if judged else 1.0
    row = Row(load.prompt, load.answer, load.failures + 1 if judged else 1)
    pairs = load.examples * (load.failures if judged else 1)
    own = config.max_steps * config.train_batch_size if config.max_steps else pairs * config.num_train_epochs
    count = each * _limit(config, load.prompt + load.answer, own)
    return machine.seconds(
        count * learning(shape, row, rank, scored=not judged, checkpointing=config.gradient_checkpointing)
    )


def _limit(config: TrainingConfig, tokens: float, own: float) -> float:
    """Rows of optimiser batches in all: `own`, or what `train_until` leaves time for as far as that can be counted."""
    prices = {"samples": 1.0, "tokens": tokens}
    return min((n / prices[unit] for unit, n in config.train_until.items() if unit in prices), default=own)


def work_of(kind: str, config: Any, lengths: dict[str, list[int]], *, tokens: int, rows: int, logits: int) -> Work:
    """What a stage holds and does at a time on these data; `tokens` of a pass where the stage does not say, `rows` that
    decode together at most, `logits` of a chunk."""
    prompt, answer = (mean(lengths[name] or [0]) for name in ("prompt", "completion"))
    rl = isinstance(config, RolloutConfig)
    answers = 2 if kind in PAIRED else 1
    batch = config.train_batch_size * (answers * answer + (prompt / config.num_generations if rl else prompt))
    budget = config.micro_batch_tokens or tokens
    decoded = config.rollout_batch_size if rl else config.eval_examples
    own_value = getattr(config, "value_init", "policy") == "reward"
    return Work(
        rank=config.lora_r if config.use_peft else None,
        pass_tokens=min(budget, batch),
        several=batch > budget,
        logits=logits,
        checkpointing=config.gradient_checkpointing,
        # Where every weight is trained, the reference and the reward model have weights of their own.
        models=3 if rl and not config.use_peft else 1,
        adapters=2 + own_value if rl else 1,
        views=1 + own_value,
        rows=0 if kind in ("reward", "value") else min(rows, decoded),
        row_tokens=max(lengths["prompt"], default=0) + max(lengths["completion"], default=0),
    )


def _data(
    recipe: Recipe, tokenizer: Any, is_encoder_decoder: bool
) -> tuple[dict[str, str], list[str], dict[str, list[int]]]:
    from homestretch.data.prompts import completion_ids, prompt_ids
    from homestretch.data.sources import load

    d = recipe.dataset
    splits = load(
        d.name, columns=d.columns, split={str(k): v for k, v in d.split.items()}, on_bad_row=d.on_bad_row,
        rejected=Path(os.devnull), seed=recipe.seed,
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
