"""Pairs a second of a reward-model step on the built-in model: rows of their own against rows packed behind a prompt.

    python benchmarks/shared_prompts.py --rounds 3

Each prompt has its reference and K rejected completions, those of other prompts. The two ways are timed in turn on
the same pairs: in the first, the pairs of a micro-batch all have different prompts, so that nothing is shared. The
last line is one JSON object with the medians of each K and their ratio.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time

import torch

from homestretch import Policy, load_data, load_tokenizer, load_trunk
from homestretch.algorithms.base import Models
from homestretch.algorithms.reward_model import RewardModelling
from homestretch.batch import PairBatch
from homestretch.config.reward import RewardConfig
from homestretch.data.collate import collate
from homestretch.data.tokenize import TokenizedExample, tokenize_examples
from homestretch.policies.precision import autocast
from homestretch.training.context import set_threads

MODEL = "builtin/smollm2-135m"
PROMPTS, BUDGET = 8, 1024


def pairs_of(rows: list[TokenizedExample], k: int) -> PairBatch:
    """K pairs of each row: copy j of row i is rejected with the completion of row i + j + 1."""
    n = len(rows)
    chosen = [row for row in rows for _ in range(k)]
    wrong = [rows[(i + j + 1) % n].completion_ids for i in range(n) for j in range(k)]
    rejected = [dataclasses.replace(row, completion_ids=ids) for row, ids in zip(chosen, wrong, strict=True)]
    return PairBatch(chosen=collate(chosen), rejected=collate(rejected))


def packed(policy: Policy, batch: PairBatch) -> float:
    """Seconds of forward and backward of the pairs, as the stage `reward` does it."""
    started = time.perf_counter()
    for part in (batch.select(rows) for rows in batch.parts(BUDGET)):
        RewardModelling("classifier").loss(Models(policy=policy), part).terms.sum().backward()
    policy.trunk.zero_grad(set_to_none=True)
    return time.perf_counter() - started


def alone(policy: Policy, batch: PairBatch) -> float:
    """Seconds of the same pairs, every row scored in a batch without a second row of its prompt."""
    started = time.perf_counter()
    k = len(batch) // PROMPTS
    for copy in range(k):
        for side in (batch.chosen, batch.rejected):
            rows = side.select(torch.arange(copy, len(batch), k))
            for part in (rows.select(at) for at in rows.parts(BUDGET)):
                reward_B = policy.score(part, want={"reward"}).reward_B
                assert reward_B is not None
                reward_B.sum().backward()
    policy.trunk.zero_grad(set_to_none=True)
    return time.perf_counter() - started


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    set_threads()
    examples = load_data("builtin/docstrings", max_train=PROMPTS * (args.rounds + 1)).train
    rows = tokenize_examples(examples, load_tokenizer(MODEL), is_encoder_decoder=False)
    trunk = load_trunk(MODEL)
    trunk.add_adapter("reward", RewardConfig())
    trunk.add_head("reward", zero=False)
    policy = Policy(trunk, "reward", budget=BUDGET, autocast=autocast(trunk.device))
    found = {}
    for k in (1, 4):
        rates: list[tuple[float, float]] = []
        for number in range(args.rounds + 1):
            batch = pairs_of(rows[number * PROMPTS : (number + 1) * PROMPTS], k)
            pair = (len(batch) / alone(policy, batch), len(batch) / packed(policy, batch))
            rates += [pair] if number else []
        single, together = (statistics.median(column) for column in zip(*rates, strict=True))
        spread = sorted(b / a for a, b in rates)
        found[k] = {
            "alone": single,
            "packed": together,
            "ratio": together / single,
            "low": spread[0],
            "high": spread[-1],
        }
        print(f"K={k}: {single:5.1f} pairs/s alone, {together:5.1f} packed, x {together / single:.2f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
