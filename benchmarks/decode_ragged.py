"""Tokens a second where rows end at different times: homestretch against batches of transformers' `generate`.

    python benchmarks/decode_ragged.py

256 prompts of 64 tokens, at most 128 new ones. A fixed fiftieth of the vocabulary, drawn at random, ends a row, so that
lengths are spread as those of real samples are; both ways sample from the same distribution, and only tokens up to the
end count. `generate` takes 32 prompts at a time, homestretch as many as it wants. Temperature 1, float32 on a CPU and
bfloat16 on CUDA.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from decode import MODEL
from harness import arguments, finish, interleaved, result
from transformers import GenerationConfig

from homestretch import Policy, load_trunk
from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.training.context import set_threads

BATCH, SHARE = 32, 50
Made = list[int]


def ours(policy: Policy, prompts: list[list[int]], ends: list[int], new: int, lengths: Made) -> Callable[[], float]:
    """homestretch's engine."""

    def way() -> float:
        started = time.perf_counter()
        made = generate(policy, prompts, eos_ids=ends, sampling=SamplingConfig(max_new_tokens=new))
        seconds = time.perf_counter() - started
        found = [len(s.ids) for (s,) in made]
        lengths.extend(found)
        return sum(found) / seconds

    return way


def transformers(
    policy: Policy, prompts: list[list[int]], ends: list[int], new: int, lengths: Made
) -> Callable[[], float]:
    """`generate` on the same weights."""
    config = GenerationConfig(max_new_tokens=new, do_sample=True, top_k=0, pad_token_id=0, eos_token_id=ends)

    def way() -> float:
        started, found = time.perf_counter(), []
        for at in range(0, len(prompts), BATCH):
            ids = torch.tensor(prompts[at : at + BATCH], device=policy.device)
            with torch.no_grad():
                out = policy.trunk.lm.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
                )
            ended = torch.isin(out[:, ids.shape[1] :].cpu(), torch.tensor(ends))
            found += [int(row.long().argmax()) + 1 if row.any() else len(row) for row in ended]
        seconds = time.perf_counter() - started
        lengths.extend(found)
        return sum(found) / seconds

    return way


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--prompts", type=int, default=256)
    args = parser.parse_args()
    set_threads()
    rounds, count, new = (1, 48, 32) if args.quick else (args.rounds, args.prompts, 128)
    trunk = load_trunk(MODEL)
    if torch.cuda.is_available():
        trunk = trunk.to("cuda", torch.bfloat16)
    policy, draw = Policy(trunk, None, budget=4096), torch.Generator().manual_seed(0)
    ends = torch.randperm(policy.vocabulary, generator=draw)[: policy.vocabulary // SHARE].tolist()
    prompts = torch.randint(100, 40_000, (count, 64), generator=draw).tolist()
    lengths: dict[str, Made] = {"homestretch": [], "transformers generate": []}
    ways = {
        "homestretch": ours(policy, prompts, ends, new, lengths["homestretch"]),
        "transformers generate": transformers(policy, prompts, ends, new, lengths["transformers generate"]),
    }
    rates = interleaved(ways, rounds=rounds)
    means = {way: statistics.fmean(found) for way, found in lengths.items()}
    spread = statistics.quantiles(lengths["homestretch"], n=10)
    print("mean length:", ", ".join(f"{way} {mean:.1f}" for way, mean in means.items()), end="")
    case = f"{count} prompts, nine tenths of the lengths between {spread[0]:.0f} and {max(lengths['homestretch'])}"
    made = result(case, "tokens/s", rates, ours="homestretch", peer="transformers generate", mean_lengths=means)
    finish("decode_ragged", [made])


if __name__ == "__main__":
    main()
