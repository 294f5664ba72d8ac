"""TRL's DPOTrainer on the same rows."""

from __future__ import annotations

import argparse
import tempfile

import torch
from datasets import load_dataset
from peft import LoraConfig
from protocol import answer, steady_rate
from trl import DPOConfig, DPOTrainer
from trl_watch import Watch


def main() -> None:
    """Do a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data", help="JSONL with prompt, chosen and rejected")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    rows = load_dataset("json", data_files=args.data, split="train").select_columns(["prompt", "chosen", "rejected"])

    def work() -> float:
        watch = Watch()
        with tempfile.TemporaryDirectory() as folder:
            config = DPOConfig(
                output_dir=folder,
                max_steps=args.steps,
                per_device_train_batch_size=args.batch,
                save_strategy="no",
                report_to=[],
                max_length=512,
                bf16=args.bf16,
                gradient_checkpointing=False,
                precompute_ref_log_probs=True,
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                model_init_kwargs={"dtype": "float32"},
            )
            lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
            DPOTrainer(args.model, args=config, train_dataset=rows, peft_config=lora, callbacks=[watch]).train()
        return steady_rate([args.batch * n for n in range(len(watch.seconds))], watch.seconds)

    answer(work)


if __name__ == "__main__":
    main()
