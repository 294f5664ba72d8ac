"""Stage `ppo`: reinforcement learning from the current model against a reward with a length term."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from homestretch.algorithms.ppo import PPO
from homestretch.batch import SequenceBatch
from homestretch.config.decoding import SUCCESS
from homestretch.config.ppo import PPOConfig
from homestretch.errors import RecipeError
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.results import StageFolder
from homestretch.rewards.goal import GoalModel, load_goals
from homestretch.rewards.model import RewardModel
from homestretch.training.context import Context
from homestretch.training.loop import Progress
from homestretch.training.online_stage import train_online

VALUE = "value"


def run(context: Context, config: PPOConfig, folder: Path) -> Progress:
    """Train, keep the best checkpoint, and make its model the run's current one."""

    def value(trunk: Trunk, reward: RewardModel | None) -> Policy | None:
        return None if config.value_init == "policy" else value_function(context, config, folder, trunk, reward)

    def potential(reward: RewardModel | None) -> Callable[[SequenceBatch], Tensor] | None:
        return goal_potential(context, config, folder, reward) if config.goal_shaping else None

    return train_online(context, config, folder, PPO(config), head=VALUE, value=value, potential=potential)


def goal_potential(
    context: Context, config: PPOConfig, folder: Path, reward: RewardModel | None
) -> Callable[[SequenceBatch], Tensor]:
    """Weighted Q of every state of responses, on the way to the goal `success`. Raises RecipeError without goals."""
    name = StageFolder(folder).name
    goals = {} if reward is None else load_goals(context.reward_folder())
    if reward is None or SUCCESS not in goals:
        raise RecipeError(
            f"{name}.goal_shaping reads the reward model's goals, and there are none: train it with "
            f"`reward.contrast={{}}`, or set {name}.goal_shaping to 0."
        )
    model = GoalModel(reward, goals)
    return lambda responses: config.goal_shaping * model.q_states(responses)


def value_function(
    context: Context, config: PPOConfig, folder: Path, trunk: Trunk, reward: RewardModel | None
) -> Policy:
    """A view of the trunk with an adapter of its own, a copy of the reward model's.

    Raises RecipeError where the reward model is not an adapter on the trunk.
    """
    if reward is None or reward.policy.trunk is not trunk or reward.policy.adapter is None:
        name = StageFolder(folder).name
        raise RecipeError(
            f"{name}.value_init=reward copies the reward model's adapter, and this reward model has none on the model "
            "that learns: train it with reward.use_peft=true behind the last stage that changes the model, or leave "
            f"{name}.value_init at policy."
        )
    trunk.copy_adapter(reward.policy.adapter, VALUE)
    return context.policy(trunk, VALUE, config)
