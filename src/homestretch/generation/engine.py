"""The decode loop: a prompt is read once for all its samples, and finished rows leave the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch.generation.sampling import SamplingConfig, choose, row_uniforms
from homestretch.policies.policy import Policy, StartDecoding
from homestretch.seeds import fold


@dataclass(frozen=True)
class Sample:
    """One generated response: token ids (end marker included when there is one), their log-probabilities under the
    sampling distribution, and whether it ended by itself."""

    ids: list[int]
    logp: list[float]
    terminated: bool


def generate(
    policy: Policy,
    prompts: Sequence[list[int]],
    *,
    eos_ids: Sequence[int],
    sampling: SamplingConfig,
    seed: int = 0,
    num_samples: int = 1,
    max_rows: int = 128,
    on_done: Callable[[int, int], None] | None = None,
) -> list[list[Sample]]:
    """`num_samples` responses for each prompt of token ids, in the order of the prompts.

    Row r of sample k draws from a stream of its own, seeded by (seed, r, k). At most `max_rows` rows are decoded at
    a time, prompts of similar length together. `on_done(rows, tokens)` is called after each group.
    """
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    group = max(max_rows // num_samples, 1)
    results: list[list[Sample]] = [[] for _ in prompts]
    with policy.decoding() as start:
        for at in range(0, len(order), group):
            rows = order[at : at + group]
            samples = _decode_group(
                policy, start, [prompts[i] for i in rows], rows, eos_ids, sampling, seed, num_samples
            )
            for i, made in zip(rows, samples, strict=True):
                results[i] = made
            if on_done is not None:
                on_done(len(rows) * num_samples, sum(len(s.ids) for made in samples for s in made))
    return results


def _decode_group(
    policy: Policy,
    start: StartDecoding,
    prompts: Sequence[list[int]],
    rows: Sequence[int],
    eos_ids: Sequence[int],
    sampling: SamplingConfig,
    seed: int,
    num_samples: int,
) -> list[list[Sample]]:
    ids_BP, mask_BP = pad_left(prompts, policy.device)
    state = start(ids_BP, mask_BP)
    if num_samples > 1:
        state.repeat(num_samples)
    seeds = [fold(seed, row, k) for row in rows for k in range(num_samples)]
    uniform_BT = row_uniforms(seeds, sampling.max_new_tokens).to(policy.device)
    eos_E = torch.tensor(list(eos_ids), device=policy.device)
    alive_B = torch.arange(len(seeds), device=policy.device)
    out_BT = torch.zeros(len(seeds), sampling.max_new_tokens, dtype=torch.long, device=policy.device)
    logp_BT = torch.zeros(len(seeds), sampling.max_new_tokens, device=policy.device)
    length_B = torch.full((len(seeds),), sampling.max_new_tokens, device=policy.device)
    ended_B = torch.zeros(len(seeds), dtype=torch.bool, device=policy.device)
    for t in range(sampling.max_new_tokens):
        token_b, logp_b = choose(policy.logits(state.hidden_BD), uniform_BT[alive_B, t], sampling)
        out_BT[alive_B, t], logp_BT[alive_B, t] = token_b, logp_b
        done_b = torch.isin(token_b, eos_E)
        length_B[alive_B[done_b]] = t + 1
        ended_B[alive_B[done_b]] = True
        if bool(done_b.all()) or t + 1 == sampling.max_new_tokens:
            break
        if bool(done_b.any()):
            kept = (~done_b).nonzero().squeeze(1)
            state.keep(kept)
            alive_B, token_b = alive_B[kept], token_b[kept]
        state.step(token_b)
    flat = [
        Sample(ids=out[:n].tolist(), logp=logp[:n].tolist(), terminated=bool(end))
        for out, logp, n, end in zip(out_BT, logp_BT, length_B.tolist(), ended_B.tolist(), strict=True)
    ]
    return [flat[i : i + num_samples] for i in range(0, len(flat), num_samples)]


def pad_left(prompts: Sequence[list[int]], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Token ids and mask (B, P) of prompts, padding on the left."""
    width = max(len(p) for p in prompts)
    ids_BP = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
    mask_BP = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids_BP, mask_BP
