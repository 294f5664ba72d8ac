"""RESULTS.md's tables out of the JSON lines that `run.py` and `steer.py` print.

    python experiments/goal_reward/table.py lines.jsonl > tables.md

Values are means over seeds with the 95 % interval of Student's t; differences are paired by seed.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from homestretch.report.table import markdown

Run = dict[str, Any]


def mean(values: Sequence[float], *, signed: bool = False, digits: int = 2) -> str:
    """Mean and interval; one value has none."""
    middle, n, form = statistics.fmean(values), len(values), f"{'+' if signed else ''}.{digits}f"
    if n < 2:
        return format(middle, form)
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5
    return f"{middle:{form}} ({middle - half:{form}} to {middle + half:{form}})"


def steered(line: Run) -> str:
    """What becomes of walks under each weight."""
    shares = ("success", "short", "whole")
    rows = [["goal model", "towards", *shares, "steps"]]
    for name, runs in line["runs"].items():
        for i, steer in enumerate(line["steers"]):
            towards = ", ".join(f"{goal} {weight:g}" for goal, weight in steer.items()) or "nothing"
            cells = [mean([run[i][share] for run in runs]) for share in shares]
            rows.append([name, towards, *cells, f"{statistics.fmean(run[i]['steps'] for run in runs):.1f}"])
    return markdown(rows)


READ: dict[str, Callable[[Run], float]] = {
    "AUROC of the reward": lambda run: run["rewards"]["auroc"]["1.0"],
    "AUROC of Q": lambda run: run["q"]["auroc"]["1.0"],
    "AUROC of the reward within a generator": lambda run: run["rewards"]["within_generators"],
    "AUROC of Q within a generator": lambda run: run["q"]["within_generators"],
    "reward, AUROC against prefix (Spearman)": lambda run: run["rewards"]["rises"],
    "Q, AUROC against prefix (Spearman)": lambda run: run["q"]["rises"],
    "mean Q of right minus wrong solutions": lambda run: run["mean_q_right"] - run["mean_q_wrong"],
    "right votes of all": lambda run: run["all"]["vote_right"],
    "right votes of the kept": lambda run: run["kept"]["vote_right"],
    "right solutions among all": lambda run: run["all"]["responses_right"],
    "right solutions among the kept": lambda run: run["kept"]["responses_right"],
    "tokens saved": lambda run: run["kept"]["tokens_saved"],
}


def judged(line: Run) -> str:
    """With the contrastive term and without it."""
    plain, contrast = line["runs"]["plain"], line["runs"]["contrast"]
    rows = [["", "plain", "with the term", "difference"]]
    for name, read in READ.items():
        with_, without = [read(run) for run in contrast], [read(run) for run in plain]
        between = [a - b for a, b in zip(with_, without, strict=True)]
        rows.append([name, mean(without), mean(with_), mean(between, signed=True)])
    return markdown(rows)


def prefixes(line: Run) -> str:
    """Areas behind each tenth of a solution, means over seeds."""
    shares = list(line["runs"]["plain"][0]["q"]["auroc"])
    rows = [["", *shares]]
    for name, runs in line["runs"].items():
        for value in ("rewards", "q"):
            areas = (statistics.fmean(run[value]["auroc"][share] for run in runs) for share in shares)
            rows.append([f"{value}, {name}", *(f"{area:.2f}" for area in areas)])
    return markdown(rows)


TABLES = {"goal_steer": (steered,), "goal_reward": (judged, prefixes)}


def main() -> None:
    """Print all."""
    for text in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        print(*(table(line) for table in TABLES[line["name"]]), sep="\n\n", end="\n\n")


if __name__ == "__main__":
    main()
