"""The training loop. It does not know the method: an algorithm makes loss terms, the loop averages and applies them.

A *round* is the unit of progress: one optimiser step for an offline method, one rollout with its updates for an
online one. Rounds are functions of their number, so a run that was killed goes on from the last checkpoint and ends
with the same bits. Gradients of summed terms are divided by the count of the whole optimiser batch, so the result
does not depend on how the batch was cut into micro-batches.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from homestretch import ranks
from homestretch.algorithms.base import Algorithm, Models
from homestretch.batch import Batch
from homestretch.collectives import dealt, from_first, gathered, wait
from homestretch.config.training import TrainingConfig
from homestretch.errors import PeerLost, TrainingDiverged
from homestretch.ops.schedules import learning_rate_factor
from homestretch.policies.memory import release
from homestretch.progress import progress, say
from homestretch.seeds import fold
from homestretch.training import checkpoint
from homestretch.training.course import ends_a_part, expected_rounds, share_done
from homestretch.training.gradients import gradients
from homestretch.training.logs import MetricsLog
from homestretch.training.optim import (
    Parameters,
    clip_gradients,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_rate,
)
from homestretch.training.quantities import check_chooser, direction

MAX_BAD_STEPS = 3


@dataclass(frozen=True)
class Plan:
    """What one stage trains: how many rounds, where each round's batch comes from, and how it is judged.

    `label` is the stage's name in the recipe, under which its settings are changed.
    Where the settings say `train_until`, that ends the stage instead, and `rounds` is only a first guess.
    `validate(round)` gives metrics, those that are not finite for this time without a value; the checkpoint with the
    best `metric_for_best_model` is kept, which must be among them (RecipeError) unless there are none at all; with
    `keep_start` the start counts as one, and is validated too. `watch(row)` sees every logged row and answers with
    sentences of advice, if there are any, and whether to stop.
    """

    label: str
    folder: Path
    config: TrainingConfig
    rounds: int
    batch_of: Callable[[int], Batch]
    parameters: Parameters
    seed: int
    budget: int
    validate: Callable[[int], dict[str, float]] | None = None
    keep_start: bool = False
    watch: Callable[[dict[str, Any]], tuple[list[str], bool]] | None = None


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint. `budget` is that of the plan unless memory ran out.

    `samples` are the rows of all optimiser batches so far, a pair being one row; `tokens` are theirs.
    """

    round: int = 0
    updates: int = 0
    tokens: int = 0
    samples: int = 0
    seconds: float = 0.0
    bad_steps: int = 0
    best: float | None = None
    best_round: int | None = None
    stopped: bool = False
    budget: int | None = None
    algorithm: dict[str, float] = field(default_factory=dict)


def fit(algorithm: Algorithm, models: Models, plan: Plan, accelerator: Accelerator) -> Progress:
    """Train to the end of the plan, from the last checkpoint in its folder if there is one.

    Afterwards `plan.parameters` hold the best round's values, or the last round's without validation. Raises
    TrainingDiverged when three optimiser steps in a row have no finite loss or gradient.
    """
    return _Fit(algorithm, models, plan, accelerator).run()


