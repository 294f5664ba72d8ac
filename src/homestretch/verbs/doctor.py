"""Before a run: what this machine has, what the data looks like as tokens, and about what the run will cost.

Costs are arithmetic, not promises; memory is that of `costs`. A forward pass takes 2 N operations a token (N
parameters), a training step 6 N (4 N where only adapters learn), and the machine's speed is that of a matrix product
timed on the spot.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from homestretch import costs
from homestretch.config.negatives import NegativesConfig
from homestretch.config.recipe import Recipe
from homestretch.config.rollouts import RolloutConfig
from homestretch.config.training import MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS_CPU, TrainingConfig
from homestretch.costs import Shape, Work
from homestretch.report.names import duration, memory

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets")
PAIRED = ("reward", "dpo")  # stages whose rows have two answers
SAMPLES, MARK = 3, " >>> "  # the mark stands where the model begins to write
MATRIX, TIMED_SECONDS = 1024, 0.3
EFFICIENCY = 0.5  # of a large matrix product's speed, reached by a whole training step
DECODE_PRICE = 5  # times that of arithmetic: one token a step is bound by memory


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
    tokens = MICRO_BATCH_TOKENS_CPU if device.type == "cpu" else MICRO_BATCH_TOKENS
    needed = memory_needed(
        recipe,
        shape,
        lengths,
        tokens=tokens,
        rows=MAX_ROWS.get(device.type, MAX_ROWS_ELSEWHERE),
        logits=CHUNK_LOGITS_CPU if device.type == "cpu" else CHUNK_LOGITS,
    )
    sections["estimate"] = estimate(recipe, shape, lengths, needed, speed=_speed(recipe))
    return Diagnosis(sections, samples, _warnings(recipe, lengths), needed)


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
    recipe: Recipe, shape: Shape, lengths: dict[str, list[int]], *, tokens: int, rows: int, logits: int
) -> dict[str, float]:
    """Bytes of the peak of each training stage, by name; the settings are those of `work_of`."""
    return {
        s.name: costs.memory(shape, work_of(s.kind, s.config, lengths, tokens=tokens, rows=rows, logits=logits))["peak"]
        for s in recipe.stages
        if isinstance(s.config, TrainingConfig)
    }


def estimate(
    recipe: Recipe, shape: Shape, lengths: dict[str, list[int]], needed: dict[str, float], *, speed: float
) -> dict[str, str]:
    """Memory and time of each stage. `lengths`: tokens of prompts and completions; `needed`: bytes of each stage;
    `speed`: operations a second."""
    facts: dict[str, str] = {"parameters": f"{shape.parameters / 1e6:.0f} million"}
    facts |= {f"{name} memory": f"about {memory(round(value))}" for name, value in needed.items()}
    trained = [(s.name, s.kind, s.config) for s in recipe.stages if isinstance(s.config, TrainingConfig)]
    load = Load(
        examples=len(lengths["prompt"]),
        prompt=median(lengths["prompt"] or [0]),
        answer=median(lengths["completion"] or [0]),
        failures=_failures_of_an_example(recipe),
    )
    by_parameter = {name: _operations(kind, config, load) for name, kind, config in trained}
    seconds = {name: count * shape.parameters / (speed * EFFICIENCY) for name, count in by_parameter.items()}
    facts |= {name: f"about {duration(value)}" for name, value in seconds.items()}
    facts["all training"] = f"about {duration(sum(seconds.values()))}, validation and evaluation apart"
    return facts


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


def _operations(kind: str, config: Any, load: Load) -> float:
    """Operations of a stage by parameter; a prompt counts once for all that is packed behind it."""
    step = 4 if config.use_peft else 6
    if isinstance(config, RolloutConfig):
        samples = (config.max_steps or 1) * config.rollout_batch_size
        samples = _limit(config, load.prompt + load.answer, samples * config.num_ppo_epochs) / config.num_ppo_epochs
        scoring = 2 * len(("old", "reference", "reward"))
        tokens = load.answer + load.prompt / config.num_generations
        return float(samples * (load.answer * 2 * DECODE_PRICE + tokens * (scoring + config.num_ppo_epochs * step)))
    if kind == "reward":
        tokens, rows = load.answer + (load.prompt + load.answer) / load.failures, load.examples * load.failures
    else:
        tokens, rows = load.prompt + load.answer, load.examples
    own = config.max_steps * config.train_batch_size if config.max_steps else rows * config.num_train_epochs
    return float(_limit(config, load.prompt + load.answer, own) * tokens * step)


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


def _speed(recipe: Recipe) -> float:
    """Operations a second of a float32 matrix product on the recipe's device."""
    import torch

    from homestretch.policies.load import choose_device

    device = choose_device(recipe.device)
    a = torch.ones(MATRIX, MATRIX, device=device)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < TIMED_SECONDS:
        float((a @ a)[0, 0])
        done += 1
    return done * 2 * MATRIX**3 / (time.perf_counter() - start)


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
