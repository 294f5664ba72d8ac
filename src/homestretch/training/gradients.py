"""The gradient of one optimiser batch: dealt out to the processes, cut to fit their memory, summed over all.

No wrapper such as DistributedDataParallel: it averages over processes where the denominator is that of the whole batch,
sums in every backward pass where one sum a step is enough, and wants as many passes from every process, which can then
not cut their rows as their own memory demands. Between the sums a process waits for no other.

Sharded weights (`policies.sharding`) cannot have that: every pass gathers them from all processes and sums their
gradients, so a process with fewer passes makes others that count nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.distributed.tensor import DTensor

from homestretch import ranks
from homestretch.batch import Batch, LossTerms
from homestretch.collectives import gathered, in_step, sum_in_place
from homestretch.ops.reduce import aggregate, denominator
from homestretch.policies.memory import within_memory
from homestretch.seeds import fold
from homestretch.training.optim import Parameters


@dataclass
class Totals:
    """Sums over rows of an optimiser batch.

    `loss` and `count` are numerator and denominator of the loss, `diagnostics` those of what is logged with it;
    `trained` names the parameters that got a gradient; `budget` is the size of a pass that the memory allowed.
    """

    budget: int
    loss: float = 0.0
    count: int = 0
    diagnostics: dict[str, tuple[float, float]] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()

    def means(self) -> dict[str, float]:
        """The loss and its diagnostics."""
        made = {key: total / n if n else 0.0 for key, (total, n) in self.diagnostics.items()}
        return {"loss": self.loss / max(self.count, 1)} | made

    def add(self, terms: LossTerms, loss: float) -> None:
        """One more micro-batch."""
        self.loss += loss
        self.count += int(denominator(terms.mask, terms.average))
        for key, (values, mask) in terms.diagnostics.items():
            total = float(aggregate(values, mask, average=terms.average, denominator=1.0))
            self._add(key, total, float(denominator(mask, terms.average)))

    def join(self, other: Totals) -> None:
        """The rows of another process."""
        self.loss += other.loss
        self.count += other.count
        self.budget = min(self.budget, other.budget)
        self.trained |= other.trained
        for key, (total, n) in other.diagnostics.items():
            self._add(key, total, n)

    def _add(self, key: str, total: float, n: float) -> None:
        before = self.diagnostics.get(key, (0.0, 0.0))
        self.diagnostics[key] = (before[0] + total, before[1] + n)


def gradients(
    batch: Batch, terms_of: Callable[[Batch], LossTerms], parameters: Parameters, *, budget: int, seed: int
) -> Totals:
    """Put the gradient of the batch's mean loss into the parameters, the same in every process, and give the sums.

    Parameters that got none anywhere keep None. `budget` is the number of tokens of a pass, as far as the memory goes;
    `seed` is that of randomness in the loss, which is then a stream of its own in each process. The loss gets its rows
    on the parameters' device.
    """

    def of_my_rows(budget: int) -> Totals:
        for parameter in parameters.values():
            parameter.grad = None
        torch.manual_seed(fold("update", seed, ranks.rank()))
        return _sums(batch, batch.shares(ranks.count())[ranks.rank()], terms_of, parameters, budget)

    first, *others = gathered(within_memory(of_my_rows, budget))
    for other in others:
        first.join(other)
    trained = [parameters[name] for name in sorted(first.trained)]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    sum_in_place([p.grad for p in trained if p.grad is not None and not isinstance(p.grad, DTensor)])
    for parameter in trained:
        if parameter.grad is not None:
            parameter.grad.div_(max(first.count, 1))
    torch.manual_seed(fold("update", seed))  # from here on all draw the same numbers again
    return first


def _sums(
    batch: Batch, rows: list[int], terms_of: Callable[[Batch], LossTerms], parameters: Parameters, budget: int
) -> Totals:
    totals, device = Totals(budget), next(iter(parameters.values())).device
    parts = [[rows[i] for i in part] for part in (batch.select(rows).parts(budget) if rows else ())]
    with ranks.alone():
        for part, is_mine in in_step(parts, [0]):
            terms = terms_of(batch.select(part).to(device))
            loss = aggregate(terms.terms, terms.mask, average=terms.average, denominator=1.0)
            (loss if is_mine else 0.0 * loss).backward()
            if is_mine:
                totals.add(terms, float(loss.detach()))
    totals.trained = frozenset(name for name, p in parameters.items() if p.grad is not None)
    return totals
