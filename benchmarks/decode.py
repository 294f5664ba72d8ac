"""Tokens a second of sampling from the built-in model: homestretch against `generate` of transformers.

    python benchmarks/decode.py
    python benchmarks/decode.py --batch 1 8 32 128

Equal prompts, equal lengths, temperature 1, no end marker, float32 on a CPU and bfloat16 on CUDA; reading the prompts
is part of the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from harness import arguments, finish, interleaved, result
from transformers import GenerationConfig

from homestretch import Policy, load_trunk
from homestretch.generation.engine import generate
from homestretch.generation.sampling import SamplingConfig
from homestretch.training.context import set_threads

MODEL = "builtin/smollm2-135m"


def ours(policy: Policy, prompts: list[list[int]], new: int) -> Callable[[], float]:
    """homestretch's engine."""
    sampling = SamplingConfig(max_new_tokens=new)

    def way() -> float:
        started = time.perf_counter()
        made = generate(policy, prompts, eos_ids=[], sampling=sampling, max_rows=len(prompts))
        assert sum(len(s.ids) for (s,) in made) == len(prompts) * new
        return len(prompts) * new / (time.perf_counter() - started)

    return way


def transformers(policy: Policy, prompts: list[list[int]], new: int) -> Callable[[], float]:
    """`generate` on the same weights."""
    lm, ids = policy.trunk.lm, torch.tensor(prompts, device=policy.device)
    # No token ends a row: without an id of its own the model's comes in, and a least length costs work at each step.
    never = policy.vocabulary
    config = GenerationConfig(max_new_tokens=new, do_sample=True, top_k=0, pad_token_id=0, eos_token_id=never)

    def way() -> float:
        started = time.perf_counter()
        with torch.no_grad():
            out = lm.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        assert out.shape[1] == ids.shape[1] + new
        return len(prompts) * new / (time.perf_counter() - started)

    return way


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens of each completion")
    args = parser.parse_args()
    set_threads()
    rounds, new = (2, 16) if args.quick else (args.rounds, args.new)
    trunk = load_trunk(MODEL)
    if torch.cuda.is_available():
        trunk = trunk.to("cuda", torch.bfloat16)
    policy = Policy(trunk, None, budget=4096)
    cases = []
    for batch in args.batch:
        draw = torch.Generator().manual_seed(0)
        prompts = torch.randint(100, 40_000, (batch, args.prompt), generator=draw).tolist()
        ways = {"homestretch": ours(policy, prompts, new), "transformers generate": transformers(policy, prompts, new)}
        rates = interleaved(ways, rounds=rounds)
        case = f"batch {batch}, prompts of {args.prompt}, {new} new tokens"
        cases.append(result(case, "tokens/s", rates, ours="homestretch", peer="transformers generate", batch=batch))
    finish("decode", cases)


if __name__ == "__main__":
    main()
