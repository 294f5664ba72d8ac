"""RESULTS.md's tables out of the JSON lines that `run.py` and `classes.py` print.

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


def beside_full(lines: list[dict[str, Any]]) -> str:
    """What a variant's models do beyond those of the full runs of the same seeds, greedy, paired by prompt."""
    metrics = ("la_rougeL", "rougeL", "chrf", "failures/any")
    rows = [["task", "variant", "seeds", *metrics, "prompts"]]
    for line in lines:
        found = {c["metric"]: c for c in line["comparisons"] if (c["a"], c["b"]) == ("rl_raw", "full")}
        if found:
            cells = [f"{c['difference']:+.2f} [{c['low']:.2f}, {c['high']:.2f}]" for c in (found[m] for m in metrics)]
            seeds = " ".join(map(str, line["seeds"]))
            rows.append([line["task"], line["variant"], seeds, *cells, str(found["la_rougeL"]["n"])])
    return markdown(rows)


def classes(line: dict[str, Any]) -> str:
    """Reward models that lack one class each: their AUROC on it and on the others, and the samples that they pick."""
    head = ["left out", "pairs", "AUROC on it", "with it", "on the others", "with it", "la_rougeL", "failures/any"]
    rows, everything = [head], line["left_out"]["none"]
    compared = {(c["a"], c["b"], c["metric"]): c for c in line["comparisons"]}
    for name, modes in line["left_out"].items():
        a, b = ("none", "any") if name == "none" else (name, "none")
        others = [mode for mode in modes if mode != name]
        own = ["", "", ""]
        if name != "none":
            own = [str(modes[name]["n"]), f"{modes[name]['auroc']:.2f}", f"{everything[name]['auroc']:.2f}"]
        means = [f"{statistics.fmean(found[m]['auroc'] for m in others):.3f}" for found in (modes, everything)]
        cells = []
        for metric in ("la_rougeL", "failures/any"):
            c = compared[a, b, metric]
            cells.append(f"{c['difference']:+.2f} [{c['low']:.2f}, {c['high']:.2f}]")
        rows.append([name, *own, *means, *cells])
    return markdown(rows)


def main() -> None:
    """Print the ablations in one table, the tables of every full run, then those of single classes."""
    given = [json.loads(text) for text in Path(sys.argv[1]).read_text().splitlines()]
    lines = [line for line in given if "left_out" not in line]
    print("## What each part does\n\n", ablations(lines), "\n\n", beside_full(lines), "\n", sep="")
    for line in (line for line in lines if line["variant"] == "full"):
        print(f"## {line['task']}, {line['variant']}, seeds {', '.join(map(str, line['seeds']))}\n")
        for table in (arms, comparisons, failures, reward):
            print(table(line), "\n", sep="")
    for line in (line for line in given if "left_out" in line):
        print(f"## {line['task']}, reward models without a class, seed {line['seed']}\n\n{classes(line)}\n")


if __name__ == "__main__":
    main()
