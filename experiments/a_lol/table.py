"""RESULTS.md's tables out of the JSON lines that `run.py` prints.

python experiments/a_lol/table.py lines.jsonl > tables.md
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from homestretch.report.table import markdown


def cell(value: dict[str, float], digits: int = 3) -> str:
    """A value with its interval."""
    return f"{value['value']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def arms(line: dict[str, Any]) -> str:
    """Variants by reward, diversity and length, with the optimiser's tokens (means over seeds)."""
    distinct = list(line["arms"]["reference"]["distinct"])
    rows = [["variant", "reward", *(f"distinct-{n}" for n in distinct), "words", "length ratio", "tokens"]]
    for name, arm in line["arms"].items():
        tokens = [n for n in arm["tokens"] if n is not None]
        rows.append(
            [
                name,
                cell(arm["metrics"]["reward"]),
                *(f"{arm['distinct'][n]:.3f}" for n in distinct),
                f"{arm['words']:.1f}",
                cell(arm["metrics"]["length_ratio"], 2),
                f"{statistics.fmean(tokens):,.0f}" if tokens else "",
            ]
        )
    return markdown(rows)


def comparisons(line: dict[str, Any]) -> str:
    """Paired differences in reward."""
    rows = [["a", "b", "reward of a - b", "95 % interval", "p", "prompts"]]
    for c in line["comparisons"]:
        if c["metric"] == "reward":
            span = f"[{c['low']:.3f}, {c['high']:.3f}]"
            rows.append([c["a"], c["b"], f"{c['difference']:+.3f}", span, f"{c['p_value']:.4f}", str(c["n"])])
    return markdown(rows)


def value(line: dict[str, Any]) -> str:
    """What each seed's value head reached, and the share of responses that beat it."""
    rows = [["seed", "rows", "kept", "squared error", "of the best constant"]]
    for seed, found in zip(line["seeds"], line["value"], strict=True):
        errors = [f"{found['mse']:.4f}", f"{found['mse_of_constant']:.4f}"]
        rows.append([str(seed), str(found["rows"]), f"{found['kept_fraction']:.3f}", *errors])
    return markdown(rows)


def main() -> None:
    """Print the tables of every line."""
    for line in map(json.loads, Path(sys.argv[1]).read_text().splitlines()):
        print(f"## {line['task']}, {line['side']} responses, seeds {', '.join(map(str, line['seeds']))}\n")
        print("Scorer:", ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in line["scorer"].items()), "\n")
        for table in (arms, comparisons, value):
            print(table(line), "\n", sep="")


if __name__ == "__main__":
    main()
