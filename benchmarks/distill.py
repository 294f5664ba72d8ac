"""Token-level distillation: homestretch against TRL's DistillationTrainer, and a teacher that is asked once.

    python benchmarks/distill.py --data ../shared/data/scitldr [--only 'smaller student']

SmolLM2-135M learns from itself after two steps of fine-tuning: forward divergence over all 49,152 tokens, LoRA of rank
16, batches of 8 texts. TRL's trainer knows no texts but those that the student writes; for the cases `given texts` it
is handed references in their place, the same that homestretch learns on. In `the student's own texts` both sample, and
that time counts. Tokens are real ones, prompts included, by each trainer's own count, from the end of the first step to
the end of the last. Float32 is compared with float32; `bf16` is both under mixed precision, where the machine has it.
Goals: 1.5 times the tokens a second, 0.6 of the peak memory.

The last cases are our own passes over texts that do not change, with the 64 most probable tokens of the teacher kept:
the second pass against the first, in which the teacher says what it thinks of each token, and in one case writes the
texts before. What that saves goes by the teacher's size over the student's; the last student has ten of its 30 layers.
Goal: 1.6 times the tokens a second. Each round of a way is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import Worker, against_trl, arguments, environment, finish, interleaved, precisions, result

from homestretch.policies.builtin import smollm2

HERE = Path(__file__).parent
RECIPE = HERE / "recipes" / "distill.yaml"
FILES = HERE.parent / ".bench" / "distill"
BATCH = 8
COLUMNS = "prompt", "completion"
WORDS, QUICK_WORDS = (150, 40), (40, 16)
"""Words of a prompt and of a reference at most."""
NEW, QUICK_NEW = 48, 16
"""Tokens of a text at most, sampled or given."""
TEXTS = {"data": "given texts", "online_student": "the student's own texts"}
"""Sources of the cases with a peer."""
SHORTER = HERE.parent / "experiments" / "teacher_hacking" / "shorter.py"
LAYERS = 10
PASSES = {
    "given texts, kept laws": ("data", False),
    "the teacher's texts, kept laws": ("offline", False),
    "given texts, kept laws, a smaller student": ("data", True),
}
"""Cases of the second pass: the source of the texts, and whether the student has `LAYERS` layers only."""
GOAL = 1.6


def shortened(rows: list[dict[str, str]], words: tuple[int, int]) -> list[dict[str, str]]:
    """Prompts and completions cut to so many words each, the first row of each prompt."""
    first: dict[str, str] = {}
    for row in rows:
        prompt, completion = (" ".join(row[key].split()[:most]) for key, most in zip(COLUMNS, words, strict=True))
        first.setdefault(prompt, completion)
    return [dict(zip(COLUMNS, pair, strict=True)) for pair in first.items()]


def written(data: Path, name: str, count: int, words: tuple[int, int]) -> Path:
    """A folder with `count` rows of `data` to train on, and one for each of the other splits."""
    lines = (data / "train.jsonl").read_text(encoding="utf-8").splitlines()[: 2 * count + 2]
    rows, folder = shortened([json.loads(line) for line in lines], words), FILES / name
    folder.mkdir(parents=True, exist_ok=True)
    for split, some in (("train", rows[:count]), ("validation", rows[count:][:1]), ("test", rows[count + 1 :][:1])):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return folder


def teacher_of(data: Path) -> Path:
    """The model after two steps of fine-tuning, made on first use, by a process of its own: the peak of a worker is at
    least the memory of this one."""
    run = FILES / "teacher"
    if not (run / "model" / "model.safetensors").is_file():
        stages = json.dumps([{"sft": {"max_steps": 2, "train_batch_size": 8, "eval_steps": 1000, "eval_examples": 1}}])
        rows = written(data, "teacher-rows", 2 * BATCH, QUICK_WORDS)
        settings = [f"dataset.name={rows}", f"stages={stages}"]
        command = [sys.executable, "-m", "homestretch", "train", str(RECIPE), "--out", str(run), *settings]
        subprocess.run(command, check=True)
    return run / "model"


def smaller_student() -> Path:
    """The built-in model with fewer layers, made on first use."""
    folder = FILES / f"{LAYERS}-layers"
    if not (folder / "tokenizer_config.json").is_file():
        command = [sys.executable, str(SHORTER), "builtin/smollm2-135m", str(folder), "--layers", str(LAYERS)]
        subprocess.run(command, check=True)
    return folder


def settings(rows: Path, teacher: Path, new: int, source: str, *more: str) -> list[str]:
    """Overrides of the recipe: texts of at most `new` tokens from `source`, and what else is wanted."""
    files = [f"dataset.name={rows}", f"distill.teacher_name_or_path={teacher}"]
    return [*files, f"dataset.max_completion_length={new}", f"distill.source={source}", *more]


def against(
    rows: Path, teacher: Path, *, steps: int, rounds: int, new: int, quick: bool, only: str
) -> list[dict[str, Any]]:
    """The cases with a peer."""
    kinds = [*(("data", precision) for precision in precisions()), ("online_student", "float32")]
    wanted = {f"{TEXTS[source]}, {precision}": (source, precision) for source, precision in kinds}
    if quick:
        wanted = dict([*wanted.items()][:: len(wanted) - 1])
    cases = []
    for case, (source, precision) in wanted.items():
        if only not in case:
            continue
        more = [f"distill.max_steps={steps}", f"distill.bf16={precision == 'bf16'}"]
        mine = settings(rows, teacher, new, source, *more)
        ours = Worker(sys.executable, "ours.py", "distill", "num_tokens", str(RECIPE), *mine)
        switches = [s for s, on in (("--given", source == "data"), ("--bf16", precision == "bf16")) if on]
        sizes = ["--steps", str(steps), "--batch", str(BATCH), "--new", str(new)]
        files = [str(smollm2()), str(teacher), str(rows / "train.jsonl")]
        peer = Worker(environment("trl"), "trl_distill.py", *files, *sizes, *switches)
        cases += against_trl("tokens/s", {case: ours}, peer, rounds=rounds)
    return cases


def passes(rows: Path, teacher: Path, *, rounds: int, new: int, quick: bool, only: str) -> list[dict[str, Any]]:
    """The second pass over texts that do not change, against the first."""
    cases = []
    for case, (source, smaller) in list(PASSES.items())[: 1 if quick else None]:
        if only not in case:
            continue
        more = [f"model_name_or_path={smaller_student()}"] if smaller else []
        mine = settings(rows, teacher, new, source, "distill.top_k=64", "distill.bf16=false", *more)
        ways = {
            name: Worker(sys.executable, "distill_passes.py", str(RECIPE), *mine, "--pass", number)
            for name, number in (("first pass", "1"), ("second pass", "2"))
        }
        rates = interleaved(ways, rounds=rounds, warm_up=0)
        peaks = {name: worker.peak_bytes for name, worker in ways.items()}
        kept = {"goal": GOAL, "peak_bytes": peaks}
        cases.append(result(case, "tokens/s", rates, ours="second pass", peer="first pass", **kept))
    return cases


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scitldr"))
    parser.add_argument("--steps", type=int, default=6, help="optimiser steps of a round or pass")
    parser.add_argument("--only", default="", metavar="WORDS", help="cases with these words in their names")
    args = parser.parse_args()
    rounds, steps, new = (1, 3, QUICK_NEW) if args.quick else (args.rounds, args.steps, NEW)
    rows = written(args.data, "rows", BATCH * steps, QUICK_WORDS if args.quick else WORDS)
    teacher = teacher_of(args.data)
    what = {"rounds": rounds, "new": new, "quick": args.quick, "only": args.only}
    finish("distill", against(rows, teacher, steps=steps, **what) + passes(rows, teacher, **what))


if __name__ == "__main__":
    main()
