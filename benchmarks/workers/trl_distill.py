"""TRL's DistillationTrainer with the forward divergence, on the student's own texts or on given ones in their place."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from protocol import answer, steady_rate
from transformers import PreTrainedTokenizerBase
from trl import DistillationConfig, DistillationTrainer
from trl_watch import Watch

Texts = dict[tuple[int, ...], list[int]]


class Given(DistillationTrainer):
    """Takes the text of a prompt from `texts`, by the prompt's ids, where others would sample it."""

    texts: Texts

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: object, **__: object) -> list[list[int]]:
        return [self.texts[tuple(ids)] for ids in prompt_ids]


def texts_of(rows: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase, most: int) -> Texts:
    """Ids of each completion with its end marker, cut to `most`, by the ids of its prompt."""

    def completion(text: str) -> list[int]:
        return [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id][:most]

    return {tuple(tokenizer(row["prompt"]).input_ids): completion(row["completion"]) for row in rows}


def main() -> None:
    """Do a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("teacher")
    parser.add_argument("data", type=Path, help="JSONL with prompt and completion, each prompt once")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--new", type=int, default=48, help="tokens of a text at most")
    parser.add_argument("--given", action="store_true", help="learn on the completions, and sample nothing")
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]

    def work() -> float:
        watch = Watch()
        with tempfile.TemporaryDirectory() as folder:
            config = DistillationConfig(
                output_dir=folder,
                max_steps=args.steps,
                per_device_train_batch_size=args.batch,
                max_completion_length=args.new,
                beta=0.0,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                bf16=args.bf16,
                gradient_checkpointing=False,
                learning_rate=3e-4,
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                model_init_kwargs={"dtype": "float32"},
                teacher_model_init_kwargs={"dtype": "float32"},
            )
            trainer = (Given if args.given else DistillationTrainer)(
                args.model,
                args.teacher,
                config,
                Dataset.from_list([{"prompt": row["prompt"]} for row in rows]),
                peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
                callbacks=[watch],
            )
            if isinstance(trainer, Given):
                trainer.texts = texts_of(rows, trainer.processing_class, args.new)
            trainer.train()
        return steady_rate(watch.tokens, watch.seconds)

    answer(work)


if __name__ == "__main__":
    main()
