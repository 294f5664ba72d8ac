"""TRL's SFTTrainer on the same rows."""

from __future__ import annotations

import argparse
import tempfile

import torch
from datasets import load_dataset
from peft import LoraConfig
from protocol import answer, steady_rate
from trl import SFTConfig, SFTTrainer
from trl_watch import Watch


def main() -> None:
    """Do a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    rows = load_dataset("json", data_files=args.data, split="train").select_columns(["prompt", "completion"])

    def work() -> float:
        watch = Watch()
        with tempfile.TemporaryDirectory() as folder:
            config = SFTConfig(
                output_dir=folder,
                max_steps=args.steps,
                per_device_train_batch_size=args.batch,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                max_length=512,
                bf16=args.bf16,
                gradient_checkpointing=False,
                learning_rate=5e-4,
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                model_init_kwargs={"dtype": "float32"},
            )
            lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
            peft_config = None if args.full else lora
            SFTTrainer(args.model, config, train_dataset=rows, peft_config=peft_config, callbacks=[watch]).train()
        return steady_rate(watch.tokens, watch.seconds)

    answer(work)


if __name__ == "__main__":
    main()
