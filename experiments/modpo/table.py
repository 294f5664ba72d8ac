"""RESULTS.md's tables out of the JSON lines that `docstrings.py` and `qa_feedback.py` print.

    python experiments/modpo/table.py lines.jsonl > tables.md

`qa_feedback.py` prints a front of each objective, of which each becomes a section.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from homestretch.report.table import markdown


def interval(ends: list[float], digits: int = 2) -> str:
    """A value with its interval."""
    value, low, high = (f"{end:.{digits}f}" for end in ends)
    return f"{value} [{low}, {high}]"


def families(front: dict[str, Any]) -> str:
    """What each family covers, beside MODPO, and what a model of it takes."""
    beyond = {d["a"]: d for d in front["differences"] if d["b"] == "modpo"}
    beyond |= {
        d["b"]: {"difference": -d["difference"], "low": -d["high"], "high": -d["low"]}
        for d in front["differences"]
        if d["a"] == "modpo"
    }
    rows = [["family", "hypervolume", "beyond modpo", "own seconds a model"]]
    for name, family in front["families"].items():
        found = beyond.get(name)
        more = f"{found['difference']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]" if found else ""
        rows.append([name, interval(family["hypervolume"]), more, f"{family['seconds_a_model']:.0f}"])
    return markdown(rows)


def points(front: dict[str, Any]) -> str:
    """Every model: the objectives, overlap with the references, and how far from the start its samples are."""
    names = [*front["objectives"], "la_rougeL"]
    rows = [["model", *(name.removeprefix("rewards/") for name in names), "KL", "on the front"]]
    for model, point in front["points"].items():
        kl = interval(point["kl"], 1) if "kl" in point else ""
        cells = [interval(point[name], 1 if name == "la_rougeL" else 2) if name in point else "" for name in names]
        rows.append([model, *cells, kl, "yes" if model in front["on_the_front"] else ""])
    return markdown(rows)


def section(front: dict[str, Any], title: str) -> str:
    """Both tables, with what they were measured on."""
    corner = ", ".join(f"{name.removeprefix('rewards/')} {value:.3g}" for name, value in front["reference"].items())
    kept, seeds = front["best_of_n"], ", ".join(str(seed) for seed in front["seeds"])
    head = (
        f"## {title}, {front['budget']} budget\n\n"
        f"Seeds {seeds}, {front['prompts']} test prompts; corner of the volume: {corner}; best of {kept['n']}, "
        f"whose KL is {kept['kl']:.2f}.\n"
    )
    failed = "".join(f"\n{name} failed: {error}\n" for name, error in front["failed"].items())
    return f"{head}\n{families(front)}\n\n{points(front)}\n{failed}"


def fronts(line: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The fronts of a line with their titles."""
    own = {"budget": line["budget"]}
    if "fronts" not in line:
        return {line["name"]: line}
    return {f"{line['name']}, {name}": own | front for name, front in line["fronts"].items()}


def main() -> None:
    """Print all."""
    for text in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        for title, front in fronts(json.loads(text)).items():
            print(section(front, title))


if __name__ == "__main__":
    main()
