"""Tokens a second of a LoRA training step on the built-in model: attention form, micro-batch budget, precision.

    python benchmarks/training_step.py --rounds 3

Ways are timed in turn, round by round, on the same batches; the last line is one JSON object with each way's median
and its ratio to the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

from homestretch import Policy, load_data, load_tokenizer, load_trunk
from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import SFT
from homestretch.batch import SequenceBatch
from homestretch.config.sft import SFTConfig
from homestretch.data.collate import collate
from homestretch.data.tokenize import tokenize_examples
from homestretch.training.context import set_threads

MODEL = "builtin/smollm2-135m"
WAYS = [("sdpa", 2048, True), ("sdpa", 1024, True), ("eager", 1024, True), ("eager", 1024, False)]


def batches(count: int, size: int) -> list[SequenceBatch]:
    """Batches of the built-in data, in the order of the file."""
    examples = load_data("builtin/docstrings", max_train=count * size).train
    rows = tokenize_examples(examples, load_tokenizer(MODEL), is_encoder_decoder=False)
    return [collate(rows[i : i + size]) for i in range(0, len(rows), size)]


def step_of(attention: str, budget: int, bf16: bool) -> Callable[[SequenceBatch], None]:
    """Forward and backward of one optimiser batch in one way."""
    trunk = load_trunk(MODEL)
    trunk.lm.set_attn_implementation(attention)
    trunk.add_adapter("policy", SFTConfig())
    autocast = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if bf16 else nullcontext
    policy = Policy(trunk, "policy", budget=budget, autocast=autocast)

    def step(batch: SequenceBatch) -> None:
        for rows in batch.parts(budget):
            terms = SFT().loss(Models(policy=policy), batch.select(rows))
            terms.terms.sum().backward()
        trunk.zero_grad(set_to_none=True)

    return step


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    set_threads()
    data = batches(args.rounds + 1, 16)
    steps = [step_of(*way) for way in WAYS]
    seconds: list[list[float]] = [[] for _ in WAYS]
    for number, batch in enumerate(data):
        for times, step in zip(seconds, steps, strict=True):
            started = time.perf_counter()
            step(batch)
            if number:
                times.append(int(batch.tokens_B.sum()) / (time.perf_counter() - started))
    rates = [statistics.median(times) for times in seconds]
    names = [f"{attention}, {budget} tokens, {'bf16' if bf16 else 'float32'}" for attention, budget, bf16 in WAYS]
    for name, rate in zip(names, rates, strict=True):
        print(f"{name:32} {rate:6.0f} tokens/s  x {rate / rates[0]:.2f}")
    print(json.dumps({n: {"tokens_per_second": r, "ratio": r / rates[0]} for n, r in zip(names, rates, strict=True)}))


if __name__ == "__main__":
    main()
