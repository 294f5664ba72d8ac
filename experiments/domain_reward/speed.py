"""How fast a reward of features is: the net alone, and features whose texts have been scored before.

    OMP_NUM_THREADS=1 python experiments/domain_reward/speed.py --data ../shared/data [--quick]

The net of `local.yaml`'s size on random features, one thread. Then every feature on the first summaries of OpinPref,
which have been asked for before, by a reader that has only the cache (`local.py` has the first time): seconds until it
has answered one, in which it finds out which models it would ask, and all of them then. The last line is one JSON
object; rates are of rows and summaries a second of the clock.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from prepare import prepared

from homestretch.config.features import FeaturesConfig
from homestretch.data.records import completion_text, side
from homestretch.rewards.features import net_of
from homestretch.rewards.named import load_rewards
from homestretch.verbs.features import features_config, pairs_of

LOCAL = Path(__file__).parent / "local.yaml"
ROWS = 1_000_000


def rate(count: int, ask: Callable[[], object]) -> float:
    """How many a second."""
    begun = time.perf_counter()
    ask()
    return count / (time.perf_counter() - begun)


@torch.no_grad()
def net_rate(config: FeaturesConfig, rows: int) -> float:
    """Rows a second of a net with random weights, one thread, the best of three."""
    torch.set_num_threads(1)
    net = net_of(config)
    values_NF = torch.rand(rows, len(config.features))
    return max(rate(rows, lambda: net(values_NF)) for _ in range(3))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with opinpref/")
    parser.add_argument("--out", type=Path, default=Path("runs/domain_reward"))
    parser.add_argument("--quick", action="store_true", help="fewer rows and summaries")
    args = parser.parse_args()
    rows, count = (10_000, 4) if args.quick else (ROWS, 64)
    config = features_config(LOCAL, [])
    pairs, _ = pairs_of(prepared(args.data, args.out / "data"), shares=(0.1, 0), on_bad_row="error")
    both = [(pair.source, completion_text(side(pair, name))) for pair in pairs for name in ("chosen", "rejected")]
    documents, texts = ([part[i] for part in both[:count]] for i in (0, 1))
    where = [f"summary {i}" for i in range(count)]
    found: dict[str, dict[str, float]] = {}
    for name, term in config.features.items():
        (writer,), (reader,) = load_rewards({name: term}), load_rewards({name: term})
        writer(where, texts, document=documents)
        begins = 1 / rate(1, lambda r=reader: r(where[:1], texts[:1], document=documents[:1]))
        known = rate(count, lambda r=reader: r(where, texts, document=documents))
        found[name] = {"seconds_to_begin": begins, "known": known}
    print(json.dumps({"name": "speed", "net_rows": net_rate(config, rows), "summaries": count, "features": found}))


if __name__ == "__main__":
    main()
