"""Settings of the stage `ppo`: proximal policy optimisation against a reward with a length term."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from homestretch.config.rollouts import RolloutConfig


class PPOConfig(RolloutConfig):
    """Clipped policy gradient with a value head, on rollouts of the policy (Solway 2024, sheet 2.4 to 2.6)."""

    head_learning_rate: float = Field(1e-3, gt=0)
    """Peak step size of the value head, which starts from nothing."""
    gamma: float = Field(1.0, gt=0, le=1)
    """Discount. Origin: sheet 3."""
    lam: float = Field(0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation. Origin: sheet 3."""
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
    """Whiten advantages over the tokens of a round; those of lookahead_k never are. Origin: sheet 2.5 and 2.6."""
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
    goal_shaping: float = Field(0.0, ge=0)
    """Weight of a reward at every token: how much nearer it brings the response to the reward model's goal, as
    potential-based shaping, which changes no optimal policy. The reward model must know goals (`reward.contrast`).
    Origin: ours."""
    lookahead_k: PositiveInt | None = None
    """None is strategy R1; k scores the k most probable tokens of each step with the value head (R2, sheet 2.6)."""
    lookahead_baseline: Literal["value", "set"] = "value"
    """Baseline of the look-ahead advantage (sheet 2.6)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lookahead_k == 1 and self.lookahead_baseline == "set":
            raise ValueError("lookahead_baseline `set` is zero at lookahead_k 1; use `value` or a larger k")
        if self.value_init == "reward" and not self.use_peft:
            raise ValueError("value_init `reward` is an adapter beside the policy's; set use_peft=true or use `policy`")
        if self.goal_shaping and self.lookahead_k is not None:
            raise ValueError(
                "lookahead_k gives tokens no reward but the last; set goal_shaping=0 or leave lookahead_k out"
            )
        if self.value_init == "reward" and self.lookahead_k is not None:
            raise ValueError(
                "lookahead_k reads V from the policy's states while it decodes; use value_init `policy` with it"
            )
        if self.lookahead_k is None:
            self.refuse_unread(["lookahead_baseline"], "belongs to lookahead_k; set that, or remove it")
        else:
            self.refuse_unread(["whiten"], "has no effect with lookahead_k, which whitens nothing; remove it")
        if self.kl != "adaptive":
            self.refuse_unread(("kl_target", "kl_horizon"), "belongs to kl `adaptive`; set that, or remove it")
        return self
