"""What an algorithm is given, and what it gives to the loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from homestretch.batch import Batch, LossTerms, Scored, SequenceBatch
from homestretch.ops.logprobs import OfLogits


class Policy(Protocol):
    """A language model that can be scored (see `homestretch.policies.Policy`)."""

    def score(
        self,
        batch: SequenceBatch,
        *,
        want: Collection[str],
        inputs_embeds: Tensor | None = None,
        candidate_BTK: Tensor | None = None,
        of_logits: OfLogits | None = None,
        heads_only: bool = False,
    ) -> Scored: ...

    def inputs(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]: ...

    def embed(self, ids: Tensor) -> Tensor: ...

    def head(self, hidden_ND: Tensor) -> Tensor: ...

    @property
    def chunk_rows(self) -> int: ...


@dataclass(frozen=True)
class Models:
    """Everything an algorithm may ask of the outside; None where the stage has none.

    `sample(prompts, round)` draws responses, from the policy or from whatever the stage learns from; rows are those of
    `prompts`. `reward(responses)` gives the shaped terminal reward (B,) and named parts of it for the log.
    `potential(responses)` gives Phi of their states (B, T + 1), for rewards of single tokens. `candidates(rollout, k)`
    gives the k most probable tokens of each step with the sampled one among them, their log-probabilities under the
    policy, and the values of the states they lead to, each (B, T, K); `end_ids` are the tokens that end a text. `value`
    is a value function on states of its own; without one, V is a head on the policy's. `teacher` is a frozen model
    whose next-token laws the policy is to come near to.
    """

    policy: Policy
    reference: Policy | None = None
    value: Policy | None = None
    teacher: Policy | None = None
    sample: Callable[[SequenceBatch, int], SequenceBatch] | None = None
    reward: Callable[[SequenceBatch], tuple[Tensor, dict[str, Tensor]]] | None = None
    potential: Callable[[SequenceBatch], Tensor] | None = None
    candidates: Callable[[SequenceBatch, int], tuple[Tensor, Tensor, Tensor]] | None = None
    end_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Round:
    """Optimiser batches that belong together, and numbers to log about them."""

    updates: Iterable[Batch]
    stats: dict[str, float] = field(default_factory=dict)


class Algorithm(Protocol):
    """A training method.

    `needs` names what must be there before any weight is loaded: pairs, references, rewards, reference, rollouts,
    value, teacher. `stream` turns the loop's batches, each with the number of its round, into rounds of updates;
    offline methods are `Offline`. `expect` is told before each round how many there will be in all, as far as the loop
    knows by then. `state` and `load_state` carry what else changes from round to round beside weights.
    """

    needs: frozenset[str]

    def stream(self, models: Models, batches: Iterable[tuple[int, Any]]) -> Iterator[Round]: ...

    def loss(self, models: Models, batch: Any) -> LossTerms: ...

    def expect(self, rounds: float) -> None: ...

    def state(self) -> dict[str, float]: ...

    def load_state(self, state: dict[str, float]) -> None: ...


class Offline:
    """The stream of a method that learns from stored data: each batch is one update."""

    def stream(self, models: Models, batches: Iterable[tuple[int, Any]]) -> Iterator[Round]:
        """Each batch as a round of its own."""
        for _, batch in batches:
            yield Round(updates=[batch])

    def expect(self, rounds: float) -> None:
        """Nothing hangs on it."""

    def state(self) -> dict[str, float]:
        """Nothing changes beside the weights."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Nothing to restore."""
