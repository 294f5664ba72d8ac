"""Token-level distillation: homestretch against TRL's DistillationTrainer, and a teacher that is asked once.

    python benchmarks/distill.py --data ../shared/data/scitldr

SmolLM2-135M learns from itself after two steps of fine-tuning: forward divergence over all 49,152 tokens, LoRA of rank
16, batches of 8 texts. TRL's trainer knows no texts but those that the student writes; for the cases `given texts` it
is handed references in their place, the same that homestretch learns on. In `the student's own texts` both sample, and
that time counts. Tokens are real ones, prompts included, by each trainer's own count, from the end of the first step to
the end of the last. Float32 is compared with float32; `bf16` is both under mixed precision, where the machine has it.
Goals: 1.5 times the tokens a second, 0.6 of the peak memory.

The last cases are our own passes over texts that do not change, with the 64 most probable tokens of the teacher kept:
the second pass against the first, in which the teacher says what it thinks of each token, and in the last case writes
the texts before. Goal: 1.6 times the tokens a second. Each round of a way is a process of its own.
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
TEXTS = {
    "data": "given texts",
    "online_student": "the student's own texts",
    "offline": "the teacher's texts",
}
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


def settings(rows: Path, teacher: Path, new: int, source: str, *more: str) -> list[str]:
    """Overrides of the recipe: texts of at most `new` tokens from `source`, and what else is wanted."""
    files = [f"dataset.name={rows}", f"distill.teacher_name_or_path={teacher}"]
    return [*files, f"dataset.max_completion_length={new}", f"distill.source={source}", *more]


def against(rows: Path, teacher: Path, *, steps: int, rounds: int, new: int, quick: bool) -> list[dict[str, Any]]:
    """The cases with a peer."""
    trl, student, cases = environment("trl"), str(smollm2()), []
    kinds = [*(("data", precision) for precision in precisions()), ("online_student", "float32")]
    for source, precision in [kinds[0], kinds[-1]] if quick else kinds:
        more = [f"distill.max_steps={steps}", f"distill.bf16={precision == 'bf16'}"]
        mine = settings(rows, teacher, new, source, *more)
        ours = Worker(sys.executable, "ours.py", "distill", "num_tokens", str(RECIPE), *mine)
        switches = [s for s, on in (("--given", source == "data"), ("--bf16", precision == "bf16")) if on]
        sizes = ["--steps", str(steps), "--batch", str(BATCH), "--new", str(new)]
        files = [student, str(teacher), str(rows / "train.jsonl")]
        peer = Worker(trl, "trl_distill.py", *files, *sizes, *switches)
        cases += against_trl("tokens/s", {f"{TEXTS[source]}, {precision}": ours}, peer, rounds=rounds)
    return cases


def passes(rows: Path, teacher: Path, *, rounds: int, new: int, quick: bool) -> list[dict[str, Any]]:
    """The second pass over texts that do not change, against the first."""
    cases = []
    for source in ["data"] if quick else ["data", "offline"]:
        mine = settings(rows, teacher, new, source, "distill.top_k=64", "distill.bf16=false")
        ways = {
            name: Worker(sys.executable, "distill_passes.py", str(RECIPE), *mine, "--pass", number)
            for name, number in (("first pass", "1"), ("second pass", "2"))
        }
        rates = interleaved(ways, rounds=rounds, warm_up=0)
        more = {"goal": GOAL, "peak_bytes": {name: worker.peak_bytes for name, worker in ways.items()}}
        case = f"{TEXTS[source]}, kept laws"
        cases.append(result(case, "tokens/s", rates, ours="second pass", peer="first pass", **more))
    return cases


def main() -> None:
    """Time and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scitldr"))
    parser.add_argument("--steps", type=int, default=6, help="optimiser steps of a round or pass")
    args = parser.parse_args()
    rounds, steps, new = (1, 3, QUICK_NEW) if args.quick else (args.rounds, args.steps, NEW)
    rows = written(args.data, "rows", BATCH * steps, QUICK_WORDS if args.quick else WORDS)
    teacher = teacher_of(args.data)
    cases = against(rows, teacher, steps=steps, rounds=rounds, new=new, quick=args.quick)
    finish("distill", cases + passes(rows, teacher, rounds=rounds, new=new, quick=args.quick))


if __name__ == "__main__":
    main()
