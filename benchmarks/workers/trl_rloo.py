"""TRL's RLOOTrainer on the same prompts, with the same reward: how near the length is to a wish."""

from __future__ import annotations

import argparse
import tempfile

import torch
from datasets import load_dataset
from peft import LoraConfig
from protocol import answer, steady_rate
from trl import RLOOConfig, RLOOTrainer
from trl_watch import Watch


def brevity(completions: list[str], **_: object) -> list[float]:
    """A reward that costs nothing: minus the distance to 60 characters."""
    return [-abs(len(text) - 60) / 60 for text in completions]


def main() -> None:
    """Do a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32, help="samples of a step")
    parser.add_argument("--micro-batch", type=int, default=8, help="samples of a pass; all 32 need more than 24 GB")
    parser.add_argument("--samples", type=int, default=4, help="samples of a prompt")
    parser.add_argument("--new", type=int, default=48)
    args = parser.parse_args()
    rows = load_dataset("json", data_files=args.data, split="train").select_columns(["prompt"])

    def work() -> float:
        watch = Watch()
        with tempfile.TemporaryDirectory() as folder:
            config = RLOOConfig(
                output_dir=folder,
                max_steps=args.steps,
                per_device_train_batch_size=args.micro_batch,
                gradient_accumulation_steps=args.batch // args.micro_batch,
                num_generations=args.samples,
                max_completion_length=args.new,
                save_strategy="no",
                report_to=[],
                bf16=False,
                gradient_checkpointing=False,
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                model_init_kwargs={"dtype": "float32"},
            )
            lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
            trainer = RLOOTrainer(
                args.model, brevity, args=config, train_dataset=rows, peft_config=lora, callbacks=[watch]
            )
            trainer.train()
        return steady_rate([args.batch * n for n in range(len(watch.seconds))], watch.seconds)

    answer(work)


if __name__ == "__main__":
    main()
