"""Knowledge distillation: a student comes near to a teacher's next-token laws (Hinton et al. 2015, arXiv:1503.02531; on
the student's own texts: Agarwal et al., ICLR 2024, arXiv:2306.13649; what goes wrong on texts that repeat: Tiapkin et
al., ICML 2025, arXiv:2502.02671). Of whole texts: Kim and Rush, EMNLP 2016, arXiv:1606.07947.

    l_t = D(p_T(. | x, y_<t), p(. | x, y_<t))        D of `ops.distillation`, both laws at temperature tau  (1)
    l_t = -ln p(y_t | x, y_<t)                       `sequence`, y of the teacher                           (2)
    L   = (tau^2 / M) sum_b sum_t m_bt l_bt,         M = sum m                     `reduction=token`        (3)
    L   = (tau^2 / B) sum_b sum_t m_bt l_bt                                        `reduction=sequence`     (4)

Notation    p_T: teacher    p: student    y: a text of the teacher, of the student or of the data, end marker included
            m: 1 on its tokens, 0 on prompt, padding and whatever stands behind the end
Constants   p_T, and y: no gradient through sampling
Averaging   over the whole optimiser batch; a text without a token adds 0, and in eq. 4 counts as one of the B
Deviations  1. The paper gives no factor tau^2; its tau is 1. Hinton et al. have it.
            2. Logits behind the smaller of two vocabularies are left out: models of one tokenizer are padded to
               different widths, and no text has such a token.
            3. A step is taken on texts of its own, where other code reuses them a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Offline, Policy, Round
from homestretch.algorithms.sft import nll_loss
from homestretch.batch import LossTerms, SequenceBatch
from homestretch.config.distill import DistillConfig
from homestretch.errors import InputError
from homestretch.ops.distillation import divergence, log_law, others, top_k_forward_kl, top_k_law
from homestretch.ops.logprobs import OfLogits, in_chunks


@dataclass(frozen=True, kw_only=True)
class TaughtBatch(SequenceBatch):
    """Texts with what the teacher says of each token, all of it constant.

    `teacher_BTK`: its k most probable tokens; `logp_teacher_BTK`: their log-probabilities (<= 0, nats);
    `logp_others_BT`: that of all other tokens together.
    """

    teacher_BTK: Tensor
    logp_teacher_BTK: Tensor
    logp_others_BT: Tensor


@dataclass(frozen=True, kw_only=True)
class ReadBatch(SequenceBatch):
    """Texts that the teacher has read: its state before each token, constant, of which its head makes the laws."""

    teacher_BTD: Tensor


@dataclass(frozen=True)
class Excluded:
    """A token that one of two laws excludes and the other does not: row and place in its text (from 0), the token's id
    (None for all tokens but the teacher's k best, taken as one), who excludes it, and the probability that the other
    one gives it."""

    row: int
    place: int
    token: int | None
    by: str
    probability: float


class Distill(Offline):
    """Makes the student's next-token laws the teacher's.

    `vocabulary` is the number of tokens that both models have; `name_of` writes a token for a message.
    """

    def __init__(self, config: DistillConfig, *, vocabulary: int, name_of: Callable[[int], str] = str) -> None:
        self.config, self.vocabulary, self.name_of = config, vocabulary, name_of
        teacher = set() if config.divergence == "sequence" else {"teacher"}
        self.needs = frozenset({"pairs"} | teacher | ({"rollouts"} if config.samples_online else set()))

    def stream(self, models: Models, batches: Iterable[tuple[int, SequenceBatch]]) -> Iterator[Round]:
        """Each batch as a round of its own, with the texts that are written for it."""
        for number, batch in batches:
            if self.config.samples_online:
                assert models.sample is not None
                batch = models.sample(batch, number)
            yield Round(updates=[batch], stats=text_stats(batch))

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        """Eq. 3 or 4 on one batch."""
        hard = self.config.divergence == "sequence"
        terms_BT = self._nll(models, batch) if hard else self._divergence(models, batch)
        mask_BT = batch.mask_BT.to(terms_BT.device)
        diagnostics = {"nll" if hard else "divergence": (terms_BT.detach(), mask_BT)}
        loss_BT = self.config.loss_temperature**2 * terms_BT
        if self.config.reduction == "token":
            return LossTerms(terms=loss_BT, mask=mask_BT, diagnostics=diagnostics)
        terms_B = torch.where(mask_BT.bool(), loss_BT, 0.0).sum(1)
        return LossTerms(terms=terms_B, mask=torch.ones_like(terms_B), average="sequence", diagnostics=diagnostics)

    def _nll(self, models: Models, batch: SequenceBatch) -> Tensor:
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
        assert logp_BT is not None
        return nll_loss(logp_BT, batch.mask_BT.to(logp_BT.device))  # eq. 2

    def _divergence(self, models: Models, batch: SequenceBatch) -> Tensor:
        """Eq. 1 (B, T), 0 where the mask is 0. Raises InputError where it is infinite."""
        terms_BT = models.policy.score(batch, want=(), of_logits=self._compared(models.teacher, batch)).term_BT
        assert terms_BT is not None
        if bool((terms_BT == torch.inf).any()):
            found = excluded(models, batch, terms_BT, vocabulary=self.vocabulary)
            if found is not None:  # else numbers have grown too large, which the loop knows what to do about
                raise InputError(self._sentence(found, batch))
        return terms_BT

    def _compared(self, teacher: Policy | None, batch: SequenceBatch) -> OfLogits:
        """What becomes of the student's logits; a teacher that has been asked before need not be there."""
        width = self.vocabulary
        if self.config.top_k and not isinstance(batch, TaughtBatch):
            assert teacher is not None
            batch = taught(teacher, batch, self.config.top_k, width)
        if isinstance(batch, TaughtBatch):
            columns = batch.teacher_BTK, batch.logp_teacher_BTK, batch.logp_others_BT
            return OfLogits(lambda logits_nV, *law_n: top_k_forward_kl(logits_nV[:, :width], *law_n), columns)
        assert teacher is not None
        kind, beta = self.config.divergence, self.config.beta
        assert kind != "sequence"

        def term(logits_nV: Tensor, hidden_nD: Tensor) -> Tensor:
            with torch.no_grad():
                logp_nV = log_law(teacher.head(hidden_nD)[:, :width])
            return divergence(logp_nV, log_law(logits_nV[:, :width]), kind=kind, beta=beta)

        return OfLogits(term, (batch.teacher_BTD if isinstance(batch, ReadBatch) else states(teacher, batch),))

    def _sentence(self, found: Excluded, batch: SequenceBatch) -> str:
        where = "" if batch.index_B is None else f" for training row {int(batch.index_B[found.row]) + 1}"
        other = "teacher" if found.by == "student" else "student"
        what = f"any token but the teacher's {self.config.top_k} best"
        if found.token is not None:
            what = f"`{self.name_of(found.token)}` (id {found.token})"
        remedy = "distill.top_k=0 distill.divergence=jsd" if self.config.top_k else "distill.divergence=jsd"
        return (
            f"Token {found.place + 1} of a text{where}: the {found.by} can never say {what}, to which the {other} "
            f"gives a probability of {found.probability:.3g}, so that the divergence is infinite; set {remedy}, or "
            "take models whose logits are finite."
        )


@torch.no_grad()
def states(policy: Policy, batch: SequenceBatch) -> Tensor:
    """The state before each token of the texts (B, T, D), without gradient."""
    hidden_BSD = policy.score(batch, want={"hidden"}).hidden_BSD
    assert hidden_BSD is not None
    return hidden_BSD[:, :-1]


@torch.no_grad()
def taught(teacher: Policy, batch: SequenceBatch, k: int, vocabulary: int) -> TaughtBatch:
    """The batch with the teacher's k most probable tokens at each place."""
    hidden_BTD = states(teacher, batch)
    where = batch.mask_BT.bool().to(hidden_BTD.device)
    parts = in_chunks(
        lambda hidden_nD: top_k_law(teacher.head(hidden_nD)[:, :vocabulary], k=k),
        hidden_BTD[where],
        chunk_rows=teacher.chunk_rows,
    )

    def spread(part: int) -> Tensor:
        law_N = torch.cat([law[part] for law in parts])
        law_BT = law_N.new_zeros(*where.shape, *law_N.shape[1:])
        law_BT[where] = law_N
        return law_BT

    law = {"teacher_BTK": spread(0), "logp_teacher_BTK": spread(1), "logp_others_BT": spread(2)}
    return TaughtBatch(**vars(batch), **law)


@torch.no_grad()
def excluded(models: Models, batch: SequenceBatch, terms_BT: Tensor, *, vocabulary: int) -> Excluded | None:
    """The likeliest token that makes the first infinite divergence so; None where none does."""
    row, place = (terms_BT == torch.inf).nonzero()[0].tolist()
    alone = batch.rows(torch.tensor([row]))

    def law_V(policy: Policy) -> Tensor:
        return log_law(policy.head(states(policy, alone)[:, place])[:, :vocabulary])[0]

    student_V, rest = law_V(models.policy), None
    if isinstance(alone, TaughtBatch):  # eq. 5 of `ops.distillation`, which the student alone can make infinite
        ids_K, logp_K = alone.teacher_BTK[0, place], alone.logp_teacher_BTK[0, place]
        nothing_V = torch.full_like(student_V, -torch.inf)
        known_V = nothing_V.scatter(0, ids_K.to(student_V.device), logp_K.to(student_V.device))
        sides = [("student", student_V, known_V)]
        if float(others(student_V, ids_K.to(student_V.device))) == -torch.inf:
            rest = Excluded(row, place, None, "student", float(alone.logp_others_BT[0, place].exp()))
    else:
        assert models.teacher is not None
        teacher_V = law_V(models.teacher)
        sides = [("student", student_V, teacher_V), ("teacher", teacher_V, student_V)]
    for by, logp_V, other_V in sides:
        found = ((logp_V == -torch.inf) & (other_V > -torch.inf)).nonzero().flatten()
        if len(found):
            token = int(found[other_V[found].argmax()])
            return Excluded(row, place, token, by, float(other_V[token].exp()))
    return rest


def text_stats(batch: SequenceBatch) -> dict[str, float]:
    """Length of the texts of a step, and the share that does not end by itself."""
    stats = {"completions/mean_length": float(batch.length_B.float().mean())}
    if batch.terminated_B is not None:
        stats["completions/clipped_ratio"] = float((~batch.terminated_B).float().mean())
    return stats
