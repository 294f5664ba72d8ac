"""Where the time of a decoding step goes on a CPU: transformers against the decode loop, plain and packed weights.

    python benchmarks/decode_parts.py
    python benchmarks/decode_parts.py --rows 1 8 32 48

The built-in model in float32. Milliseconds of one thread a step, in processor time, which other work on the machine
disturbs little; `rest` is what is in none of the parts: norms, activations, rotary positions, the cache and Python.
A round takes a few steps of each way.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from decode import MODEL
from harness import arguments, finish, interleaved, result
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from homestretch import Policy, load_trunk
from homestretch.generation.sampling import SamplingConfig, choose
from homestretch.policies.causal import CausalDecoding
from homestretch.policies.prepacked import prepacked

Spent = dict[str, list[float]]


class Clock:
    """Seconds of each part: products, the LM head, attention, and whole steps."""

    def __init__(self, lm: PreTrainedModel) -> None:
        self.lm, self.now = lm, defaultdict[str, float](float)

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, its time added to the part's."""

        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.thread_time()
            made = work(*args, **kwargs)
            self.now[part] += time.thread_time() - started
            return made

        return call

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the parts of the model in the block."""
        head, attention = self.lm.get_output_embeddings(), nn.functional.scaled_dot_product_attention
        layers = [m for m in self.lm.modules() if isinstance(m, nn.Linear)]
        before = [vars(layer).get("forward") for layer in layers]
        try:
            for layer in layers:
                layer.forward = self.timed("LM head" if layer is head else "products", layer.forward)
            nn.functional.scaled_dot_product_attention = self.timed("attention", attention)
            yield
        finally:
            nn.functional.scaled_dot_product_attention = attention
            for layer, own in zip(layers, before, strict=True):
                del layer.forward
                if own is not None:
                    layer.forward = own


def transformers_steps(clock: Clock, ids: Tensor, steps: int) -> None:
    """Steps as `generate` takes them, and its sampling."""
    cache = DynamicCache(config=clock.lm.config)
    clock.lm(input_ids=ids, past_key_values=cache, logits_to_keep=1)

    def step() -> None:
        logits_BV = clock.lm(input_ids=ids[:, :1], past_key_values=cache).logits[:, -1]
        clock.timed("sampling", lambda: torch.multinomial(logits_BV.float().softmax(-1), 1))()

    with clock.running():
        for _ in range(steps):
            clock.timed("step", step)()


def our_steps(clock: Clock, policy: Policy, ids: Tensor, steps: int) -> None:
    """Steps of the decode loop, and its sampling."""
    state, uniform_B = CausalDecoding(clock.lm, ids, torch.ones_like(ids)), torch.rand(len(ids))
    policy.logits(state.hidden_BD)  # packs the head's weights

    def step() -> None:
        logits_BV = policy.logits(state.hidden_BD)
        token_B, _ = clock.timed("sampling", choose)(logits_BV, uniform_B, SamplingConfig())
        state.step(token_B)

    with clock.running():
        for _ in range(steps):
            clock.timed("step", step)()


def way_of(name: str, policy: Policy, ids: Tensor, steps: int, spent: Spent) -> Callable[[], float]:
    """Steps a second of a way; what its parts took is added to `spent`."""

    def way() -> float:
        clock = Clock(policy.trunk.lm)
        with torch.no_grad(), prepacked(clock.lm) if name == "packed" else nullcontext():
            if name == "transformers":
                transformers_steps(clock, ids, steps)
            else:
                our_steps(clock, policy, ids, steps)
        clock.now["rest"] = 2 * clock.now["step"] - sum(clock.now.values())
        for part, seconds in clock.now.items():
            spent[part].append(1000 * seconds / steps)
        return steps / clock.now["step"]

    return way


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[32], help="rows that are decoded at a time")
    parser.add_argument("--length", type=int, default=96, help="tokens that each row has already")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rounds, steps = (1, 2) if args.quick else (args.rounds, 4)
    policy, cases = Policy(load_trunk(MODEL), None, budget=4096), []
    for rows in args.rows:
        ids = torch.randint(100, 40_000, (rows, args.length), generator=torch.Generator().manual_seed(0))
        spent: dict[str, Spent] = {way: defaultdict(list) for way in ("packed", "plain", "transformers")}
        ways = {way: way_of(way, policy, ids, steps, spent[way]) for way in spent}
        rates = interleaved(ways, rounds=rounds)
        medians = {way: {part: statistics.median(ms[1:]) for part, ms in parts.items()} for way, parts in spent.items()}
        case = f"{rows} rows of {args.length} tokens, one thread"
        cases.append(result(case, "steps/s", rates, ours="packed", peer="transformers", milliseconds=medians))
        for way, parts in medians.items():
            print(f"  ms of {way:25s}", ", ".join(f"{part} {ms:.1f}" for part, ms in parts.items()))
    finish("decode_parts", cases)


if __name__ == "__main__":
    main()
