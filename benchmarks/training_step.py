"""Tokens a second of a LoRA training step on the built-in model: form of attention, size of a pass, precision.

    python benchmarks/training_step.py

Batches of 16 rows of the built-in data. The first way is what a stage does unless told otherwise; each case compares it
with another. `fused` is torch's scaled dot product attention, `plain` products of matrices (`policies.attention`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from harness import arguments, finish, interleaved, result

from homestretch import Policy, load_data, load_tokenizer, load_trunk
from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import SFT
from homestretch.batch import SequenceBatch
from homestretch.config.sft import SFTConfig
from homestretch.config.training import MICRO_BATCH_TOKENS_CPU
from homestretch.data.collate import collate
from homestretch.data.tokenize import tokenize_examples
from homestretch.policies import attention
from homestretch.policies.builtin import NAME
from homestretch.training.context import set_threads

CELLS = {"plain": attention.PLAIN_CELLS, "fused": 0}
WAYS = [
    ("plain", MICRO_BATCH_TOKENS_CPU, True),
    ("fused", MICRO_BATCH_TOKENS_CPU, True),
    ("plain", MICRO_BATCH_TOKENS_CPU, False),
    ("plain", 2 * MICRO_BATCH_TOKENS_CPU, True),
]


def batches(count: int, size: int) -> list[SequenceBatch]:
    """Batches of the built-in data, in the order of the file."""
    examples = load_data("builtin/docstrings", max_train=count * size).train
    rows = tokenize_examples(examples, load_tokenizer(NAME), is_encoder_decoder=False)
    return [collate(rows[i : i + size]) for i in range(0, len(rows), size)]


def way_of(form: str, budget: int, bf16: bool, data: list[SequenceBatch]) -> Callable[[], float]:
    """Forward and backward of the next batch in one way; its rate."""
    trunk = load_trunk(NAME)
    trunk.add_adapter("policy", SFTConfig())
    for name, parameter in trunk.named_parameters():
        parameter.requires_grad_("lora" in name)
    autocast = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if bf16 else nullcontext
    policy, waiting = Policy(trunk, "policy", budget=budget, autocast=autocast), iter(data)

    def way() -> float:
        attention.PLAIN_CELLS = CELLS[form]
        batch = next(waiting)
        started = time.perf_counter()
        for rows in batch.parts(budget):
            SFT().loss(Models(policy=policy), batch.select(rows)).terms.sum().backward()
        trunk.zero_grad(set_to_none=True)
        return int(batch.tokens_B.sum()) / (time.perf_counter() - started)

    return way


def main() -> None:
    """Time and print."""
    args = arguments(__doc__, rounds=5).parse_args()
    set_threads()
    rounds, size = (2, 4) if args.quick else (args.rounds, 16)
    data = batches(rounds + 1, size)
    names = [f"{form}, {budget} tokens, {'bfloat16' if bf16 else 'float32'}" for form, budget, bf16 in WAYS]
    rates = interleaved({n: way_of(*way, data) for n, way in zip(names, WAYS, strict=True)}, rounds=rounds)
    ours = names[0]
    cases = [
        result(f"{ours} against {peer}", "tokens/s", {n: rates[n] for n in (ours, peer)}, ours=ours, peer=peer)
        for peer in names[1:]
    ]
    finish("training_step", cases)


if __name__ == "__main__":
    main()
