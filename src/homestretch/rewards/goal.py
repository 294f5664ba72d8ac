"""Goals: where good responses end, and how near a response is to there at every token (Nath et al. 2024,
arXiv:2407.13887; sheet goal-conditioned-reward 2.3, 2.4).

    g   = mean over good responses of h_L                                                                (1)
    Q_t = cos(h_t, g),      r_t = w h_t                                                                  (2)

h_t is the reward model's state behind t tokens of a response of L, end marker included, and w its head. A folder of a
reward model holds its goals by name; `success` is that of the references that it was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from homestretch import ranks
from homestretch.batch import SequenceBatch
from homestretch.config.decoding import SUCCESS
from homestretch.data.collate import collate
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import InputError
from homestretch.ops.contrast import cosines
from homestretch.ops.state_sampling import places
from homestretch.policies.policy import Policy
from homestretch.rewards.model import HEAD, RewardModel, load_reward
from homestretch.writing import write_bytes

FILE = "goals.safetensors"
ROWS = 64
"""Responses whose states exist at one time."""
WEIGHTS = (HEAD, "adapter_model.safetensors", "model.safetensors")

Tokens = Literal["last", "random"]


class TokenValues(NamedTuple):
    """Eq. 2 behind every response token, each (B, T); arbitrary but finite where the mask is 0."""

    q_BT: Tensor
    reward_BT: Tensor


@dataclass
class GoalModel:
    """A reward model with its goals, each (D,). Raises InputError for goals of another size than its states."""

    reward: RewardModel
    goals: dict[str, Tensor]

    def __post_init__(self) -> None:
        size = self.reward.policy.trunk.hidden_size
        for name, goal in self.goals.items():
            if goal.shape != (size,):
                raise InputError(
                    f"The goal `{name}` has the shape {tuple(goal.shape)} and a state of the reward model ({size},): "
                    f"make it anew with `homestretch reward goal --name {name}`."
                )

    def goal(self, name: str = SUCCESS) -> Tensor:
        """The goal of that name (D,). Raises InputError."""
        if name not in self.goals:
            raise InputError(
                f"There is no goal `{name}`; there are {', '.join(f'`{n}`' for n in sorted(self.goals))}: make it with "
                "`homestretch reward goal`."
            )
        return self.goals[name]

    @torch.no_grad()
    def values(self, batch: SequenceBatch, goal: str = SUCCESS) -> TokenValues:
        """Q (-1 to 1) and the reward (a logit) as they stand behind every token. Raises InputError."""
        goal_D, head = self.goal(goal).to(self.reward.policy.device), self.reward.policy.trunk.heads["reward"]
        parts = [(to_goal(h_bSD[:, 1:], goal_D), head(h_bSD[:, 1:])) for h_bSD in self._hidden(batch)]
        return TokenValues(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def q_states(self, batch: SequenceBatch, goal: str = SUCCESS) -> Tensor:
        """Q of every state (B, T + 1), the one before the first token included. Raises InputError."""
        goal_D = self.goal(goal).to(self.reward.policy.device)
        return torch.cat([to_goal(hidden_bSD, goal_D) for hidden_bSD in self._hidden(batch)])

    def _hidden(self, batch: SequenceBatch) -> Iterator[Tensor]:
        width = batch.ids_BT.shape[1] + 1
        for at in range(0, len(batch), ROWS):
            part = batch.rows(torch.arange(at, min(at + ROWS, len(batch))))
            hidden_bSD = self.reward.policy.score(part, want={"hidden"}).hidden_BSD
            assert hidden_bSD is not None and hidden_bSD.shape[1] == width
            yield hidden_bSD


def to_goal(hidden: Tensor, goal_D: Tensor) -> Tensor:
    """Q of states, (B, T, D) -> (B, T) in [-1, 1]."""
    # Rounding makes cosines of parallel states a little more than 1, and thresholds are made of them.
    return cosines(hidden, goal_D.expand(len(hidden), 1, -1)).squeeze(-1).clamp(-1, 1)


@torch.no_grad()
def goal_state(policy: Policy, rows: Sequence[TokenizedExample], *, tokens: Tokens = "last", seed: int = 0) -> Tensor:
    """Eq. 1 (D,), float32 on the CPU; with `random` each response gives the state of one of its tokens instead.

    Raises InputError when there is no response.
    """
    if not rows:
        raise InputError("A goal is the mean of good responses, and there is none; give some.")
    total_D, generator = torch.zeros((), dtype=torch.float64), torch.Generator().manual_seed(seed)
    for at in range(0, len(rows), ROWS):
        batch = collate(rows[at : at + ROWS])
        hidden_BSD = policy.score(batch, want={"hidden"}).hidden_BSD
        assert hidden_BSD is not None
        place_B1 = batch.length_B[:, None]
        if tokens == "random":
            place_B1 = places(torch.rand(len(batch), 1, generator=generator), batch.length_B)
        index_B1D = place_B1[..., None].expand(-1, -1, hidden_BSD.shape[-1]).to(hidden_BSD.device)
        total_D = total_D + hidden_BSD.gather(1, index_B1D).cpu().double().sum((0, 1))
    return (total_D / len(rows)).float()


def save_goals(folder: Path, goals: dict[str, Tensor]) -> None:
    """Write goals (D,) beside the reward model that they belong to, whole or not at all. Of several processes the first
    writes. Raises InputError where it cannot."""
    if ranks.is_first():
        content = save({k: v.contiguous() for k, v in goals.items()}, metadata={"model": weights_key(folder)})
        write_bytes(folder / FILE, content)


def load_goals(folder: Path) -> dict[str, Tensor]:
    """The goals of a reward model's folder; none where no file holds any.

    Raises InputError for another model's, and for a file that is not whole.
    """
    if not (folder / FILE).is_file():
        return {}
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            key, goals = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise InputError(
            f"{folder / FILE} is not whole ({error}); remove it, and make goals with `homestretch reward goal`."
        ) from None
    if (key or {}).get("model") != weights_key(folder):
        raise InputError(
            f"{folder / FILE} belongs to another reward model than the one beside it; remove it, and make goals "
            "with `homestretch reward goal`."
        )
    return goals


def load_goal_model(folder: str | Path, **options: Any) -> GoalModel:
    """A saved reward model with its goals; `options` are those of `load_reward`.

    Raises InputError where the folder has no goals, or those of another model or size.
    """
    folder = Path(folder)
    reward = load_reward(folder, **options)
    goals = load_goals(folder)
    if not goals:
        raise InputError(
            f"{folder} has no {FILE}: train with `reward.contrast={{}}`, or make a goal from good responses with "
            "`homestretch reward goal`."
        )
    return GoalModel(reward, goals)


def weights_key(folder: Path) -> str:
    """A name for what the weights of a saved reward model are."""
    found = hashlib.blake2b(digest_size=16)
    for name in WEIGHTS:
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                found.update(hashlib.file_digest(file, "blake2b").digest())
    return found.hexdigest()
