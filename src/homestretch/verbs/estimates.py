"""What the stages of a recipe will take on given data: bytes and seconds, by the arithmetic of `costs`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

from homestretch.config.distill import DistillConfig
from homestretch.config.negatives import NegativesConfig
from homestretch.config.recipe import Recipe
from homestretch.config.rollouts import RolloutConfig
from homestretch.config.training import TrainingConfig
from homestretch.costs.memory import CPU, GPU, Numbers, Work, needed
from homestretch.costs.shape import Row, Shape
from homestretch.costs.time import Machine, Round, learning, round_seconds
from homestretch.report.names import duration, memory

PAIRED = ("reward", "dpo", "modpo")  # stages whose rows have two answers


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


def seconds_needed(
    recipe: Recipe, shape: Shape, lengths: dict[str, list[int]], *, machine: Machine, rows: int
) -> dict[str, float]:
    """Seconds of each training stage, by name. `lengths`: tokens of prompts and completions; `rows` that decode at a
    time."""
    load = load_of(recipe, lengths)
    return {
        s.name: stage_seconds(shape, s.kind, s.config, load, machine, rows=rows)
        for s in recipe.stages
        if isinstance(s.config, TrainingConfig)
    }


def estimate(
    shape: Shape, peaks: dict[str, float], seconds: dict[str, float], *, rough: Collection[str] = ()
) -> dict[str, str]:
    """Memory and time of each stage in words; the peaks of those in `rough` have not been checked."""
    facts: dict[str, str] = {"parameters": f"{shape.parameters / 1e6:.0f} million"}
    for name, value in peaks.items():
        doubt = ", roughly: only float32 on a CPU has been checked" if name in rough else ""
        facts[f"{name} memory"] = f"about {memory(round(value))}{doubt}"
    facts |= {name: f"about {duration(value)}" for name, value in seconds.items()}
    facts["all training"] = f"about {duration(sum(seconds.values()))}, validation and evaluation apart"
    return facts


def unchecked(recipe: Recipe, device: Any) -> set[str]:
    """Training stages whose memory is not that of float32 on a CPU, which alone was compared with measured peaks."""
    from homestretch.policies.precision import bf16_pays

    known = device.type == "cpu" and recipe.dtype in ("auto", "float32")

    trained = {s.name: s.config for s in recipe.stages if isinstance(s.config, TrainingConfig)}
    return {name for name, c in trained.items() if not known or (bf16_pays(device) if c.bf16 is None else c.bf16)}


def numbers_of(recipe: Recipe, device: Any) -> Numbers:
    """What numbers weigh on a device, with the recipe's type of weights."""
    weight = {"auto": 4, "float32": 4, "bfloat16": 2, "float16": 2}[recipe.dtype]
    return replace(CPU if device.type == "cpu" else GPU, weight=weight)


@dataclass(frozen=True)
class Load:
    """Training examples, tokens of a typical prompt and answer, and the failures made of each example."""

    examples: int
    prompt: float
    answer: float
    failures: int


def load_of(recipe: Recipe, lengths: dict[str, list[int]]) -> Load:
    """The load of a recipe on data with these tokens of prompts and completions."""
    return Load(
        examples=len(lengths["prompt"]),
        prompt=median(lengths["prompt"] or [0]),
        answer=median(lengths["completion"] or [0]),
        failures=_failures_of_an_example(recipe),
    )


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
        own = config.rounds_of(load.examples) * config.rollout_batch_size * config.num_ppo_epochs
        samples = _limit(config, load.prompt + load.answer, own) / config.num_ppo_epochs
        # The policy as it was and the reference give log-probabilities, the reward model does not.
        one = Round(config.rollout_batch_size, rows, config.num_ppo_epochs, scored=2, judged=1)
        parts = round_seconds(shape, row, machine, one, rank, checkpointing=config.gradient_checkpointing)
        return sum(parts.values()) * samples / config.rollout_batch_size
    judged = kind == "reward"
    # The rows of a pair share their prompt with all other answers to it.
    each = (load.failures + 1) / load.failures if judged else 1.0
    row = Row(load.prompt, load.answer, load.failures + 1 if judged else 1)
    count = each * rows_learned(kind, config, load)
    return machine.seconds(
        count * learning(shape, row, rank, scored=not judged, checkpointing=config.gradient_checkpointing)
    )


def rows_learned(kind: str, config: TrainingConfig, load: Load) -> float:
    """Rows of all optimiser batches of a stage that does not learn from rollouts, a pair being one."""
    copies = load.failures if kind == "reward" else 1
    if isinstance(config, DistillConfig):
        copies = config.num_generations
    passes = load.examples * copies * config.num_train_epochs
    own = config.max_steps * config.train_batch_size if config.max_steps else passes
    return _limit(config, load.prompt + load.answer, own)


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
