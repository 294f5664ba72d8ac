"""The tables of README.md, from what was measured; `docs/generate.py` puts them in their places.

`benchmarks/results/*.jsonl` has the last lines of benchmarks, a file for each kind of machine; a row of the table of
speeds whose benchmark has none is left out. `experiments/last_mile/quickstart.json` is `evaluation/results.json` of the
run that is shown; the rows on what training brings are those of `experiments/last_mile/RESULTS.md`.
"""

from __future__ import annotations

import json
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from homestretch.cli.summary import columns
from homestretch.report.table import arms_table
from homestretch.results import Results

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
LAST_MILE = ROOT / "experiments" / "last_mile"
MACHINES = {"epyc-avx512": "EPYC, AVX-512", "epyc-avx2": "EPYC, AVX2", "xeon-amx": "Xeon, AMX"}
SPEEDS = {
    ("sft", "lora, float32"): "fine-tuning, LoRA, float32",
    ("sft", "full, float32"): "fine-tuning, all weights, float32",
    ("sft", "lora, bf16"): "fine-tuning, LoRA, bfloat16",
    ("dpo", "lora, float32"): "DPO, LoRA, float32",
    ("dpo", "lora, bf16"): "DPO, LoRA, bfloat16",
    ("rloo", "four samples a prompt"): "RLOO, LoRA, float32, four samples a prompt",
    ("ppo", "one sample a prompt"): "PPO, LoRA, float32, one sample a prompt, against TRL 1.12",
    ("ppo", "eight samples a prompt"): "the same, eight samples of each prompt, as it does by default",
    ("distill", "given texts, float32"): "distillation, LoRA, float32, given texts",
    ("distill", "given texts, bf16"): "distillation, LoRA, bfloat16, given texts",
    ("distill", "the student's own texts, float32"): "distillation, LoRA, float32, the student's own texts",
    ("distill", "given texts, kept laws"): "distillation, the second pass over given texts, against the first",
    (
        "distill",
        "given texts, kept laws, a smaller student",
    ): "the same, a student of ten layers and its teacher of thirty",
    (
        "distill",
        "the teacher's texts, kept laws",
    ): "distillation, the second pass over the teacher's texts, against the first",
    (
        "decode",
        "batch 32, prompts of 64, 64 new tokens",
    ): "decoding, rows of one length, against `generate` of transformers",
    (
        "decode_ragged",
        "256 prompts, nine tenths of the lengths between 6 and 128",
    ): "decoding, rows that end at different times, against the same",
    ("offline", "A-LoL"): "a step of R-LoL, A-LoL without values, against one of fine-tuning",
    ("offline", "IFT"): "a step of IFT, against one of fine-tuning",
    ("offline", "DPO"): "a step of DPO, pairs against sequences of fine-tuning",
}
"""Rows of the table of speeds, in its order: a benchmark and a case of it, and what readers call them."""
TASKS = ("quickstart (docstrings)", "SciTLDR", "WebNLG")


def measured(folder: Path) -> dict[tuple[str, str], tuple[str, dict[str, Any], str]]:
    """Machine, case and command by benchmark and case. Raises ValueError where two machines have one case."""
    found: dict[tuple[str, str], tuple[str, dict[str, Any], str]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            for case in record["cases"]:
                key = record["name"], case["case"]
                if key in found:
                    raise ValueError(f"{file.name}: {key} is in another file too; keep one of them.")
                found[key] = MACHINES[file.stem], case, record["command"]
    return found


def speeds(folder: Path = RESULTS) -> str:
    """The table of speeds: ratios of rates with the interval of the rounds, and of peak memory."""
    found = measured(folder)
    rows = ["| | rate | peak memory | processor | command |", "| --- | ---: | ---: | --- | --- |"]
    for key, label in SPEEDS.items():
        if key in found:
            machine, case, command = found[key]
            rows.append(f"| {label} | {_rate(case)} | {_memory(case)} | {machine} | `{command}` |")
    return "\n".join(rows)


def _rate(case: dict[str, Any]) -> str:
    rounds = "one round" if case["rounds"] == 1 else f"{case['low']:.2f} to {case['high']:.2f}"
    return f"{case['ratio']:.2f} times ({rounds})"


def _memory(case: dict[str, Any]) -> str:
    peaks = list(case.get("peak_bytes", {}).values())
    return f"{peaks[0] / peaks[1]:.2f}" if peaks else ""


def quickstart(file: Path = LAST_MILE / "quickstart.json") -> str:
    """What `make quickstart` printed about its arms."""
    return f"```\n{columns(arms_table(Results.read(file)))}\n```"


def last_mile(page: Path = LAST_MILE / "RESULTS.md") -> str:
    """The rows of the first table that are about the recipes as they come."""
    lines = dropwhile(lambda line: not line.startswith("|"), page.read_text(encoding="utf-8").splitlines())
    head, rule, *rows = takewhile(lambda line: line.startswith("|"), lines)
    return "\n".join([head, rule, *(row for row in rows if row.split("|")[1].strip() in TASKS)])


def tables() -> dict[str, str]:
    """Each table by the name of its place."""
    return {"quickstart": quickstart(), "last mile": last_mile(), "speeds": speeds()}
