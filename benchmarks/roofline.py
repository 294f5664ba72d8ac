"""How near a decoding step comes to what the machine can do.

    python benchmarks/roofline.py

A step reads every weight and the keys and values of every row once, and multiplies each weight with each row. Its
physical limit is the larger of bytes / bandwidth and operations / rate, where bandwidth (summing a large tensor) and
rate (a large product of matrices) are measured in the same run, between the steps. `ratio` is limit / measured time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from decode import MODEL
from harness import arguments, finish, interleaved, result

from homestretch import Policy, load_trunk
from homestretch.generation.sampling import SamplingConfig, choose
from homestretch.training.context import set_threads

SIDE, SUMMED = 2048, 1 << 26
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Mean time of one call."""
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--length", type=int, default=96, help="tokens that each row has already")
    args = parser.parse_args()
    set_threads()
    device, dtype = (GPU, torch.bfloat16) if torch.cuda.is_available() else (CPU, torch.float32)
    trunk = load_trunk(MODEL).to(device, dtype)
    policy, lm = Policy(trunk, None, budget=4096), trunk.lm
    side = torch.randn(SIDE, SIDE, device=device, dtype=dtype)
    summed = torch.randn(SUMMED, device=device)
    weights = sum(p.numel() for p in lm.parameters())
    cases = []
    for batch in args.batch:
        with policy.decoding() as start:
            ids = torch.randint(100, 40_000, (batch, args.length), device=device)
            state, uniform_B = start(ids, torch.ones_like(ids)), torch.rand(batch, device=device)
            cache_bytes = state.token_bytes() * batch * args.length

            def step(state=state, uniform_B=uniform_B) -> None:
                token_B, _ = choose(policy.logits(state.hidden_BD), uniform_B, SamplingConfig())
                state.step(token_B)
                state.forget_last()

            ways = {
                "step": lambda step=step: 1 / seconds(step, 5, device),
                "product": lambda: 2 * SIDE**3 / seconds(lambda: side @ side, 5, device),
                "sum": lambda: SUMMED * summed.element_size() / seconds(lambda: summed.sum(), 5, device),
            }
            rates = interleaved(ways, rounds=2 if args.quick else args.rounds)
        moved, done = weights * side.element_size() + cache_bytes, 2 * weights * batch
        limits = [1 / max(moved / b, done / f) for b, f in zip(rates["sum"], rates["product"], strict=True)]
        by = "bandwidth" if moved / rates["sum"][0] > done / rates["product"][0] else "products"
        case = f"batch {batch}, {args.length} tokens a row, limited by {by}"
        shown = {"homestretch": rates["step"], "limit": limits}
        cases.append(result(case, "steps/s", shown, ours="homestretch", peer="limit", batch=batch, limited_by=by))
    finish("roofline", cases)


if __name__ == "__main__":
    main()
