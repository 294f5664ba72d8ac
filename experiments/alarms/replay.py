"""What the run doctor says of runs that exist already, their logs read again row by row.

    python experiments/alarms/replay.py RUN...

Prints each sentence with its run, stage and round. The last line is one JSON object; `alarms` counts stages with an
alarm, of `stages` that were trained.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from homestretch.config.recipe import load_recipe
from homestretch.config.training import TrainingConfig
from homestretch.report.curves import ALARM
from homestretch.results import RunFolder
from homestretch.training.doctor import watcher
from homestretch.training.logs import MetricsLog


def sentences(folder: Path) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Name and sentences (round, text) of each stage of a run that was trained."""
    run, held_out = RunFolder(folder), None
    for stage, recorded in zip(load_recipe(run.recipe).stages, run.stage_folders(), strict=False):
        if (audit := recorded.path / "audit.json").is_file():
            held_out = json.loads(audit.read_text("utf-8"))["held_out"]
        if isinstance(stage.config, TrainingConfig) and recorded.metrics.is_file():
            watch = watcher(stage.config.model_copy(update={"doctor": "warn"}), held_out=held_out)
            assert watch is not None
            rows = MetricsLog(recorded.metrics).rows()
            yield stage.name, [(row["step"], said) for row in rows for said in watch(row)[0]]


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    args = parser.parse_args()
    stages, alarms = 0, Counter[str]()
    for folder in args.runs:
        for name, found in sentences(folder):
            stages += 1
            alarms.update({alarm for _, said in found for alarm in ALARM.findall(said)})
            for step, said in found:
                print(f"{folder}, {name}, round {step}: {said}")
    print(json.dumps({"name": "replay", "runs": len(args.runs), "stages": stages, "alarms": dict(alarms)}))


if __name__ == "__main__":
    main()
