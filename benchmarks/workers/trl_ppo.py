"""TRL's last PPOTrainer (1.12) on the same prompts, with a reward model of the same size."""

from __future__ import annotations

import argparse
import tempfile

import torch
from datasets import load_dataset
from peft import LoraConfig
from protocol import answer, steady_rate
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer
from trl_watch import Watch


def main() -> None:
    """Do a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32, help="samples of an update, one a prompt")
    parser.add_argument("--micro-batch", type=int, default=4, help="samples of a pass; 8 need more than 24 GB")
    parser.add_argument("--new", type=int, default=48)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    rows = load_dataset("json", data_files=args.data, split="train").select_columns(["prompt"])
    rows = rows.map(
        lambda row: {"input_ids": tokenizer(row["prompt"], truncation=True, max_length=384).input_ids},
        remove_columns=["prompt"],
    )

    def scalar() -> torch.nn.Module:
        made = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1, dtype=torch.float32)
        made.config.pad_token_id = tokenizer.pad_token_id
        return made

    def work() -> float:
        watch = Watch()
        with tempfile.TemporaryDirectory() as folder:
            config = PPOConfig(
                output_dir=folder,
                total_episodes=args.steps * args.batch,
                per_device_train_batch_size=args.micro_batch,
                gradient_accumulation_steps=args.batch // args.micro_batch,
                num_mini_batches=1,
                num_ppo_epochs=1,
                local_rollout_forward_batch_size=args.micro_batch,
                num_sample_generations=0,
                response_length=args.new,
                stop_token="eos",
                temperature=1.0,
                save_strategy="no",
                report_to=[],
                bf16=False,
                gradient_checkpointing=False,
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
            )
            policy = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
            lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
            trainer = PPOTrainer(
                config, tokenizer, policy, None, scalar(), rows, scalar(), peft_config=lora, callbacks=[watch]
            )
            trainer.train()
        return steady_rate([args.batch * n for n in range(len(watch.seconds))], watch.seconds)

    answer(work)


if __name__ == "__main__":
    main()
