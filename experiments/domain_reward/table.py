"""A line of `rl.py` as the table of RESULTS.md: what each method moved, optimised metrics first.

    python experiments/domain_reward/table.py line.json

Bold where the 95 % interval leaves 0 out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PARTS = ("optimised", "others")
SCALE = {"distinct2", "copy_rate", "similarity", "failures/any"}
"""Shares and cosines, told in hundredths."""


def rows(line: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row for each metric: its difference for each method, with the 95 % interval, bold where 0 is left out."""
    methods = line["moved"]
    yield ["", *(f"`{name}` - `{found['against']}`" for name, found in methods.items())]
    yield ["---", *("---:" for _ in methods)]
    for part in PARTS:
        for metric in next(iter(methods.values()))[part]["metrics"]:
            cells = [told(found[part]["metrics"].get(metric), metric) for found in methods.values()]
            yield [f"`{metric}`" + (" (paid)" if part == "optimised" else ""), *cells]


def told(found: Mapping[str, Any] | None, metric: str) -> str:
    """A difference with its interval and which way it is, or nothing."""
    if found is None:
        return ""
    digits = 2 if metric.startswith("rewards/") or metric in ("length_ratio", "reward") else 1
    by = 100.0 if metric in SCALE else 1.0
    value, low, high = (f"{by * found[key]:+.{digits}f}" for key in ("difference", "low", "high"))
    text = f"{value} ({low} to {high})"
    return f"**{text}** {found['moved']}" if found["moved"] != "unclear" else text


def main() -> None:
    """Print."""
    line = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()[-1])
    for row in rows(line):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
