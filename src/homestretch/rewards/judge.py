"""A language model as a judge: one quality of a text beside its document, asked for at an endpoint.

    reward = (1/K) sum_k score_k / 5,      K: samples, score_k in [0, 5]           (v = f/5 of sheet 2.2)

(Nath et al. 2024, arXiv:2402.15473.) Every answer is kept in the user's cache as soon as it is there, by endpoint,
model, temperature, and the content of prompt, document, text and sample number: a run that ends early, for want of
credit or of a network, goes on where it was, and no answer is paid for twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import cached_property
from statistics import fmean
from typing import Any

from homestretch.config.extractors import JudgeConfig
from homestretch.errors import DataError, InputError
from homestretch.metrics.sentences import words
from homestretch.progress import progress, say
from homestretch.rewards.cache import content_key, remember, remembered
from homestretch.rewards.endpoint import Endpoint, EndpointDown, Refused
from homestretch.rewards.judge_cost import Estimate, estimate
from homestretch.rewards.judge_prompts import BEST, Unusable, instructions, messages, score_of

GIVE_UP = 8
"""Texts without an answer, and none with one now or before, after which the judge is not asked further."""
NAMED = 3

Pairs = Sequence[tuple[str, str]]
"""Documents, each with the text that is judged beside it."""


class Judge:
    """Grades texts beside their `document`, 0 to 1, better being more. It follows the `Reward` protocol.

    A text without a word has 0, and nobody is asked. Raises EndpointDown where the endpoint cannot go on, DataError
    that names the rows whose request was refused or for which no answer could be used, after all others were asked
    for, and InputError before the estimate would go beyond `max_cost`; what has been answered is kept in each case.
    """

    def __init__(self, name: str, config: JudgeConfig) -> None:
        self.name, self.config = name, config
        self.spent = 0.0
        self._said = False

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[str],
        document: Sequence[str],
        where: Sequence[str] = (),
        **_: Any,
    ) -> list[float]:
        """The mean grade of each completion over its samples."""
        pairs = list(zip(document, completions, strict=True))
        keys = [self._keys(pair) for pair in pairs]
        known = self._known(keys)
        missing = self._missing(keys, known)
        if missing:
            self._allow(self._estimate(pairs, missing, len(known)))
            places = list(where) or [f"completion {i}" for i in range(len(pairs))]
            known |= self._asked(missing, pairs, places, len(known))
        return [fmean(known[key] for key in some) / BEST if some else 0.0 for some in keys]

    def estimate(self, documents: Sequence[str], texts: Sequence[str]) -> Estimate:
        """What grading the texts would take now, nothing being asked."""
        pairs = list(zip(documents, texts, strict=True))
        keys = [self._keys(pair) for pair in pairs]
        known = self._known(keys)
        return self._estimate(pairs, self._missing(keys, known), len(known))

    @cached_property
    def _scorer(self) -> str:
        c = self.config
        return content_key("judge", c.base_url.rstrip("/"), c.model, c.temperature, instructions(c))

    def _keys(self, pair: tuple[str, str]) -> list[str]:
        return [content_key(*pair, sample) for sample in range(self.config.samples)] if words(pair[1]) else []

    def _known(self, keys: Sequence[list[str]]) -> dict[str, float]:
        found = remembered(self._scorer, [key for some in keys for key in some])
        return {key: score for key, score in found.items() if score is not None}

    def _missing(self, keys: Sequence[list[str]], known: Mapping[str, float]) -> dict[str, int]:
        """Each answer that is to be asked for, with the first row that wants it."""
        rows: dict[str, int] = {}
        for row, some in enumerate(keys):
            for key in some:
                if key not in known:
                    rows.setdefault(key, row)
        return rows

    def _estimate(self, pairs: Pairs, missing: Mapping[str, int], known: int) -> Estimate:
        return estimate(self.config, (pairs[row] for row in missing.values()), known=known)

    def _allow(self, expected: Estimate) -> None:
        cost, most = expected.cost or 0.0, self.config.max_cost
        if most is not None and self.spent + cost > most:
            raise InputError(
                f"The judge `{self.name}` would cost about {self.spent + cost:.2f} by its estimate, and `max_cost` "
                f"is {most:g}; raise it, or give fewer texts or samples."
            )
        self.spent += cost
        if not self._said:
            say(f"judge `{self.name}` ({self.config.model}): {expected}")
            self._said = True

    def _asked(self, missing: Mapping[str, int], pairs: Pairs, places: Sequence[str], known: int) -> dict[str, float]:
        endpoint = Endpoint(self.name, self.config)
        new: dict[str, float] = {}
        failed: dict[int, Unusable | Refused] = {}
        down: EndpointDown | None = None

        def ask(row: int) -> float:
            return endpoint.ask(messages(self.config, *pairs[row]), score_of)

        with progress(len(missing), f"judge `{self.name}`", "answer") as bar:
            pool = ThreadPoolExecutor(self.config.concurrency)
            futures = {pool.submit(ask, row): key for key, row in missing.items()}
            try:
                for future in as_completed(futures):
                    key = futures[future]
                    try:
                        new[key] = future.result()
                    except (Unusable, Refused) as error:
                        failed[missing[key]] = error
                        if len(failed) >= GIVE_UP and not (new or known):
                            break
                    except EndpointDown as error:
                        down = error
                        break
                    else:
                        remember(self._scorer, {key: new[key]})
                        bar.advance()
            finally:
                endpoint.stop.set()
                pool.shutdown(cancel_futures=True)
                late = {key: f.result() for f, key in futures.items() if key not in new and _has_answer(f)}
                if late:
                    remember(self._scorer, late)
        if down is not None:
            raise EndpointDown(
                f"{down}; {len(new) + len(late)} of {len(missing)} answers were given and are kept, and the same "
                "command asks for the others."
            )
        if failed:
            raise self._without_answer(failed, places, kept=bool(known or new or late))
        return new

    def _without_answer(
        self, failed: Mapping[int, Unusable | Refused], places: Sequence[str], *, kept: bool
    ) -> DataError:
        first, *others = sorted(failed)
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        too = f", and none for {', '.join(places[row] for row in others[:NAMED])}{more}" if others else ""
        remedy = "ask again for these, or name another model or response_format"
        if isinstance(failed[first], Refused):
            remedy = "shorten these rows or leave them out, or name another model"
        if not kept:
            remedy = "check `model`, `base_url` and `response_format`, and how long the rows are"
        state = "the other answers are kept" if kept else "nothing else was answered"
        return DataError(
            f"{places[first]}: the judge `{self.name}` gave no answer that can be used ({failed[first]}){too}; "
            f"{state}: {remedy}."
        )


def _has_answer(future: Future[float]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
