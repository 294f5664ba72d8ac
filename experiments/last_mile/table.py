"""RESULTS.md's tables out of the JSON lines that `run.py` prints.

python experiments/last_mile/table.py lines.jsonl > tables.md
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from homestretch.report.table import markdown

METRICS = ("rougeL", "la_rougeL", "chrf", "similarity", "length_ratio")
PAIRS = (
    *(("rl_raw", "ml_raw"), ("rl_raw", "ml_post"), ("rl_post", "ml_post")),
    *(("rl_raw@t1", "ml_raw@t1"), ("rl_raw@t1", "ml_post@t1")),
)


def cell(value: dict[str, float]) -> str:
    """A value with its interval."""
    return f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def arms(line: dict[str, Any]) -> str:
    """Arms by metrics, and the share of outputs that fail by any rule."""
    rows = [["arm", *METRICS, "any failure"]]
    for name, arm in line["arms"].items():
        cells = [cell(arm["metrics"][m]) if m in arm["metrics"] else "" for m in METRICS]
        rows.append([name, *cells, cell(arm["failure_modes"]["any"])])
    return markdown(rows)


def failures(line: dict[str, Any]) -> str:
    """Rates of each failure by rule, in percent."""
    names = list(line["arms"]["ml_raw"]["failure_modes"])
    rows = [["arm", *names]]
    for name, arm in line["arms"].items():
        rows.append([name, *(f"{100 * arm['failure_modes'][n]['value']:.1f}" for n in names)])
    return markdown(rows)


def comparisons(line: dict[str, Any]) -> str:
    """Paired differences of the arms that matter."""
    rows = [["a", "b", "metric", "a - b", "95 % interval", "p", "prompts"]]
    for c in line["comparisons"]:
        if (c["a"], c["b"]) in PAIRS and c["metric"] in (*METRICS, "failures/any"):
            span = f"[{c['low']:.3f}, {c['high']:.3f}]"
            rows.append(
                [c["a"], c["b"], c["metric"], f"{c['difference']:.3f}", span, f"{c['p_value']:.4f}", str(c["n"])]
            )
    return markdown(rows)


def reward(line: dict[str, Any]) -> str:
    """The reward model on held-out prompts, means over seeds."""
    rows = [["failure mode", "pairs", "accuracy", "AUROC", ""]]
    tables = list(line["reward_model"].values())
    for mode in sorted({m for table in tables for m in table}):
        found = [table[mode] for table in tables if mode in table]
        mean = {k: statistics.fmean(f[k] for f in found) for k in ("n", "accuracy", "auroc")}
        held = "not trained on" if found[0]["held_out"] else ""
        rows.append([mode, f"{mean['n']:.0f}", f"{mean['accuracy']:.3f}", f"{mean['auroc']:.3f}", held])
    return markdown(rows)


def ablations(lines: list[dict[str, Any]]) -> str:
    """What the last stage changes in each variant: `rl_raw` minus `ml_raw`, greedy."""
    metrics = ("la_rougeL", "rougeL", "length_ratio", "failures/any")
    rows = [["task", "variant", "seeds", *metrics, "prompts"]]
    for line in lines:
        found = {c["metric"]: c for c in line["comparisons"] if (c["a"], c["b"]) == ("rl_raw", "ml_raw")}
        cells = [f"{c['difference']:+.2f} [{c['low']:.2f}, {c['high']:.2f}]" for c in (found[m] for m in metrics)]
        seeds = " ".join(map(str, line["seeds"]))
        rows.append([line["task"], line["variant"], seeds, *cells, str(found["la_rougeL"]["n"])])
    return markdown(rows)


def main() -> None:
    """Print the ablations in one table, then the tables of every full run."""
    lines = [json.loads(text) for text in Path(sys.argv[1]).read_text().splitlines()]
    print("## What each part does\n\n", ablations(lines), "\n", sep="")
    for line in (line for line in lines if line["variant"] == "full"):
        print(f"## {line['task']}, {line['variant']}, seeds {', '.join(map(str, line['seeds']))}\n")
        for table in (arms, comparisons, failures, reward):
            print(table(line), "\n", sep="")


if __name__ == "__main__":
    main()
