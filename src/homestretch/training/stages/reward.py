"""Stage `reward`: fit a reward model on references against failure modes."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from homestretch.algorithms.base import Models
from homestretch.algorithms.reward_model import ContrastBatch, RewardModelling, reward_terms
from homestretch.batch import PairBatch
from homestretch.config.contrast import ContrastConfig
from homestretch.config.decoding import SUCCESS
from homestretch.config.reward import RewardConfig
from homestretch.data.collate import collate_pairs
from homestretch.data.records import Example, example_from_row
from homestretch.data.samplers import epoch_batches
from homestretch.data.tokenize import TokenizedPair
from homestretch.errors import DataError, RecipeError
from homestretch.ops.state_sampling import contrast_places
from homestretch.policies.policy import Policy
from homestretch.results import RewardMode, StageFolder
from homestretch.rewards.goal import goal_state, save_goals
from homestretch.rewards.model import ADAPTER, save_reward
from homestretch.seeds import fold
from homestretch.training.context import Context
from homestretch.training.doctor import watcher
from homestretch.training.loop import Plan, Progress, fit
from homestretch.training.stages.negatives import MEASURES
from homestretch.writing import write_text

MODES = "reward_model.json"


def run(context: Context, config: RewardConfig, folder: Path) -> Progress:
    """Train on the run's negatives, keep the best checkpoint, and measure it on held-out prompts by failure mode.

    Raises RecipeError without failure modes.
    """
    if "negatives" not in context.folders:
        raise RecipeError("The stage `reward` needs failure modes: put a stage `negatives` before it.")
    source = context.folders["negatives"]
    held_out_mode = json.loads((source / "audit.json").read_text())["held_out"]
    pairs = read_pairs(source / "negatives.jsonl")
    train, held = split_pairs(pairs, held_out_mode)
    learner = context.learner(config, "reward", ADAPTER)
    learner.trunk.add_head("reward", zero=False)
    train_rows, held_rows = (
        context.pair_tokens(part, is_encoder_decoder=learner.trunk.is_encoder_decoder, truncate=True)
        for part in (train, held)
    )
    seed, size = context.recipe.seed, config.train_batch_size
    passes = epoch_batches([row.id for row in train], size, seed=seed)

    def batch_of(number: int) -> PairBatch:
        batch = collate_pairs([train_rows[i] for i in passes(number)])
        return batch if config.contrast is None else with_places(batch, config.contrast, fold("states", seed, number))

    def validate(number: int) -> dict[str, float]:
        rewards = rewards_of_pairs(learner.policy, held_rows)
        modes = by_mode(rewards, held_rows, held_out_mode)
        aurocs = [m.auroc for m in modes.values() if m.auroc is not None and not m.held_out]
        each = {f"auroc/{mode}": m.auroc for mode, m in modes.items() if m.auroc is not None}
        trained = [i for i, row in enumerate(held_rows) if row.failure_mode != held_out_mode]
        chosen_B, rejected_B = (side_B[trained] for side_B in rewards)
        margin_B = torch.tensor([held_rows[i].margin for i in trained], device=chosen_B.device)
        loss = reward_terms(config.kind, chosen_B, rejected_B, margin_B).mean()
        return {"auroc": statistics.fmean(aurocs), "loss": float(loss)} | each

    plan = Plan(
        label=StageFolder(folder).name,
        folder=folder,
        config=config,
        rounds=config.rounds(math.ceil(len(train_rows) / size)),
        batch_of=batch_of,
        parameters=learner.parameters(head="reward"),
        seed=seed,
        budget=context.budget(config),
        validate=validate,
        watch=watcher(config, held_out=held_out_mode),
    )
    algorithm = RewardModelling(config.kind, config.contrast)
    progress = fit(algorithm, Models(policy=learner.policy), plan, learner.accelerator)
    modes = by_mode(rewards_of_pairs(learner.policy, held_rows), held_rows, held_out_mode)
    write_text(folder / MODES, json.dumps({k: m.model_dump() for k, m in modes.items()}, indent=1))
    goals = {} if config.contrast is None else {SUCCESS: goal_state(learner.policy, [r.chosen for r in train_rows])}
    revision = context.recipe.load_options(context.model)["revision"]
    save_reward(
        learner.trunk, context.tokenizer, folder / "model", base=context.model, revision=revision, kind=config.kind
    )
    if goals:
        save_goals(folder / "model", goals)
    return progress


def with_places(batch: PairBatch, config: ContrastConfig, seed: int) -> ContrastBatch:
    """The batch with the places of the states that its contrastive term compares."""
    generator = torch.Generator().manual_seed(seed)
    uniform_BK4 = torch.rand(len(batch), config.states, 4, generator=generator)
    place_BK4 = contrast_places(
        uniform_BK4,
        batch.chosen.length_B,
        batch.rejected.length_B,
        source_percentile=config.source_percentile,
        goal_percentile=config.goal_percentile,
    )
    return ContrastBatch(**vars(batch), place_BK4=place_BK4)


def read_pairs(file: Path) -> list[Example]:
    """Preference rows of a JSONL file. Raises DataError where it has none."""
    rows = rows_of(file)
    if not rows:
        raise DataError(f"{file}: there are no failure modes here; add training pairs or enable more classes.")
    return rows


def rows_of(file: Path) -> list[Example]:
    """The rows of a JSONL file."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]  # splitlines would split at U+2028, inside a text
    return [example_from_row(json.loads(line), where=f"{file}:{n}") for n, line in enumerate(lines, start=1)]


