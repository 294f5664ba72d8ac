"""Intuitive fine-tuning: maximum likelihood whose inputs are mixed with the model's own predictions and whose token
losses are coupled over time (Hua et al., ACL 2025, arXiv:2405.11870, and their code).

    e'_t = (1 - lam) E[y_t] + lam E[z_t],      z_t = argmax_v p(v | x, y_<t)                             (1)
    l_t  = -ln p(y_t | x, e'_<t)                                                                         (2)
    authors   C_t = l_t + gamma C_t+1,    w_t = N C_t / sum_s C_s (1 at gamma 0),
              L = (1/N) sum_t w_t l_t                                                                    (3)
    eq21      w_t = sum_{i<t} gamma^i,    L = sum_t w_t l_t        (the paper's equation 21 with decay)  (4)
    alg1      w_t = sum_{i>=t} gamma^(N-t) l_i,   L = sum_t w_t l_t              (its algorithm 1)       (5)

Notation    E: input embeddings    lam: share of the prediction, from one teacher-forced pass without gradient
            gamma: decay over time    N: response tokens, end marker included    t = 1..N: their places
Constants   z; E where `embedding` is frozen. The weights are live: the past counts for the gradient too, and that of
            an easy late token can be negative. `detach_weights` makes them constant
Averaging   eq. 3: mean over sequences of their means, never over tokens; eq. 4 and 5: mean over sequences of their sums
Deviations  1. The paper prints eq. 4 and 5, the authors' code computes eq. 3; ours follows the code. There gamma = 0
               switches the coupling off, and with lam = 0 leaves maximum likelihood; the limit of eq. 3 would be
               w_t = N l_t / sum_s l_s.
            2. All losses of a sequence zero: w = 1, where theirs is 0 / 0.
            3. AdamW and full-precision weights, as for every stage here; theirs is RMSprop with weights in bfloat16.
            4. A rising lam follows a share of the steps; theirs is tied to 150 steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Offline, Round
from homestretch.algorithms.sft import nll_loss
from homestretch.batch import LossTerms, SequenceBatch
from homestretch.config.ift import IFTConfig

Formula = Literal["authors", "eq21", "alg1"]
NOISE = 0.5
"""Standard deviation of a noisy lam, as a share of it."""
ROUNDING = 1e-6
"""What a whole number of steps may lack where it was computed."""


def ift_inputs(embed_BLD: Tensor, greedy_BLD: Tensor, mask_BL: Tensor, *, lam: float) -> Tensor:
    """e' of eq. 1 (B, L, D): the inputs' embeddings, on response tokens mixed with those of predictions.

    embed_BLD    (B, L, D) embeddings of what the decoder reads
    greedy_BLD   (B, L, D) embeddings of the same with each response token replaced by the model's prediction of it
    mask_BL      (B, L) 1 on response tokens; prompts and padding are never mixed
    lam          share of the prediction in [0, 1]
    """
    # `lerp` gives either end exactly, and an embedding mixed with itself unchanged
    return torch.where(mask_BL.bool()[..., None], torch.lerp(embed_BLD, greedy_BLD, lam), embed_BLD)


def discounted_future(nll_BT: Tensor, *, gamma: float) -> Tensor:
    """C of eq. 3 (B, T): each token's loss and the later ones, decayed. A place without loss is 0 and still decays."""
    following_B, columns = torch.zeros_like(nll_BT[:, 0]), []
    for loss_B in reversed(nll_BT.unbind(1)):
        following_B = loss_B + gamma * following_B
        columns.append(following_B)
    return torch.stack(columns[::-1], 1)


def ift_weights(logp_BT: Tensor, mask_BT: Tensor, *, gamma: float, formula: Formula) -> Tensor:
    """w of eq. 3, 4 or 5 for each token (B, T), with gradient; 0 where the mask is 0.

    logp_BT   (B, T) log-probabilities of the response tokens on mixed inputs, nats, <= 0
    mask_BT   (B, T) 1 on response tokens
    gamma     decay in [0, 1]; at 0 the weights of `authors` are 1
    formula   `authors` gives weights of mean 1; the others are not normalised
    """
    valid_BT, nll_BT = mask_BT.bool(), nll_loss(logp_BT, mask_BT)
    nll_BT = nll_BT.to(torch.promote_types(nll_BT.dtype, torch.float32))  # sums over time
    count_B1 = valid_BT.sum(1, keepdim=True)
    place_BT = valid_BT.long().cumsum(1)  # t, from 1
    if formula == "eq21":
        weight_BT = gamma_sums(place_BT, gamma=gamma).to(nll_BT.dtype)
    elif formula == "alg1":
        weight_BT = gamma ** (count_B1 - place_BT).to(nll_BT.dtype) * discounted_future(nll_BT, gamma=1.0)
    elif gamma == 0:
        weight_BT = torch.ones_like(nll_BT)
    else:
        future_BT = torch.where(valid_BT, discounted_future(nll_BT, gamma=gamma), 0.0)
        total_B1 = future_BT.sum(1, keepdim=True)
        empty_B1 = total_B1 == 0
        weight_BT = count_B1 * future_BT / torch.where(empty_B1, 1.0, total_B1)
        weight_BT = torch.where(empty_B1, 1.0, weight_BT)
    return torch.where(valid_BT, weight_BT, 0.0)


