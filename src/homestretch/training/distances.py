"""How far a student is from its teacher and from the oracle that the teacher learnt from, at each validation.

    KL(p_R || p)  = E_x E_{y ~ p_R(. | x)} sum_t KL(p_R(. | x, y_<t) || p(. | x, y_<t))                  (1)
    JSD(p_R, p)   = the same of eq. 4 of `ops.distillation` at beta 1/2, which is always finite          (2)
    proxy         = eq. 1 with R the teacher        golden = eq. 1 with R the oracle                     (3)

(Tiapkin et al., ICML 2025, arXiv:2502.02671; the chain rule makes eq. 1 exact for texts that end.) Nats a text. One
text y for each validation prompt is drawn once and kept with the reference's states, so that a curve has no noise of
sampling: between two evaluations only the student has changed. Of a text that does not end, its tokens count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from homestretch import ranks
from homestretch.algorithms.distill import states
from homestretch.batch import SequenceBatch
from homestretch.config.distill import DistillConfig
from homestretch.data.collate import collate
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import InputError
from homestretch.generation.rollout import rollout
from homestretch.generation.sampling import SamplingConfig
from homestretch.ops.distillation import jsd, kl, log_law
from homestretch.ops.logprobs import in_chunks
from homestretch.policies.load import end_ids
from homestretch.policies.policy import Policy
from homestretch.rewards.cache import content_key
from homestretch.seeds import fold
from homestretch.training.context import Context
from homestretch.training.precomputed import once
from homestretch.training.vocabulary import check_width
from homestretch.writing import write_text

FILE = "distances.json"
SAME = 1e-6
"""Nats a text below which two models are one, however their sums were rounded."""


@dataclass(frozen=True)
class Rollouts:
    """Texts of a reference, and its states before each of their tokens (N, D), row by row."""

    reference: Policy
    batch: SequenceBatch
    state_ND: Tensor

    @torch.no_grad()
    def to(self, policy: Policy, *, vocabulary: int) -> tuple[float, float]:
        """Eq. 1 and 2, means over the texts. The former is infinite where the policy excludes what the reference
        does not."""
        where = self.batch.mask_BT.bool()
        hidden_BTD = states(policy, self.batch)

        def distances(theirs_nD: Tensor, ours_nD: Tensor) -> tuple[Tensor, Tensor]:
            logp_nV = log_law(self.reference.head(theirs_nD)[:, :vocabulary])
            logq_nV = log_law(policy.head(ours_nD)[:, :vocabulary])
            return kl(logp_nV, logq_nV), jsd(logp_nV, logq_nV, beta=0.5)

        ours_ND = hidden_BTD[where.to(hidden_BTD.device)]
        parts = in_chunks(distances, self.state_ND.to(ours_ND.device), ours_ND, chunk_rows=policy.chunk_rows)
        sums = [torch.cat([part[i] for part in parts]).cpu().double().sum() for i in range(2)]
        return float(sums[0]) / len(self.batch), float(sums[1]) / len(self.batch)


@dataclass(frozen=True)
class Distances:
    """A student's distances to the oracle and to the teacher, on fixed texts of either."""

    student: Policy
    golden: Rollouts
    proxy: Rollouts
    vocabulary: int

    def metrics(self) -> dict[str, float]:
        """Eq. 3, which may be infinite, and the same of eq. 2, nats a text."""
        found = {}
        for name, rollouts in (("golden", self.golden), ("proxy", self.proxy)):
            found[name], found[f"{name}_jsd"] = rollouts.to(self.student, vocabulary=self.vocabulary)
        return found


def fixed_distances(
    context: Context, config: DistillConfig, teacher: Policy, student: Policy, folder: Path, *, vocabulary: int
) -> Distances:
    """Distances on the first `eval_examples` validation prompts; `distances.json` has the teacher's own to the oracle.

    Raises InputError where there are no such prompts, or where oracle and teacher are one model.
    """
    assert config.oracle_name_or_path is not None
    rows = context.tokens(
        context.splits.validation[: config.eval_examples], is_encoder_decoder=student.trunk.is_encoder_decoder
    )
    if not rows:
        raise InputError(
            "distill.oracle_name_or_path asks for distances on validation prompts, of which there are none: give the "
            "data a split `validation`."
        )
    trunk = context.load_trunk(config.oracle_name_or_path, whole=True)
    trunk.requires_grad_(False)
    oracle = context.policy(trunk, None, config)
    check_width(context, oracle, config.oracle_name_or_path)
    vocabulary = min(vocabulary, oracle.vocabulary)
    golden = _rollouts(context, config, oracle, config.oracle_name_or_path, rows, folder / "rollouts-oracle")
    proxy = _rollouts(context, config, teacher, config.teacher_name_or_path, rows, folder / "rollouts-teacher")
    apart, jensen = golden.to(teacher, vocabulary=vocabulary)
    if apart < SAME:
        raise InputError(
            f"The oracle `{config.oracle_name_or_path}` and the teacher `{config.teacher_name_or_path}` say the same, "
            "so that no student can be nearer to one of them than to the other: name as the teacher a model that was "
            "trained on samples of the oracle."
        )
    if ranks.is_first():
        texts = {name: _texts(rollouts.batch) for name, rollouts in (("oracle", golden), ("teacher", proxy))}
        known = {"golden": apart if math.isfinite(apart) else None, "golden_jsd": jensen}
        write_text(folder / FILE, json.dumps({"teacher": known, "texts": texts}, indent=2) + "\n")
    return Distances(student, golden, proxy, vocabulary)


def _texts(batch: SequenceBatch) -> dict[str, float]:
    assert batch.terminated_B is not None
    return {
        "count": len(batch),
        "mean_length": float(batch.length_B.float().mean()),
        "unfinished": float((~batch.terminated_B).float().mean()),
    }


def _rollouts(
    context: Context,
    config: DistillConfig,
    reference: Policy,
    name: str,
    rows: Sequence[TokenizedExample],
    folder: Path,
) -> Rollouts:
    """Texts of the reference at temperature 1, drawn from the recipe's seed the first time."""
    prompts, most = collate(rows), context.recipe.dataset.max_completion_length
    read = [row.prompt_ids for row in rows]
    key = content_key("rollouts", context.model_key(name), context.arithmetic(config), most, context.recipe.seed, read)

    def draw() -> dict[str, Tensor]:
        batch = rollout(
            reference,
            prompts,
            eos_ids=end_ids(reference.trunk.lm, context.tokenizer),
            sampling=SamplingConfig(max_new_tokens=most),
            seed=fold(folder.name, context.recipe.seed),
        )
        hidden_BTD = states(reference, batch)
        state_ND = hidden_BTD[batch.mask_BT.bool().to(hidden_BTD.device)].cpu()
        assert batch.terminated_B is not None
        drawn = {"ids": batch.ids_BT, "mask": batch.mask_BT, "terminated": batch.terminated_B}
        return {name: tensor.cpu() for name, tensor in drawn.items()} | {"states": state_ND}

    found = once(folder, draw, key=key, others=context.others)
    batch = SequenceBatch(
        prompt_ids_BP=prompts.prompt_ids_BP,
        prompt_mask_BP=prompts.prompt_mask_BP,
        ids_BT=found["ids"],
        mask_BT=found["mask"],
        terminated_B=found["terminated"],
    )
    return Rollouts(reference, batch, found["states"])