def split_pairs(pairs: list[Example], held_out_mode: str | None) -> tuple[list[Example], list[Example]]:
    """Pairs to train on and pairs to measure on, as they were made; the held-out mode is only measured.

    Raises DataError where there are too few for both.
    """
    measured = [row for row in pairs if row.columns.get(MEASURES)]
    train = [row for row in pairs if not row.columns.get(MEASURES) and row.columns["failure_mode"] != held_out_mode]
    if not train or all(row.columns["failure_mode"] == held_out_mode for row in measured):
        raise DataError(
            f"{len(pairs)} pairs are too few to train a reward model on and to measure it: give more training pairs, "
            "or raise negatives.classes_per_example."
        )
    return train, measured


@torch.no_grad()
def rewards_of_pairs(policy: Policy, rows: list[TokenizedPair]) -> tuple[Tensor, Tensor]:
    """Rewards of either side of the pairs (B,), logits: the chosen ones, and the rejected ones."""
    batch = collate_pairs(rows)
    reward_B = policy.score(batch.chosen.joined(batch.rejected), want={"reward"}).reward_B
    assert reward_B is not None
    chosen_B, rejected_B = reward_B.chunk(2)
    return chosen_B, rejected_B


def by_mode(
    rewards: tuple[Tensor, Tensor], rows: list[TokenizedPair], held_out_mode: str | None
) -> dict[str, RewardMode]:
    """Accuracy within pairs and area under the ROC curve, for each failure mode."""
    chosen_B, rejected_B = rewards
    places: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        places[row.failure_mode].append(i)
    return {mode: _mode(chosen_B[at], rejected_B[at], mode == held_out_mode) for mode, at in sorted(places.items())}


def _mode(chosen_b: Tensor, rejected_b: Tensor, held_out: bool) -> RewardMode:
    from sklearn.metrics import roc_auc_score  # two seconds to import

    labels = [1] * len(chosen_b) + [0] * len(rejected_b)
    auroc = roc_auc_score(labels, torch.cat([chosen_b, rejected_b]).float().cpu().numpy())
    accuracy = float((chosen_b > rejected_b).float().mean())
    return RewardMode(n=len(chosen_b), accuracy=accuracy, auroc=float(auroc), held_out=held_out)
