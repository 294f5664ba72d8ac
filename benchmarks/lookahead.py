"""Responses a second whose look-ahead candidates are found (strategy R2): one pass behind the cache against a walk.

    python benchmarks/lookahead.py [--rounds 3] [--quick]

References of the built-in data as responses, four candidates a step, the built-in model in the precision that a stage
chooses. Both ways give the same numbers but for rounding (tests/test_candidates.py). The entry on the look-ahead in
docs/log.md rests on this.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness import arguments, finish, interleaved, result

from homestretch import Policy, load_data, load_tokenizer, load_trunk
from homestretch.data.collate import collate
from homestretch.data.tokenize import tokenize_examples
from homestretch.generation import candidates as module
from homestretch.policies.precision import autocast
from homestretch.training.context import set_threads

MODEL = "builtin/smollm2-135m"
K = 4


def main() -> None:
    """Time both ways in turn."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=64)
    args = parser.parse_args()
    rows, rounds = (16, 1) if args.quick else (args.rows, args.rounds)
    set_threads()
    trunk = load_trunk(MODEL)
    trunk.add_head("value", zero=False)
    policy = Policy(trunk, None, budget=768, autocast=autocast(trunk.device, None))
    examples = load_data("builtin/docstrings", max_train=rows).train
    batch = collate(tokenize_examples(examples, load_tokenizer(MODEL), is_encoder_decoder=False))
    packs = module.packs

    def way(packed: bool) -> Callable[[], float]:
        def run() -> float:
            module.packs = packs if packed else lambda lm: False
            started = time.perf_counter()
            module.candidates(policy, batch, K)
            return rows / (time.perf_counter() - started)

        return run

    rates = interleaved({"one pass": way(True), "walk": way(False)}, rounds=rounds)
    longest = batch.ids_BT.shape[1]
    case = result(f"{K} candidates a step, up to {longest} steps", "responses/s", rates, ours="one pass", peer="walk")
    finish("lookahead", [case])


if __name__ == "__main__":
    main()
