"""What every stage of a run shares: the recipe, the data as tokens, the device, and where things are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from homestretch.config.recipe import Recipe
from homestretch.config.rewards import RewardTerm
from homestretch.config.stages import stage_kind
from homestretch.config.training import MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS_CPU, TrainingConfig
from homestretch.data.prompts import end_marker
from homestretch.data.records import Example
from homestretch.data.sources import Splits
from homestretch.data.tokenize import (
    TokenizedExample,
    TokenizedPair,
    length_check,
    tokenize_examples,
    tokenize_pairs,
)
from homestretch.errors import RecipeError
from homestretch.policies.adapters import belongs
from homestretch.policies.load import load_config, load_tokenizer, load_trunk, load_whole
from homestretch.policies.policy import Policy
from homestretch.policies.precision import autocast
from homestretch.policies.trunk import Trunk
from homestretch.results import RunFolder, StageRecord
from homestretch.rewards.cache import model_key
from homestretch.rewards.model import RewardModel, load_reward, read_description
from homestretch.rewards.named import NamedReward, load_rewards
from homestretch.seeds import fold

ROLE = "policy"


@dataclass
class Context:
    """One run. `model` is where the next stage's start weights are; `device` is that of all models; `finished` maps
    stages to their folders, by name and in order. `others` are runs that may have computed already what this one
    needs."""

    recipe: Recipe
    run: RunFolder
    splits: Splits
    model: str
    device: torch.device
    others: Sequence[RunFolder] = ()
    finished: dict[str, Path] = field(default_factory=dict)

    @property
    def folders(self) -> dict[str, Path]:
        """The folder of the last finished stage of each kind."""
        return {stage_kind(name): folder for name, folder in self.finished.items()}

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the recipe's model. Raises InputError where it has no end marker, which all stages need."""
        tokenizer = load_tokenizer(self.recipe.model_name_or_path, **self.recipe.load_options())
        end_marker(tokenizer)
        return tokenizer

    @cached_property
    def config(self) -> PretrainedConfig:
        """The configuration of the recipe's model."""
        return load_config(self.recipe.model_name_or_path, **self.recipe.load_options())

    @property
    def max_prompt_length(self) -> int:
        """Tokens of a prompt at most: the recipe's limit, or what the model's positions leave beside the longest
        completion, of the data or of a stage's samples.

        Raises RecipeError where they leave nothing.
        """
        data, (longest, setting) = self.recipe.dataset, self.recipe.longest_completion
        positions = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        if positions is None:
            return data.max_prompt_length
        room = positions if self.config.is_encoder_decoder else positions - longest
        if longest > positions:
            raise RecipeError(
                f"{setting} {longest} is more than the model can score: it has {positions} positions; lower it."
            )
        if room < 1:
            raise RecipeError(
                f"{setting} {longest} leaves no room for a prompt: the model has {positions} positions; lower it."
            )
        return min(data.max_prompt_length, room)

    def load_trunk(self, model: str | Path | None = None, *, whole: bool = False) -> Trunk:
        """A fresh trunk of the current model (or another one) on the run's device; `whole` even where weights are
        sharded."""
        name = str(model or self.model)
        load = load_whole if whole else load_trunk
        return load(
            name,
            device=self.device,
            dtype=torch.float32 if self.recipe.dtype == "auto" else getattr(torch, self.recipe.dtype),
            **self.recipe.load_options(name),
            use_liger_kernel=self.recipe.use_liger_kernel,
        )

    def model_key(self, model: str) -> str:
        """A name for the content of a model as this run loads it. Raises InputError."""
        return model_key(model, revision=self.recipe.load_options(model)["revision"])

    @property
    def has_reward_model(self) -> bool:
        """Whether the run has made a reward model, or the recipe names one."""
        return "reward" in self.folders or self.recipe.reward_model_name_or_path is not None

    def reward_model(self, trunk: Trunk | None = None) -> RewardModel:
        """The run's reward model, or the recipe's; with `trunk`, the current model, it becomes an adapter there if it
        was trained on that model. It is given token ids of the recipe's model.

        Raises RecipeError when there is none, or it was trained on another tokenizer.
        """
        folder = self.reward_folder()
        description, options = read_description(folder), self.reward_options()
        revisions = None, self.recipe.load_options(self.model)["revision"]
        own = same_model(description["base"], self.model) and description["revision"] in revisions
        reward = load_reward(folder, trunk=trunk if own else None, device=self.device, **options)
        if reward.tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise RecipeError(
                f"The reward model {folder} has another vocabulary than the recipe's model, and is to read its tokens: "
                "name one of the same tokenizer, or train one with the stage `reward`."
            )
        return reward

    def reward_options(self) -> dict[str, Any]:
        """How the run's reward model, or its base, is loaded where its folder does not say it.

        Raises RecipeError when there is none.
        """
        folder = self.reward_folder()
        return self.recipe.load_options(read_description(folder)["base"] or str(folder))

    def reward_folder(self) -> Path:
        """Where the run's reward model is, or the recipe's. Raises RecipeError when there is none."""
        if "reward" in self.folders:
            return self.folders["reward"] / "model"
        if self.recipe.reward_model_name_or_path is None:
            raise RecipeError(
                "There is no reward model: put a stage `reward` before, or set `reward_model_name_or_path`."
            )
        return Path(self.recipe.reward_model_name_or_path)

    def named_rewards(self, terms: Mapping[str, RewardTerm]) -> list[NamedReward]:
        """The rewards that a recipe names, but for its reward model. Raises InputError."""
        return load_rewards(terms, device=self.device, trust_remote_code=self.recipe.trust_remote_code)

    def tokens(self, examples: list[Example], *, is_encoder_decoder: bool) -> list[TokenizedExample]:
        """Examples as token ids, within the recipe's lengths."""
        data = self.recipe.dataset
        return tokenize_examples(
            examples,
            self.tokenizer,
            is_encoder_decoder=is_encoder_decoder,
            max_prompt_length=self.max_prompt_length,
            max_completion_length=data.max_completion_length,
            truncate=data.truncate,
        )

    def pair_tokens(self, examples: list[Example], *, is_encoder_decoder: bool, truncate: bool) -> list[TokenizedPair]:
        """Preference rows as token ids, within the recipe's lengths."""
        return tokenize_pairs(
            examples,
            self.tokenizer,
            is_encoder_decoder=is_encoder_decoder,
            max_prompt_length=self.max_prompt_length,
            max_completion_length=self.recipe.dataset.max_completion_length,
            truncate=truncate,
        )

    def length_check(self) -> Callable[[Example], None]:
        """Raises DataError for an example that is longer than the recipe's lengths."""
        return length_check(
            self.tokenizer,
            is_encoder_decoder=bool(self.config.is_encoder_decoder),
            max_prompt_length=self.max_prompt_length,
            max_completion_length=self.recipe.dataset.max_completion_length,
        )

    def accelerator(self, label: str) -> Accelerator:
        """Accelerate with the recipe's tracker, on the run's device; what is tracked goes to `tracking/` of the run, or
        where the tracker's own settings say.

        Its precision stays off, whatever it was launched with: accelerate keeps one for the whole process, and stages
        may differ (see `policy`).
        """
        tracker = None if self.recipe.report_to == "none" else self.recipe.report_to
        accelerator = Accelerator(
            cpu=self.device.type == "cpu",
            mixed_precision="no",
            log_with=tracker,
            project_dir=str(self.run.path / "tracking"),
        )
        if tracker:
            accelerator.init_trackers(f"{self.run.path.name}-{label}")
        return accelerator

    def budget(self, config: TrainingConfig | None) -> int:
        """Padded tokens of one forward pass."""
        given = config.micro_batch_tokens if config else None
        return given or (MICRO_BATCH_TOKENS_CPU if self.device.type == "cpu" else MICRO_BATCH_TOKENS)

    def arithmetic(self, config: TrainingConfig) -> tuple[object, ...]:
        """What a model's numbers hang on beside its weights and what it reads, for names of what is kept."""
        return self.recipe.dtype, self.device.type, config.bf16, self.budget(config)

    def policy(self, trunk: Trunk, adapter: str | None, config: TrainingConfig | None = None) -> Policy:
        """A view of the trunk with the stage's precision and budget; without settings, with those of the device."""
        precision = autocast(self.device, config.bf16 if config else None)
        return Policy(trunk, adapter, budget=self.budget(config), autocast=precision)

    def learner(
        self,
        config: TrainingConfig,
        label: str,
        adapter: str,
        *,
        trunk: Trunk | None = None,
        drawn_for: str | None = None,
    ) -> Learner:
        """The current model made trainable: with a new adapter of that name, or in full. `label` is the stage's.

        New weights, those of heads added afterwards included, are drawn from the recipe's seed for the label, or for
        another one.
        """
        trunk = trunk or self.load_trunk()
        torch.manual_seed(fold("new weights", self.recipe.seed, drawn_for or label))
        if config.use_peft:
            trunk.add_adapter(adapter, config)
        if config.gradient_checkpointing:
            trunk.checkpoint_activations()
        name = adapter if config.use_peft else None
        return Learner(trunk, name, self.accelerator(label), self.policy(trunk, name, config))


