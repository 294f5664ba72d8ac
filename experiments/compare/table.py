"""RESULTS.md's tables out of the JSON line that `run.py` prints.

python experiments/compare/table.py line.json > tables.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from homestretch.report.table import markdown

METRICS = {"la_rougeL": "la-ROUGE-L", "rougeL": "ROUGE-L", "chrf": "chrF"}
FAILURES = "failures/any"


def interval(value: dict[str, float], scale: float = 1.0, digits: int = 1) -> str:
    """A value with its interval."""
    low, high = (f"{scale * value[end]:.{digits}f}" for end in ("low", "high"))
    return f"{scale * value['value']:.{digits}f} [{low}, {high}]"


def methods(line: dict[str, Any]) -> str:
    """Methods in the order of their ranks: metrics, failures by rule, and how sure the place is."""
    rows = [["method", *METRICS.values(), "failures, %", "length ratio", "P(best)", "P(above next)"]]
    for place in line["ranking"]:
        arm = line["arms"][place["method"]]
        above = "" if place["p_above_next"] is None else f"{place['p_above_next']:.2f}"
        cells = [interval(arm["metrics"][key]) for key in METRICS]
        cells += [interval(arm["failure_modes"]["any"], 100, 0), interval(arm["metrics"]["length_ratio"], digits=2)]
        rows.append([place["method"], *cells, f"{place['p_best']:.2f}", above])
    return markdown(rows)


def against(line: dict[str, Any], baseline: str) -> str:
    """Differences to one method: what the ranks are about, failures by rule, and the seeds one by one."""
    headline = line["headline_metric"]
    found = {(c["a"], c["metric"]): c for c in line["comparisons"] if c["b"] == baseline}
    found |= {(c["b"], c["metric"]): turned(c) for c in line["comparisons"] if c["a"] == baseline}
    rows = [["method", f"{METRICS[headline]} beyond {baseline}", "p", "failures, points", "each seed"]]
    for place in line["ranking"]:
        name = place["method"]
        if (name, headline) not in found:
            continue
        score, failures = found[name, headline], found[name, FAILURES]
        own, base = line["methods"][name]["by_seed"], line["methods"][baseline]["by_seed"]
        seeds = ", ".join(f"{own[seed] - base[seed]:+.1f}" for seed in own)
        rows.append([name, difference(score), f"{score['p_value']:.3f}", difference(failures, 100, 0), seeds])
    return markdown(rows)


def turned(comparison: dict[str, Any]) -> dict[str, Any]:
    """The comparison of b with a."""
    signs = {"difference": -comparison["difference"], "low": -comparison["high"], "high": -comparison["low"]}
    return comparison | {"a": comparison["b"], "b": comparison["a"]} | signs


def difference(found: dict[str, float], scale: float = 1.0, digits: int = 1) -> str:
    """A difference with its interval."""
    low, high = (f"{scale * found[end]:+.{digits}f}" for end in ("low", "high"))
    return f"{scale * found['difference']:+.{digits}f} [{low}, {high}]"


def costs(line: dict[str, Any]) -> str:
    """Seconds, tokens and memory of the method's own stage, and seconds with the stages before it."""
    rows = [["method", "own seconds", "own tokens", "own samples", "all seconds", "memory, GB"]]
    for name, record in line["methods"].items():
        own, total = record["own"], record["total"]
        if own and total:
            memory = f"{(own['peak_memory_bytes'] or 0) / 1e9:.1f}"
            counts = [f"{own[key]:,.0f}" for key in ("seconds", "tokens", "samples")]
            rows.append([name, *counts, f"{total['seconds']:,.0f}", memory])
    return markdown(rows)


def rewards(line: dict[str, Any]) -> str:
    """What the reward model says of the outputs, and how varied and how long they are."""
    found = {c["a"]: c for c in line["judged"]["comparisons"] if c["metric"] == "reward"}
    rows = [["method", "reward", "beyond the start", "distinct-2", "length ratio"]]
    for name, arm in line["judged"]["arms"].items():
        metrics = arm["metrics"]
        beyond = difference(found[name], digits=2) if name in found else ""
        cells = [interval(metrics["distinct2"], digits=2), interval(metrics["length_ratio"], digits=2)]
        rows.append([name, interval(metrics["reward"], digits=2), beyond, *cells])
    return markdown(rows)


def main() -> None:
    """Print the tables."""
    line = json.loads(Path(sys.argv[1]).read_text().splitlines()[-1])
    baseline = next(name for name, record in line["methods"].items() if record["baseline"])
    tables = [methods(line), against(line, baseline), costs(line)]
    if line["judged"]:
        tables.append(rewards(line))
    print("\n\n".join(tables))
    print(f"\n{line['advice']}")


if __name__ == "__main__":
    main()