class _Fit:
    def __init__(self, algorithm: Algorithm, models: Models, plan: Plan, accelerator: Accelerator) -> None:
        self.algorithm, self.models, self.plan, self.accelerator = algorithm, models, plan, accelerator
        self.optimizer = make_optimizer(plan.parameters, plan.config)
        self.log = MetricsLog(plan.folder / "metrics.jsonl")
        self.checkpoints = plan.folder / "checkpoints"
        self.at = Progress()
        self.until = plan.config.train_until
        self.eval_every = plan.config.eval_steps if self.until else plan.config.eval_every(plan.rounds)
        self.save_every = plan.config.save_steps or self.eval_every

    def run(self) -> Progress:
        plan = self.plan
        self._resume()
        with progress(None if self.until else plan.rounds, plan.label, "round", done=self.at.round) as bar:
            if self.at.round == 0 and plan.keep_start:
                self._validate()
            batches = ((r, plan.batch_of(r)) for r in itertools.count(self.at.round))
            stream = self.algorithm.stream(self.models, batches)
            while self._share() < 1 and not self.at.stopped:
                before, started = self._share(), time.monotonic()
                torch.manual_seed(fold("round", plan.seed, self.at.round))
                rounds = expected_rounds(self.until, before, done=self.at.round, rounds=plan.rounds)
                set_rate(self.optimizer, self._rate_factor(rounds))
                self.algorithm.expect(rounds)
                made = next(stream)
                row = self._updates(made.updates) | made.stats
                release()
                self.at.round += 1
                self.at.seconds = from_first(self.at.seconds + time.monotonic() - started)
                self._finish_round(row, before)
                bar.advance(1, **{k: row[k] for k in ("loss", "reward", "objective/kl") if k in row})
        self._load_best()
        for tracker in self.accelerator.trackers:  # `end_training` would part the processes too
            tracker.finish()
        return self.at

    def _updates(self, updates: Any) -> dict[str, float]:
        rows = [self._step(batch) for batch in updates]
        keys = dict.fromkeys(key for row in rows for key in row)
        return {k: sum(row[k] for row in rows if k in row) / sum(k in row for row in rows) for k in keys}

    def _step(self, batch: Batch) -> dict[str, float]:
        plan, budget = self.plan, self.at.budget or self.plan.budget
        totals = gradients(
            batch,
            lambda part: self.algorithm.loss(self.models, part),
            plan.parameters,
            budget=budget,
            seed=fold("update", plan.seed, self.at.updates),
        )
        if totals.budget < budget:
            self._shrink(totals.budget)
        norm = clip_gradients(plan.parameters.values(), plan.config.max_grad_norm)
        finite = math.isfinite(totals.loss) and math.isfinite(norm)
        if finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._guard(finite, batch)
        self.at.updates += 1
        self.at.tokens += int(batch.tokens_B.sum())
        self.at.samples += len(batch)
        rate = self.optimizer.param_groups[0]["lr"]
        return totals.means() | {"grad_norm": norm, "learning_rate": rate}

    def _shrink(self, budget: int) -> None:
        """Memory ran out: go on with smaller micro-batches, which change nothing but speed."""
        self.at.budget = budget
        setting = f"{self.plan.label}.micro_batch_tokens={budget}"
        advice = f"Memory ran out; passes have {budget} tokens from here on, and from the start with {setting}."
        self.log.write(self.at.round + 1, {"micro_batch_tokens": budget, "doctor": advice})
        say(f"{self.plan.label}, round {self.at.round + 1}: {advice}")

    def _share(self) -> float:
        return share_done(self.until, vars(self.at), rounds=self.plan.rounds)

    def _rate_factor(self, rounds: float) -> float:
        config, done = self.plan.config, self.at.round
        warmup = config.warmup_steps if config.warmup_steps >= 1 else config.warmup_steps * rounds
        # Round numbers start at 0 and the ramp starts above 0, or the first round would change nothing.
        return learning_rate_factor(
            done + 1, kind=config.lr_scheduler_type, warmup_steps=int(warmup) + 1, total_steps=rounds + 1
        )

    def _guard(self, finite: bool, batch: Batch) -> None:
        self.at.bad_steps = 0 if finite else self.at.bad_steps + 1
        if finite:
            return
        folder = self.plan.folder / "bad_batches"
        if ranks.is_first():
            folder.mkdir(exist_ok=True)
            tensors = {k: v.contiguous() for k, v in batch.flat().items()}
            save_file(tensors, folder / f"update-{self.at.updates}.safetensors")
        # The row belongs to the round under way, or a resume from its start would keep it and write it again.
        self.log.write(self.at.round + 1, {"skipped_update": self.at.updates})
        say(f"{self.plan.label}, round {self.at.round + 1}: the loss was not finite, so the step is left out.")
        if self.at.bad_steps >= MAX_BAD_STEPS:
            self._save()
            raise TrainingDiverged(
                f"The loss was not finite for {MAX_BAD_STEPS} updates in a row; the batches are in {folder} and a "
                f"checkpoint was kept: lower {self.plan.label}.learning_rate or set {self.plan.label}.bf16=false, "
                "and start in a new folder."
            )

    def _finish_round(self, row: dict[str, float], before: float) -> None:
        at, share = self.at, self._share()
        row = {"seconds": round(at.seconds, 2), "num_tokens": at.tokens, "num_samples": at.samples, **row}
        self._record(row)
        self._watch(row)

        def due(every: int | None) -> bool:
            return share >= 1 or (ends_a_part(before, share) if every is None else at.round % every == 0)

        if due(self.eval_every) or at.stopped:  # what is kept must have been measured
            self._validate()
        if due(self.save_every) or at.stopped:
            self._save()

    def _record(self, row: dict[str, float]) -> None:
        self.log.write(self.at.round, row)
        self.accelerator.log(row, step=self.at.round)

    def _validate(self) -> None:
        if self.plan.validate is None:
            return
        metrics, chooser = self.plan.validate(self.at.round), self.plan.config.metric_for_best_model
        check_chooser(self.plan.label, chooser, metrics)
        row = {f"eval/{k}": v for k, v in metrics.items() if math.isfinite(v)}
        self._record(row)
        value = row.get(f"eval/{chooser}")
        if value is not None and self._better(value):
            self.at.best, self.at.best_round = value, self.at.round
            checkpoint.save(
                self.plan.folder / "best", dict(self.plan.parameters), {"round": self.at.round, "metric": value}
            )
        self._watch(row)

    def _better(self, value: float) -> bool:
        best, sign = self.at.best, direction(self.plan.config.metric_for_best_model)
        return best is None or sign * value > sign * best

    def _watch(self, row: dict[str, Any]) -> None:
        if self.plan.watch is None:
            return
        sentences, stop = self.plan.watch({"step": self.at.round, **row})
        for sentence in sentences:  # a row each, since each has its own mark in the report
            self.log.write(self.at.round, {"doctor": sentence})
            say(f"{self.plan.label}, round {self.at.round}: {sentence}")
        self.at.stopped = self.at.stopped or stop

    def _save(self) -> None:
        self._compare()
        self.at.algorithm = self.algorithm.state()
        tensors = dict(self.plan.parameters) | optimizer_tensors(self.optimizer, self.plan.parameters)
        folder = self.checkpoints / f"{checkpoint.PREFIX}{self.at.round}"
        checkpoint.save(folder, tensors, vars(self.at) | {"seed": self.plan.seed})
        checkpoint.keep_only(self.checkpoints, folder)

    def _compare(self) -> None:
        """Processes take the same steps, so a difference between their weights is a fault and must not go on."""
        if ranks.count() == 1:
            return
        kept = [p.detach() for p in self.plan.parameters.values() if not isinstance(p, DTensor)]  # by each of them
        sums = repr([float(p.double().sum()) for p in kept])
        if any(other != sums for other in gathered(sums)):
            raise PeerLost("The processes of this run have come to different weights; start the same command again.")

    def _resume(self) -> None:
        folder = from_first(checkpoint.latest(self.checkpoints))
        tensors, state = checkpoint.load(folder) if folder is not None else ({}, {"round": -1})
        self.log.cut(state["round"])
        wait()
        if folder is None:
            return
        state.pop("seed")
        self.at = Progress(**state)
        _assign(self.plan.parameters, tensors)
        load_optimizer_tensors(self.optimizer, self.plan.parameters, tensors)
        self.algorithm.load_state(self.at.algorithm)
        for row in self.log.rows() if self.plan.watch else []:
            self.plan.watch(row)

    def _load_best(self) -> None:
        wait()  # until it is written
        if self.at.best_round is not None:
            # The last checkpoint counts on it: without it the whole stage has to begin again.
            best, _ = checkpoint.load(self.plan.folder / "best", delete=self.plan.folder)
            _assign(self.plan.parameters, best)


def _assign(parameters: Parameters, tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(dealt(tensors[name], like=parameter))