def gamma_sums(place: Tensor, *, gamma: float) -> Tensor:
    """1 + gamma + ... + gamma^(t - 1) for places t, of any shape; that is t itself at gamma 1."""
    return place.double() if gamma == 1 else (1 - gamma ** place.double()) / (1 - gamma)


def ift_loss(logp_BT: Tensor, weight_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Terms of eq. 3, 4 or 5 for each token (B, T), 0 where the mask is 0; their mean over a sequence is L of eq. 3,
    their sum L of eq. 4 and 5.

    logp_BT     (B, T) log-probabilities of the response tokens on mixed inputs, nats, <= 0
    weight_BT   (B, T) w, live or a constant
    mask_BT     (B, T) 1 on response tokens
    """
    return -torch.where(mask_BT.bool(), weight_BT * logp_BT, 0.0)


def rising_lam(number: int, *, start: float, end: float, steps: int) -> float:
    """lam in round `number`, counted from 0: a straight line from `start` to `end` over `steps` rounds, then `end`."""
    return end if number >= steps else start + (end - start) * number / steps


def noisy_lam(lam: float, noise: float) -> float:
    """lam times 1 + NOISE times a standard normal number, within [0, 1]."""
    return min(max(lam * (1 + NOISE * noise), 0.0), 1.0)


class IFT(Offline):
    """Maximum likelihood in two passes: predictions first, then the loss on inputs mixed with them."""

    needs = frozenset({"pairs"})

    def __init__(self, config: IFTConfig) -> None:
        self.config, self.rounds, self.lam = config, 0.0, config.lam

    def expect(self, rounds: float) -> None:
        """A rising lam may take a share of all rounds."""
        self.rounds = rounds

    def stream(self, models: Models, batches: Iterable[tuple[int, SequenceBatch]]) -> Iterator[Round]:
        """Each batch as a round of its own, with its lam; the loop has seeded the round."""
        for number, batch in batches:
            self.lam = self._lam(number)
            yield Round(updates=[batch], stats={"lam": self.lam})

    def _lam(self, number: int) -> float:
        config = self.config
        if config.lam_schedule == "noisy":
            return noisy_lam(config.lam, float(torch.randn(())))
        if config.lam_schedule == "constant":
            return config.lam
        steps = config.lam_warmup_steps
        steps = steps if steps >= 1 else steps * self.rounds
        return rising_lam(number, start=config.lam_start, end=config.lam, steps=int(steps + ROUNDING))

    def loss(self, models: Models, batch: SequenceBatch) -> LossTerms:
        """Eq. 2 to 5 on one batch."""
        config, mask_BT = self.config, batch.mask_BT
        inputs_BLD, diagnostics = self._inputs(models, batch)
        logp_BT = models.policy.score(batch, want={"logp"}, inputs_embeds=inputs_BLD).logp_BT
        assert logp_BT is not None
        weight_BT = ift_weights(logp_BT, mask_BT, gamma=config.gamma, formula=config.formula)
        terms_BT = ift_loss(logp_BT, weight_BT.detach() if config.detach_weights else weight_BT, mask_BT)
        diagnostics |= {"nll": (nll_loss(logp_BT.detach(), mask_BT), mask_BT)}
        if config.formula == "authors":
            return LossTerms(terms=terms_BT, mask=mask_BT, average="sequence", diagnostics=diagnostics)
        terms_B = terms_BT.sum(1)
        return LossTerms(terms=terms_B, mask=torch.ones_like(terms_B), average="sequence", diagnostics=diagnostics)

    def _inputs(self, models: Models, batch: SequenceBatch) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Eq. 1, and how often the prediction is the token itself. Without mixing there is no first pass."""
        policy, diagnostics = models.policy, {}
        ids_BL, mask_BL = policy.inputs(batch)
        embed_BLD = policy.embed(ids_BL)
        if self.lam > 0:
            with torch.no_grad():
                greedy_BT = policy.score(batch, want={"greedy"}).greedy_BT
            assert greedy_BT is not None
            same_BT = (greedy_BT == batch.ids_BT.to(greedy_BT.device)).float()
            diagnostics = {"token_accuracy": (same_BT, batch.mask_BT)}
            greedy_BL, _ = policy.inputs(replace(batch, ids_BT=greedy_BT))
            embed_BLD = ift_inputs(embed_BLD, policy.embed(greedy_BL), mask_BL, lam=self.lam)
        return embed_BLD.detach() if self.config.embedding == "frozen" else embed_BLD, diagnostics
