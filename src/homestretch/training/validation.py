"""Validation by generation: greedy completions of held-out prompts, scored as the user will score them."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from homestretch.algorithms.base import Algorithm, Models
from homestretch.batch import Batch, SequenceBatch
from homestretch.data.collate import collate
from homestretch.generation.engine import generate
from homestretch.generation.rollout import with_responses
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import Sample
from homestretch.metrics.failures import failures
from homestretch.metrics.rouge import la_rouge, rouge
from homestretch.ops.reduce import aggregate, denominator
from homestretch.policies.load import end_ids
from homestretch.policies.policy import Policy
from homestretch.training.context import Context


class Validator:
    """Metrics of a policy on the first `count` validation prompts; `rewarded` gives what its outputs earn (B,)."""

    def __init__(
        self,
        context: Context,
        policy: Policy,
        count: int,
        *,
        rewarded: Callable[[SequenceBatch], Tensor] | None = None,
    ) -> None:
        self.context, self.policy, self.rewarded = context, policy, rewarded
        self.examples = context.splits.validation[:count]
        self.rows = context.tokens(self.examples, is_encoder_decoder=policy.trunk.is_encoder_decoder)

    def metrics(self, number: int) -> dict[str, float]:
        """Mean ROUGE-L and length-adjusted ROUGE-L (0 to 100), share that fails by a rule, that does not end
        and that is empty, length relative to the reference, mean reward, and `nll` of the references, nats a token."""
        if not self.rows:
            return {}
        made = generate(
            self.policy,
            [row.prompt_ids for row in self.rows],
            eos_ids=end_ids(self.policy.trunk.lm, self.context.tokenizer),
            sampling=SamplingConfig(temperature=0.0, max_new_tokens=self.context.recipe.dataset.max_completion_length),
        )
        samples = [group[0] for group in made]
        texts = [self.context.tokenizer.decode(s.ids, skip_special_tokens=True).strip() for s in samples]
        pairs = [(t, e.references) for t, e in zip(texts, self.examples, strict=True)]
        return {
            "rougeL": statistics.fmean(rouge(text, references).f for text, references in pairs),
            "la_rougeL": statistics.fmean(la_rouge(text, references) for text, references in pairs),
            "failures": statistics.fmean(
                bool(failures(s, source=e.source, references=e.references, terminated=made.terminated))
                for s, e, made in zip(texts, self.examples, samples, strict=True)
            ),
            "unfinished": statistics.fmean(not s.terminated for s in samples),
            "empty": statistics.fmean(not text for text in texts),
            "length_ratio": statistics.fmean(
                len(s.ids) / row.ref_length for s, row in zip(samples, self.rows, strict=True)
            ),
            "nll": self.nll(),
        } | self._reward(samples)

    def _reward(self, samples: list[Sample]) -> dict[str, float]:
        if self.rewarded is None:
            return {}
        outputs = with_responses(collate(self.rows), samples).to(self.policy.device)
        return {"reward": float(self.rewarded(outputs).mean())}

    @torch.no_grad()
    def nll(self) -> float:
        """Mean of -ln p over the tokens of all references, nats, without dropout."""
        batch = collate(self.rows)
        logp_BT = self.policy.score(batch, want={"logp"}).logp_BT
        assert logp_BT is not None
        return -float(logp_BT.float().cpu()[batch.mask_BT.bool()].mean())


@torch.no_grad()
def own_loss(algorithm: Algorithm, models: Models, policy: Policy, batch: Batch | None) -> dict[str, float]:
    """The method's loss of held-out rows as `loss`, without dropout; nothing where there are none."""
    if batch is None:
        return {}
    found = algorithm.loss(models, batch.to(policy.device))
    count = denominator(found.mask, found.average)
    return {"loss": float(aggregate(found.terms, found.mask, average=found.average, denominator=count))}
