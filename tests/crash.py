"""The crash campaign: processes killed at seeded points, generated bad input, and single events such as a full disk.

    python tests/crash.py                               100 kill points, 10,000 cases, all events
    python tests/crash.py --points 10 --cases 500       less of it
    python tests/crash.py --only events                 one part: kills, cases or events
    python tests/crash.py --save                        keeps the counts of the parts for docs/reliability.md

Prints what it does and then its counts; exits with 1 where anything went wrong. The same seed makes the same points
and cases.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

KEPT = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "crash.json"
PARTS = ("kills", "cases", "events")


def kills(options: argparse.Namespace, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Counts of the kill points."""
    from crash_kills import campaign

    found = campaign(options.points, options.seed, folder, tell)
    wrong = found.failures + (["too few points were met"] if found.places.total() < options.points else [])
    return {
        "points": found.places.total(),
        "places": dict(sorted(found.places.items())),
        "fresh": found.fresh,
        "missed": found.missed,
        "runs": found.runs,
        "equal": found.equal,
        "wrong": wrong,
    }


def cases(options: argparse.Namespace, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Counts of the generated cases."""
    from crash_cases import campaign

    families = campaign(options.cases, options.seed, tell)
    wrong = [f"{name}: {tally.failure}" for name, tally in families.items() if tally.failure]
    counted = ("cases", "done", "refused", "real", "rows", "kept", "rejected")
    return {
        "families": {name: {key: getattr(tally, key) for key in counted} for name, tally in families.items()},
        "wrong": wrong,
    }


def events(options: argparse.Namespace, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """What came of the single events."""
    from crash_events import campaign

    found = campaign(options.seed, folder, tell)
    wrong = [f"{event.name}: {event.said}" for event in found if event.verdict == "FAILED"]
    said = [{**vars(event), "said": event.said.replace(f"{folder}/", "")} for event in found]
    return {"events": said, "wrong": wrong}


def table(counts: dict[str, Any]) -> str:
    """The counts in lines."""
    lines = []
    if found := counts.get("kills"):
        lines.append(f"{found['points']} kills, {found['fresh']} of them of processes from the first import:")
        lines += [f"  {count:4d}  in {place}" for place, count in found["places"].items()]
        lines.append(f"  {found['equal']} of {found['runs']} runs ended with the bytes of an undisturbed one")
    for name, tally in counts.get("cases", {}).get("families", {}).items():
        lines.append(
            f"{tally['cases']} cases of {name}: {tally['done']} done, {tally['refused']} refused in a sentence; "
            f"{tally['real']} of them in processes of their own too"
        )
        if tally["rows"]:
            lines.append(f"  {tally['rows']} rows read = {tally['kept']} kept + {tally['rejected']} rejected")
    if found := counts.get("events"):
        verdicts = [event["verdict"] for event in found["events"]]
        lines.append(f"{len(verdicts)} events: {verdicts.count('ok')} ok, {verdicts.count('skipped')} skipped")
    for part in PARTS:
        lines += [f"WRONG, {part}: {wrong}" for wrong in counts.get(part, {}).get("wrong", ())]
    return "\n".join(lines)


def main() -> int:
    """Run the parts, print the counts."""
    parser = argparse.ArgumentParser(description="Kill, starve and confuse the command line; nothing may be lost.")
    parser.add_argument("--points", type=int, default=100, help="kill points (100)")
    parser.add_argument("--cases", type=int, default=10_000, help="generated cases (10,000)")
    parser.add_argument("--seed", type=int, default=0, help="of points, cases and damages (0)")
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which stays, runs that differ among it")
    parser.add_argument("--save", action="store_true", help=f"write {KEPT.parent.name}/{KEPT.name}")
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
    counts: dict[str, Any] = {
        "seed": options.seed,
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
    }
    counts["versions"] = {name: metadata.version(name) for name in ("homestretch", "torch", "hypothesis")}
    for part in [options.only] if options.only else PARTS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="crash-") as name:
            folder = (options.keep or Path(name)).resolve() / part
            folder.mkdir(parents=True)
            os.environ["HOMESTRETCH_CACHE"] = str(folder / "cache")
            counts[part] = globals()[part](options, folder, lambda line: print(line, flush=True))
        counts[part]["seconds"] = round(time.monotonic() - started)
    print(table(counts))
    if options.save:
        others = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
        KEPT.write_text(json.dumps(others | counts, indent=1) + "\n", encoding="utf-8")
    return 1 if any(counts.get(part, {}).get("wrong") for part in PARTS) else 0


if __name__ == "__main__":
    sys.exit(main())
