"""Settings of the stage `ppo`: proximal policy optimisation against a reward with a length term."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from homestretch.config.training import TrainingConfig


class PPOConfig(TrainingConfig):
    """Clipped policy gradient with a value head, on rollouts of the policy (Solway 2024, sheet 2.4 to 2.6)."""

    learning_rate: float = Field(3e-4, gt=0)
    """Peak step size. Origin: ours for LoRA (docs/log.md); full fine-tuning wants 1e-6 to 1e-5."""
    head_learning_rate: float = Field(1e-3, gt=0)
    """Peak step size of the value head, which starts from nothing."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the step size. Origin: TRL's PPO used linear; constant leaves the stopping point to validation."""
    train_batch_size: PositiveInt = 64
    """Sequences of one optimiser step. Origin: ours; updates of 16 were noise on the built-in task (docs/log.md)."""
    rollout_batch_size: PositiveInt = 128
    """Sequences sampled in one round. Origin: scaled down from 256 (sheet 3)."""
    num_generations: PositiveInt = 8
    """Samples of each prompt in a round; the prompt is read once for all of them. Origin: ours."""
    num_ppo_epochs: PositiveInt = 1
    """Passes over each rollout. Origin: 4 in sheet 3; ours, a fresh rollout is worth more than an old one."""
    max_steps: PositiveInt | None = 20
    """Rounds of rollout and update."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the policy that samples and learns, and of its reference. Greedy outputs are those of any
    temperature; below 1 the samples are nearer to them. Origin: sheet 3."""
    max_completion_length: PositiveInt | None = None
    """Tokens of a rollout at most, end marker included; None takes the evaluation's limit."""
    gamma: float = Field(1.0, gt=0, le=1)
    """Discount. Origin: sheet 3."""
    lam: float = Field(0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation. Origin: sheet 3."""
    cliprange: float = Field(0.2, gt=0)
    """Half-width of the ratio interval. Origin: sheet 3 (TRL)."""
    cliprange_value: float = Field(0.2, gt=0)
    """Half-width of the value interval. Origin: sheet 3 (TRL)."""
    value_init: Literal["policy", "reward"] = "policy"
    """Where V comes from. `policy`: a head on the policy's states, so that one pass gives both. `reward`: an adapter of
    its own that starts as a copy of the reward model's, with a new head; it costs a pass more wherever V is read.
    Origin: the second is InstructGPT's (Ouyang et al. 2022, arXiv:2203.02155, section 3.5); the first is ours."""
    vf_coef: float = Field(0.1, ge=0)
    """Weight of the value loss. Origin: sheet 3 (TRL)."""
    ent_coef: float = Field(0.0, ge=0)
    """Weight of the entropy bonus. Origin: sheet 3."""
    reward_baseline: Literal["prompt", "none"] = "prompt"
    """`prompt` subtracts from each terminal reward the mean of the other samples of its prompt. It leaves the gradient
    unbiased and takes out what the prompt alone decides. Origin: ours (RLOO); needs num_generations above 1."""
    whiten: bool = True
    """Whiten advantages over the tokens of a round. Origin: sheet 2.5."""
    average: Literal["token", "sequence"] = "token"
    """Mean over all tokens, or over sequences of their means. Origin: sheet 2.7."""
    value_warmup_steps: int = Field(2, ge=0)
    """Rounds in which only the value function learns."""
    kl: Literal["off", "fixed", "adaptive"] = "fixed"
    """Penalty on the divergence from the start policy."""
    kl_coef: float = Field(0.05, ge=0)
    """Its weight, or the first one if adaptive. Origin: sheet 3 (fixed 0.05, adaptive 0.2)."""
    kl_estimator: Literal["k1", "k3"] = "k1"
    """Estimator that goes into the reward; k3 is never negative, k1 is unbiased for the penalty's gradient."""
    kl_target: float = Field(6.0, gt=0)
    """Nats a sequence that the adaptive controller aims at. Origin: sheet 3 (TRL)."""
    kl_horizon: PositiveInt = 10_000
    """Sequences over which the adaptive controller acts. Origin: sheet 3 (TRL)."""
    reward_clip_range: float | None = Field(5.0, gt=0)
    """The reward model's logit is clipped to +- this. Origin: sheet 3."""
    rewards: dict[Literal["overlap", "rules"], Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Rewards without a model that join the reward model's score, and their weights: `overlap`, length-adjusted ROUGE-L
    (0 to 1) with the training reference; `rules`, -1 for a sample that breaks a rule of the audit. Origin: ours."""
    length_penalty: Literal["ratio", "linear", "budget", "none"] = "ratio"
    """Form of the length term. `ratio` compares with the training reference; inference needs none."""
    length_coef: float | None = Field(None, ge=0)
    """Weight of the length term; None is 1.0 for ratio, 0.01 for linear, 0.05 for budget (sheet 3)."""
    length_budget: float | None = Field(None, gt=0)
    """Free tokens of `budget`; None is 1.2 times the median reference length (sheet 3)."""
    missing_eos_penalty: float = Field(1.0, ge=0)
    """Cost of a sample that does not end. Origin: sheet 3."""
    lookahead_k: PositiveInt | None = None
    """None is strategy R1; k scores the k most probable tokens of each step with the value head (R2, sheet 2.6)."""
    lookahead_baseline: Literal["value", "set"] = "value"
    """Baseline of the look-ahead advantage (sheet 2.6)."""
    doctor: Literal["warn", "stop", "off"] = "warn"
    """What the run doctor does when the reward rises while the validation metric falls."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lookahead_k == 1 and self.lookahead_baseline == "set":
            raise ValueError("lookahead_baseline `set` is zero at lookahead_k 1; use `value` or a larger k")
        if self.value_init == "reward" and not self.use_peft:
            raise ValueError("value_init `reward` is an adapter beside the policy's; set use_peft=true or use `policy`")
        if self.value_init == "reward" and self.lookahead_k is not None:
            raise ValueError(
                "lookahead_k reads V from the policy's states while it decodes; use value_init `policy` with it"
            )
        if self.rollout_batch_size % self.num_generations:
            raise ValueError(
                f"rollout_batch_size {self.rollout_batch_size} must be a multiple of "
                f"num_generations {self.num_generations}"
            )
        return self
