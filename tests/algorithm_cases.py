"""Every training method with settings that differ from its defaults, and what it learns from in tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tiny import VOCAB
from toy import (
    accelerator,
    batch_of,
    judged_of,
    pairs_of,
    plan,
    ppo_models,
    priced_of,
    prompts_of,
    ranked_of,
    several_of,
    stored_of,
    trunk_of,
)

from homestretch.algorithms.alol import ALOL
from homestretch.algorithms.base import Models
from homestretch.algorithms.distill import Distill
from homestretch.algorithms.dpo import DPO
from homestretch.algorithms.gold import GOLD
from homestretch.algorithms.grpo import GRPO
from homestretch.algorithms.ift import IFT
from homestretch.algorithms.modpo import MODPO
from homestretch.algorithms.ppo import PPO
from homestretch.algorithms.reward_model import RewardModelling
from homestretch.algorithms.rloo import RLOO
from homestretch.algorithms.sft import SFT
from homestretch.algorithms.value import ValueFit
from homestretch.algorithms.wbc import WBC
from homestretch.batch import Batch, LossTerms
from homestretch.config.alol import ALOLConfig
from homestretch.config.distill import DistillConfig
from homestretch.config.dpo import DPOConfig
from homestretch.config.gold import GOLDConfig
from homestretch.config.grpo import GRPOConfig
from homestretch.config.ift import IFTConfig
from homestretch.config.modpo import MODPOConfig
from homestretch.config.ppo import PPOConfig
from homestretch.config.reward import RewardConfig
from homestretch.config.rloo import RLOOConfig
from homestretch.config.sft import SFTConfig
from homestretch.config.training import TrainingConfig
from homestretch.config.value import ValueConfig
from homestretch.config.wbc import WBCConfig
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.training.loop import fit

SMALL = {"rollout_batch_size": 8, "train_batch_size": 4, "num_generations": 4}
SMALL_PPO = {**SMALL, "value_warmup_steps": 0}


@dataclass(frozen=True)
class Case:
    """An algorithm with settings that differ from the defaults, and the batches it learns from."""

    stage: str
    config: TrainingConfig
    make: Any
    batches: Any
    heads: tuple[str, ...] = ()
    knows: frozenset[str] = frozenset()
    """What `models` gives and its batches hold: no more than what `needs` says."""
    reads: tuple[str, ...] = ()
    """Columns of its batches that it cannot do without, ids and masks apart."""


def alol(variant: str, needs: set[str], reads: tuple[str, ...]) -> Case:
    """One form of A-LoL."""
    beta = {"beta": 0.1} if variant == "a_lol_kl" else {}
    config = ALOLConfig(variant=variant, cliprange=None if variant == "a_lol_ref_free" else 0.5, **beta)
    return Case("alol", config, ALOL, judged_of, (), frozenset({"pairs", "rewards"} | needs), reads)


def group(stage: str, config: TrainingConfig, algorithm: Any) -> Case:
    """An online method without a critic."""
    needs = frozenset({"pairs", "rewards", "reference", "rollouts"})
    return Case(stage, config, algorithm, lambda n: prompts_of(n, size=8), (), needs)


def ift(**settings: Any) -> Case:
    """One form of intuitive fine-tuning."""
    return Case("ift", IFTConfig(**settings), IFT, batch_of, (), frozenset({"pairs"}))


def distill(*needs: str, **settings: Any) -> Case:
    """One form of distillation, on stored texts or, with `rollouts`, on texts of its own."""
    config = DistillConfig(teacher_name_or_path="teacher", **settings)
    batches = (lambda n: prompts_of(n, size=8)) if "rollouts" in needs else batch_of
    return Case("distill", config, lambda c: Distill(c, vocabulary=VOCAB), batches, (), frozenset({"pairs", *needs}))


CASES = {
    "sft": Case("sft", SFTConfig(learning_rate=3e-5, max_steps=2), lambda c: SFT(), batch_of, (), frozenset({"pairs"})),
    "ift": ift(),
    "ift as printed": ift(formula="eq21", lam_schedule="noisy"),
    "ift by algorithm 1": ift(formula="alg1", gamma=0.5, lam_schedule="linear", lam_start=0.1, lam_warmup_steps=3.0),
    "ift with constant weights": ift(detach_weights=True, embedding="live", lam=0.4),
    "reward classifier": Case(
        "reward",
        RewardConfig(),
        lambda c: RewardModelling(c.kind),
        pairs_of,
        ("reward",),
        frozenset({"pairs", "negatives"}),
    ),
    "reward pairwise": Case(
        "reward",
        RewardConfig(kind="pairwise", lora_target_modules=["q_proj", "v_proj"]),
        lambda c: RewardModelling(c.kind),
        pairs_of,
        ("reward",),
        frozenset({"pairs", "negatives"}),
    ),
    "wbc": Case(
        "wbc",
        WBCConfig(sampling="uniform", learning_rate=3e-4),
        lambda c: WBC(),
        stored_of,
        (),
        frozenset({"pairs", "rewards"}),
        ("reward_B",),
    ),
    "gold": Case(
        "gold",
        GOLDConfig(floor=0.2),
        GOLD,
        stored_of,
        (),
        frozenset({"pairs", "rewards"}),
        ("reward_B",),
    ),
    "value": Case(
        "value",
        ValueConfig(responses="stored", r_max=2.0, temperature=0.5),
        lambda c: ValueFit(),
        priced_of,
        ("prompt_value",),
        frozenset({"pairs", "rewards", "value"}),
        ("reward_B",),
    ),
    "alol": alol("a_lol", {"value", "reference"}, ("adv_B", "logp_ref_BT")),
    "alol by token": alol("a_lol_seq", {"value", "reference"}, ("adv_B", "logp_ref_BT")),
    "alol without reference": alol("a_lol_ref_free", {"value"}, ("adv_B",)),
    "alol with divergence": alol("a_lol_kl", {"value", "reference"}, ("adv_B", "logp_ref_BT")),
    "alol by reward": alol("r_lol", {"reference"}, ("reward_B", "logp_ref_BT")),
    "dpo": Case(
        "dpo",
        DPOConfig(beta=0.3, label_smoothing=0.1, failure_modes=["mined"]),
        DPO,
        ranked_of,
        (),
        frozenset({"pairs", "negatives", "reference"}),
        ("logp_ref_chosen_B", "logp_ref_rejected_B"),
    ),
    "modpo": Case(
        "modpo",
        MODPOConfig(weight=0.6, rewards={"concise": 0.4}, beta=0.3, loss_type="hinge"),
        MODPO,
        several_of,
        (),
        frozenset({"pairs", "negatives", "reference", "rewards"}),
        ("logp_ref_chosen_B", "logp_ref_rejected_B", "reward_chosen_BM", "reward_rejected_BM"),
    ),
    "ppo": Case(
        "ppo",
        PPOConfig(kl="off", reward_clip_range=None, **SMALL_PPO),
        PPO,
        lambda n: prompts_of(n, size=8),
        ("value",),
        frozenset({"pairs", "rewards", "reference", "value", "rollouts"}),
    ),
    "ppo look-ahead": Case(
        "ppo",
        PPOConfig(lookahead_k=3, lookahead_baseline="set", average="sequence", kl_estimator="k3", **SMALL_PPO),
        PPO,
        lambda n: prompts_of(n, size=8),
        ("value",),
        frozenset({"pairs", "rewards", "reference", "value", "rollouts"}),
    ),
    "rloo": group("rloo", RLOOConfig(kl_coef=0.2, num_ppo_epochs=2, **SMALL), RLOO),
    "grpo": group("grpo", GRPOConfig(beta=0.2, num_ppo_epochs=2, **SMALL), GRPO),
    "grpo without scale": group("grpo", GRPOConfig(scale_rewards="none", average="token", **SMALL), GRPO),
    "distill": distill("teacher", reduction="sequence", loss_temperature=2.0),
    "distill backwards": distill("teacher", divergence="reverse_kl", source="data"),
    "distill both ways": distill("teacher", divergence="jeffreys"),
    "distill between": distill("teacher", divergence="jsd", beta=0.3),
    "distill best tokens": distill("teacher", top_k=5),
    "distill own texts": distill("teacher", "rollouts", source="online_student"),
    "distill whole texts": distill(divergence="sequence", num_generations=2),
}


def models_of(case: Case, trunk: Trunk, *, tokens: int = 4) -> Models:
    """What the case needs, around a fully trained trunk."""
    models = ppo_models(trunk, tokens=tokens) if "rollouts" in case.knows else Models(Policy(trunk, None, budget=4096))
    if "teacher" not in case.knows:
        return models
    return replace(models, teacher=Policy(trunk_of(seed=1), None, budget=4096))


class Killed(BaseException):
    """Stands for the end of the process."""


def train(
    case: Case, folder: Path, *, rounds: int = 2, killed_in: int | None = None
) -> tuple[dict[str, torch.Tensor], list[LossTerms]]:
    """Weights after a few rounds from the same start, and the terms of every loss on the way. `killed_in` raises
    Killed at the start of that round; called again for the folder, training goes on."""
    trunk = trunk_of(heads=case.heads)
    algorithm = case.make(case.config)
    models = models_of(case, trunk)
    seen: list[LossTerms] = []
    inner = algorithm.loss
    algorithm.loss = lambda models, batch: seen.append(inner(models, batch)) or seen[-1]
    config = case.config.model_copy(update={"metric_for_best_model": "none"})

    def batches(number: int) -> Batch:
        if number == killed_in:
            raise Killed
        return case.batches(number)

    fit(algorithm, models, plan(folder, trunk, config, rounds=rounds, every=1, batch_of=batches), accelerator())
    return {k: v.detach().clone() for k, v in trunk.named_parameters()}, seen
