"""Tokens a second of single decode steps and of reading prompts on a CPU: precision, attention form, rows at a time.

    python benchmarks/decode_step.py
    python benchmarks/decode_step.py --rows 32 48 128 --steps 10 --rounds 5

The built-in model on prompts of the built-in data, longest first. What a round prepares (the prompts are read anew for
it) is not timed with what it measures. The entry "Decoding in bfloat16 on a CPU" of docs/log.md rests on this.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from harness import arguments, finish, interleaved, result
from transformers import PreTrainedModel

from homestretch import Policy, load_data, load_tokenizer, load_trunk
from homestretch.data.tokenize import tokenize_examples
from homestretch.generation.engine import pad_left
from homestretch.policies.causal import CausalDecoding
from homestretch.training.context import set_threads

MODEL = "builtin/smollm2-135m"
TOKEN = 100  # every row gets the same: what is appended costs the same whatever it is


def prompts_of(count: int) -> list[list[int]]:
    """Token ids of prompts, longest first."""
    examples = load_data("builtin/docstrings", max_train=count).train
    rows = tokenize_examples(examples, load_tokenizer(MODEL), is_encoder_decoder=False)
    return sorted((row.prompt_ids for row in rows), key=len, reverse=True)


class Bench:
    """A model, the prompts that it reads, and how many steps a round takes."""

    def __init__(self, lm: PreTrainedModel, prompts: list[list[int]], steps: int) -> None:
        self.lm, self.prompts, self.steps = lm, prompts, steps
        self.attention = lm.config._attn_implementation

    def read(self, rows: int, *, bf16: bool) -> tuple[CausalDecoding, int, float]:
        """Read that many prompts; also their padded tokens, and the seconds that it took."""
        ids, mask = pad_left(self.prompts[:rows])
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            state = CausalDecoding(self.lm, ids, mask)
        return state, ids.numel(), time.perf_counter() - started

    def reading(self, rows: int, *, bf16: bool) -> Callable[[], float]:
        """A way that reads prompts; prompt tokens a second."""

        def way() -> float:
            _, tokens, seconds = self.read(rows, bf16=bf16)
            return tokens / seconds

        return way

    def stepping(self, rows: int, *, bf16: bool = False, attention: str | None = None) -> Callable[[], float]:
        """A way that takes steps behind prompts read in bfloat16, as the decode loop does; new tokens a second."""

        def way() -> float:
            self.lm.set_attn_implementation(attention or self.attention)
            state, _, _ = self.read(rows, bf16=True)
            if not bf16:
                state.cast(self.lm.dtype)
            token_B = torch.full((rows,), TOKEN)
            with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
                started = time.perf_counter()
                for _ in range(self.steps):
                    state.step(token_B)
                seconds = time.perf_counter() - started
            self.lm.set_attn_implementation(self.attention)
            return rows * self.steps / seconds

        return way


def seconds_a_step(rows: dict[str, int], rates: dict[str, list[float]]) -> dict[str, float]:
    """Median seconds of one step of each way."""
    return {way: rows[way] / statistics.median(found) for way, found in rates.items()}


def cases_of(bench: Bench, rows: list[int], rounds: int) -> list[dict[str, Any]]:
    """Precision of steps, precision of reading, attention, and rows at a time."""
    cases = []
    for n in rows:
        rates = interleaved({"float32": bench.stepping(n), "bfloat16": bench.stepping(n, bf16=True)}, rounds=rounds)
        more = {"seconds_a_step": seconds_a_step(dict.fromkeys(rates, n), rates)}
        cases.append(result(f"step of {n} rows", "tokens/s", rates, ours="float32", peer="bfloat16", **more))
    n = rows[0]
    rates = interleaved(
        {way: bench.reading(n, bf16=way == "bfloat16") for way in ("bfloat16", "float32")}, rounds=rounds
    )
    cases.append(result(f"reading {n} prompts", "tokens/s", rates, ours="bfloat16", peer="float32"))
    for n in rows:
        rates = interleaved({way: bench.stepping(n, attention=way) for way in ("sdpa", "eager")}, rounds=rounds)
        cases.append(result(f"step of {n} rows in float32", "tokens/s", rates, ours="sdpa", peer="eager"))
    if len(rows) > 1:
        ways = {f"{n} rows": n for n in rows}
        rates = interleaved({way: bench.stepping(n) for way, n in ways.items()}, rounds=rounds)
        most, fewer = list(ways)[-1], list(ways)[-2]
        more = {"seconds_a_step": seconds_a_step(ways, rates)}
        cases.append(result("rows at a time, float32", "tokens/s", rates, ours=fewer, peer=most, **more))
    return cases


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[32, 48, 128], help="rows that are decoded at a time")
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    args = parser.parse_args()
    set_threads()
    rows, steps, rounds = ([2, 4], 2, 2) if args.quick else (args.rows, args.steps, args.rounds)
    policy = Policy(load_trunk(MODEL), None, budget=4096)
    with policy.decoding():  # packs the weights, as the decode loop has them
        cases = cases_of(Bench(policy.trunk.lm, prompts_of(max(rows)), steps), rows, rounds)
    finish("decode_step", cases)


if __name__ == "__main__":
    main()
