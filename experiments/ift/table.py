"""RESULTS.md's tables out of the JSON lines that `run.py` prints.

python experiments/ift/table.py lines.jsonl > tables.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from homestretch.report.table import markdown

METRICS = ("nll", "exposure_gap", "rougeL", "la_rougeL", "chrf", "length_ratio")
RUN_ON = "failures/no_end"


def cell(value: dict[str, float]) -> str:
    """A value with its interval."""
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def arms(line: dict[str, Any]) -> str:
    """Arms by metrics, and the share of outputs without an end."""
    rows = [["arm", *METRICS, "no end"]]
    for name, arm in line["arms"].items():
        rows.append([name, *(cell(arm["metrics"][m]) for m in METRICS), cell(arm["failure_modes"]["no_end"])])
    return markdown(rows)


def comparisons(line: dict[str, Any]) -> str:
    """Paired differences, an arm's row for each metric."""
    rows = [["a", "b", "metric", "a - b", "95 % interval", "p", "prompts"]]
    for c in line["comparisons"]:
        if c["metric"] in (*METRICS, RUN_ON):
            span = f"[{c['low']:.3f}, {c['high']:.3f}]"
            numbers = [f"{c['difference']:.3f}", span, f"{c['p_value']:.4f}", str(c["n"])]
            rows.append([c["a"], c["b"], c["metric"], *numbers])
    return markdown(rows)


def costs(line: dict[str, Any]) -> str:
    """What training cost, means over seeds, and how often predictions were wrong at its ends."""
    keys = ("steps", "num_tokens", "seconds", "first_error", "last_error")
    rows = [["arm", "steps", "tokens", "seconds", "wrong predictions, first step", "last step"]]
    for name, cost in line["costs"].items():
        rows.append([name, *(f"{cost[k]:.2f}" if k in cost else "" for k in keys)])
    return markdown(rows)


def main() -> None:
    """Print the tables of every line."""
    for line in map(json.loads, Path(sys.argv[1]).read_text().splitlines()):
        seeds = ", ".join(map(str, line["seeds"]))
        rates = ", ".join(f"{k} {v or 'default'}" for k, v in line["rates"].items())
        print(f"## {line['task']}, seeds {seeds}; step size {rates}; {line['threads']} threads\n")
        for table in (arms, comparisons, costs):
            print(table(line), "\n", sep="")


if __name__ == "__main__":
    main()
