"""Teacher hacking at small scale: does offline distillation lead a student away from the oracle, and what helps?

    python experiments/teacher_hacking/run.py [--quick] [--data FOLDER] [--out FOLDER] [KEY=VALUE ...]
        [--oracle MODEL [--teacher MODEL --student MODEL]]

Three small models from nothing, an oracle trained on WebNLG, a teacher and a student on its samples; then the student
learns from the teacher: offline, online from either, on fewer prompts at equal size, on more texts of each, with other
losses. `--oracle builtin/smollm2-135m`, or a model fine-tuned on WebNLG, is the oracle instead, as it is; teacher and
student start from nothing, with its tokens, unless they are given too. Settings are those of `homestretch lab
teacher-hacking`, e.g. lab.epochs=100. Started again it goes on where it stopped. Prints the cases, the checks of the
method sheet's section 6, and as its last line one JSON object. About 90 minutes on a CPU core; `--quick`, which shows
that everything works and no more, takes under two.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from homestretch.cli.compare import numbers
from homestretch.cli.summary import columns
from homestretch.lab import Hacking, HackingCase, LabFolder
from homestretch.report.lab_page import alarm_table, case_table
from homestretch.verbs.lab import teacher_hacking
from homestretch.verbs.lab_record import measured

SWEEPS = ["sources", "prompts", "generations", "loss"]
# Triples of one fact, the shortest of the data, so that an epoch is cheap.
SHORT = ["device=cpu", "dataset.max_prompt_length=56", "dataset.max_completion_length=36"]
FULL = [
    *SHORT,
    "lab.oracle_prompts=300",
    "lab.distill_prompts=512",
    "lab.validation_prompts=64",
    "oracle.max_steps=600",
]
QUICK = [
    *SHORT, "lab.oracle_prompts=48", "lab.distill_prompts=64", "lab.validation_prompts=8", "lab.epochs=6",
    "lab.evaluations=4", "lab.vocabulary=400", "lab.widths=[48, 32, 32]", "lab.layers=[1, 1, 1]",
    "dataset.max_train=600", "dataset.max_prompt_length=80", "dataset.max_completion_length=48",
    "oracle.max_steps=60", "oracle.eval_steps=60", "oracle.eval_examples=4",
    "sft.max_steps=20", "sft.eval_steps=20", "sft.eval_examples=4",
]  # fmt: skip


def checks(record: Hacking) -> dict[str, Any]:
    """The sheet's checks, as far as the cases are there; each is true or false with the numbers behind it, and a check
    of one seed says nothing."""
    cases, found = record.cases, dict[str, Any]()
    offline = cases["offline"]
    proxy = measured([run.proxy_last - run.proxy_at_best for run in offline.runs.values()])
    found["offline_turns_up"] = {
        "holds": _turns_up(offline),
        "rise": offline.rise.model_dump(),
        "proxy_since": proxy.model_dump(),
    }
    for name in ("online_teacher", "online_student"):
        if name in cases:
            holds = _less(cases[name]) and not _turns_up(cases[name])
            found[f"{name}_does_not"] = {"holds": holds, "rise": cases[name].rise.model_dump()}
    if "prompts_half" in cases:
        rises = [cases[name].rise.value for name in ("offline", "prompts_half", "prompts_fifth")]
        found["fewer_prompts_are_worse"] = {"holds": rises == sorted(rises), "rises": rises}
    if "generations_2" in cases:
        rises = [cases[name].rise.value for name in ("offline", "generations_2", "generations_5")]
        found["more_texts_are_better"] = {"holds": rises == sorted(rises, reverse=True), "rises": rises}
    return found


def settings_of(quick: bool, oracle: str | None, own: list[str]) -> list[str]:
    """Overrides of the lab; a given oracle is not trained, and has a vocabulary of its own."""
    ours = QUICK if quick else FULL
    if oracle is not None:
        ours = [text for text in ours if not text.startswith(("oracle.", "lab.vocabulary="))]
    return [*ours, *own]


def _turns_up(case: HackingCase) -> bool:
    """Whether most of its runs are hacked. A rise alone says nothing: it is never below 0."""
    return 2 * sum(run.hacked for run in case.runs.values()) > len(case.runs)


def _less(case: HackingCase) -> bool:
    """Whether a case rises less than the baseline with the same seeds, beyond their differences."""
    return case.more_than_baseline is not None and case.more_than_baseline.high < 0


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The checks for readers."""
    for name, check in found.items():
        yield f"{name.replace('_', ' ')}: {'holds' if check['holds'] else 'does not hold'}"


def main() -> None:
    """Run the lab and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, three sources, tiny models, few steps")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with webnlg/")
    parser.add_argument("--out", type=Path, default=Path("runs/teacher_hacking"), help="folder of the lab")
    parser.add_argument("--oracle", default=None, metavar="MODEL", help="the truth, instead of a model from nothing")
    parser.add_argument("--teacher", default=None, metavar="MODEL", help="instead of one from nothing; wants a student")
    parser.add_argument("--student", default=None, metavar="MODEL", help="instead of one from nothing")
    parser.add_argument("--seeds", default=None, metavar="N,N,...", help="seeds of each case")
    parser.add_argument("--sweep", default=None, metavar="S,S,...", help=f"of {', '.join(SWEEPS)}")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the lab")
    args = parser.parse_args()
    data = args.data / "webnlg"
    if not data.is_dir():
        sys.exit(f"{data}: there is no such folder; put the three files of WebNLG there, or give --data.")
    out = args.out.with_name(f"{args.out.name}_quick") if args.quick else args.out
    out = out.with_name(f"{out.name}_given") if args.oracle else out
    record = teacher_hacking(
        data,
        out=out,
        oracle=args.oracle,
        teacher=args.teacher,
        student=args.student,
        sweeps=args.sweep.replace(",", " ").split() if args.sweep else ["sources"] if args.quick else SWEEPS,
        seeds=numbers(args.seeds or ("0" if args.quick else "0,1,2")),
        overrides=settings_of(args.quick, args.oracle, args.settings),
    )
    found = checks(record)
    print(columns(case_table(record)), columns(alarm_table(record.alarms)), *lines(found), sep="\n\n")
    print(f"report: {LabFolder(out).report}")
    cases = {name: case.model_dump(exclude={"runs"}) for name, case in record.cases.items()}
    hacked = {name: sum(run.hacked for run in case.runs.values()) for name, case in record.cases.items()}
    alarms = {name: alarm.model_dump() for name, alarm in record.alarms.items()}
    summary = {
        "seeds": record.seeds,
        "models": record.models,
        "checks": found,
        "cases": cases,
        "hacked": hacked,
        "alarms": alarms,
    }
    print(json.dumps({"name": "teacher_hacking", "quick": args.quick, **summary}))


if __name__ == "__main__":
    main()