@dataclass(frozen=True)
class Learner:
    """A trunk in training, the view of it that learns, and its accelerator. `adapter` is None in full fine-tuning."""

    trunk: Trunk
    adapter: str | None
    accelerator: Accelerator
    policy: Policy

    def parameters(self, head: str | None = None, *, beside: str | None = None) -> dict[str, Any]:
        """What is trained, by name: the adapter (with another one `beside` it) or every weight, and one head;
        everything else is frozen."""
        adapters = [adapter for adapter in (self.adapter, beside) if adapter]
        chosen = {
            name: p
            for name, p in self.trunk.named_parameters()
            if (any(belongs(name, a) for a in adapters) if adapters else name.startswith("model."))
            or (head is not None and name.startswith(f"heads.{head}."))
        }
        for name, parameter in self.trunk.named_parameters():
            parameter.requires_grad_(name in chosen)
        return chosen


def same_model(a: str | None, b: str) -> bool:
    """Whether two models are one: by their path, or as what stages with the same inputs made."""
    records = [Path(model).parent / "stage.json" for model in (a, b) if model]
    if a is None or a == b or not all(record.is_file() for record in records):
        return a is not None and Path(a).resolve() == Path(b).resolve()
    first, second = (StageRecord.read(record) for record in records)
    return first.inputs == second.inputs


def set_threads() -> None:
    """Use this process's share of the cores that it may run on, unless the user has said otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1))
