"""Distillation on tiny models: by the definition, teacher = student, what is constant, averages, what is refused."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from reference import distillation as reference
from tables import value
from test_policies import PROMPTS, RESPONSES, batch_of
from tiny import VOCAB, build, llama
from torch import Tensor

from homestretch.algorithms.base import Models
from homestretch.algorithms.distill import Distill, ReadBatch, states, taught
from homestretch.algorithms.sft import SFT
from homestretch.batch import SequenceBatch
from homestretch.config.distill import DistillConfig
from homestretch.errors import InputError, RecipeError
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

KINDS = [{"divergence": kind} for kind in ("forward_kl", "reverse_kl", "jeffreys")]
KINDS += [{"divergence": "jsd", "beta": 0.3}, {"top_k": 4}]


def policy_of(name: str = "llama", *, seed: int = 0, temperature: float = 1.0) -> Policy:
    return Policy(Trunk(build(name, seed=seed)), None, budget=1000, temperature=temperature)


def distill(**settings: Any) -> Distill:
    vocabulary = settings.pop("vocabulary", VOCAB)
    return Distill(DistillConfig(teacher_name_or_path="teacher", **settings), vocabulary=vocabulary)


def logits_of(policy: Policy) -> list[list[list[float]]]:
    """The model's own logits at each place of each response, row by row."""
    lm, found = policy.trunk.lm, []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        if lm.config.is_encoder_decoder:
            decoder = torch.tensor([[lm.config.decoder_start_token_id, *response[:-1]]])
            logits = lm(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits[0]
        else:
            logits = lm(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.double().tolist())
    return found


@pytest.mark.parametrize("settings", KINDS, ids=str)
@pytest.mark.parametrize("name", ["llama", "t5", "gemma3"])
@torch.no_grad()
def test_equals_the_definition_token_by_token(name: str, settings: dict[str, Any]) -> None:
    """At another temperature, times its square; a teacher of the same kind with other weights."""
    student, teacher = policy_of(name, temperature=2.0), policy_of(name, seed=1, temperature=2.0)
    terms = distill(**settings, loss_temperature=2.0).loss(Models(policy=student, teacher=teacher), batch_of(junk=2))
    for b, places in enumerate(zip(logits_of(student), logits_of(teacher), strict=True)):
        for t, (own, other) in enumerate(zip(*places, strict=True)):
            q, p = reference.softmax(own, 2.0), reference.softmax(other, 2.0)
            if "top_k" in settings:
                expected = reference.top_k(p, q, 4)
            else:
                expected = reference.divergence(p, q, settings["divergence"], settings.get("beta", 0.5))
            assert float(terms.terms[b, t]) == pytest.approx(4 * expected, rel=2e-4, abs=1e-5)
            assert float(terms.diagnostics["divergence"][0][b, t]) == pytest.approx(expected, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("settings", KINDS, ids=str)
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(name: str, settings: dict[str, Any]) -> None:
    student, teacher = policy_of(name), policy_of(name)
    loss = value(distill(**settings).loss(Models(policy=student, teacher=teacher), batch_of()))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert max(float(p.grad.abs().max()) for p in student.trunk.parameters() if p.grad is not None) < 1e-5


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_no_gradient_reaches_the_teacher(settings: dict[str, Any]) -> None:
    student, teacher = policy_of(), policy_of(seed=1)
    assert all(p.requires_grad for p in teacher.trunk.parameters()), "nobody has frozen it"
    value(distill(**settings).loss(Models(policy=student, teacher=teacher), batch_of())).backward()
    assert all(p.grad is None for p in teacher.trunk.parameters())
    assert any(float(p.grad.abs().max()) > 1e-3 for p in student.trunk.parameters() if p.grad is not None)


def test_whole_texts_are_maximum_likelihood_and_ask_no_teacher() -> None:
    models, batch = Models(policy=policy_of()), batch_of()
    hard = distill(divergence="sequence")
    torch.testing.assert_close(value(hard.loss(models, batch)), value(SFT().loss(models, batch)))
    assert hard.needs == {"pairs"}
    assert list(hard.loss(models, batch).diagnostics) == ["nll"]


def test_means_over_tokens_and_over_texts() -> None:
    models, batch = Models(policy=policy_of(), teacher=policy_of(seed=1)), batch_of()
    with torch.no_grad():
        tokens = distill().loss(models, batch)
        texts = distill(reduction="sequence").loss(models, batch)
    terms_BT = torch.where(batch.mask_BT.bool(), tokens.terms, 0.0)
    assert float(value(tokens)) == pytest.approx(float(terms_BT.sum()) / 10)
    assert float(value(texts)) == pytest.approx(float(terms_BT.sum()) / 3)
    assert texts.average == "sequence" and texts.terms.shape == (3,)


def emptied(batch: SequenceBatch, row: int) -> SequenceBatch:
    mask_BT = batch.mask_BT.clone()
    mask_BT[row] = 0
    return replace(batch, mask_BT=mask_BT)


@pytest.mark.parametrize("settings", [{}, {"reduction": "sequence"}, {"top_k": 3}, {"divergence": "sequence"}], ids=str)
def test_a_text_without_a_token_adds_nothing(settings: dict[str, Any]) -> None:
    models, algorithm = Models(policy=policy_of(), teacher=policy_of(seed=1)), distill(**settings)
    terms = algorithm.loss(models, emptied(batch_of(), 1))
    value(terms).backward()
    alone = algorithm.loss(models, batch_of().select([0, 2]))
    share = 2 / 3 if settings.get("reduction") == "sequence" else 1.0
    assert value(terms).item() == pytest.approx(share * value(alone).item(), rel=1e-4)
    nothing = algorithm.loss(models, emptied(batch_of(), 1).select([1]))
    value(nothing).backward()
    assert value(nothing).item() == 0
    assert all(bool(torch.isfinite(p.grad).all()) for p in models.policy.trunk.parameters() if p.grad is not None)


def gradient(algorithm: Distill, models: Models, parts: list[SequenceBatch]) -> list[Tensor]:
    models.policy.trunk.zero_grad(set_to_none=True)
    for part in parts:
        terms = algorithm.loss(models, part)
        torch.where(terms.mask.bool(), terms.terms, 0.0).sum().backward()
    return [p.grad.clone() for p in models.policy.trunk.parameters()]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_parts_of_a_batch_sum_to_the_whole(settings: dict[str, Any]) -> None:
    models, batch, algorithm = Models(policy=policy_of(), teacher=policy_of(seed=1)), batch_of(), distill(**settings)
    whole = gradient(algorithm, models, [batch])
    parts = gradient(algorithm, models, [batch.select([1]), batch.select([0, 2])])
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_laws_that_are_known_give_the_same_loss_without_the_teacher() -> None:
    student, teacher, batch = policy_of(), policy_of(seed=1), batch_of()
    known = taught(teacher, batch, 5, VOCAB)
    algorithm = distill(top_k=5)
    with torch.no_grad():
        asked = algorithm.loss(Models(policy=student, teacher=teacher), batch).terms
        assert torch.equal(asked, algorithm.loss(Models(policy=student), known).terms)
        some = algorithm.loss(Models(policy=student), known.select([1])).terms
    torch.testing.assert_close(some, asked[1:2, :2], atol=1e-5, rtol=1e-4)
    assert known.select([1]).logp_teacher_BTK.shape == (1, 2, 5)


def test_models_of_one_tokenizer_may_be_padded_to_other_widths() -> None:
    """Logits behind the smaller vocabulary are left out of the larger one."""
    torch.manual_seed(3)
    wide = Policy(Trunk(llama(vocab=VOCAB + 2).eval()), None, budget=1000)
    narrow = Policy(Trunk(llama(vocab=VOCAB).eval()), None, budget=1000)
    state = {k: v[:VOCAB] if v.shape[:1] == (VOCAB + 2,) else v for k, v in wide.trunk.lm.state_dict().items()}
    narrow.trunk.lm.load_state_dict(state)
    for settings in ({}, {"top_k": 4}):
        for models in (Models(policy=wide, teacher=narrow), Models(policy=narrow, teacher=wide)):
            with torch.no_grad():
                loss = value(distill(**settings).loss(models, batch_of()))
            assert float(loss) == pytest.approx(0, abs=1e-6)


def without(policy: Policy, token: int) -> None:
    """The model can never say a token from here on."""
    bias = torch.zeros(1, VOCAB)
    bias[0, token] = -torch.inf
    policy.trunk.lm.final_logits_bias = bias


@pytest.mark.parametrize(
    ("settings", "who", "says"),
    [
        ({}, "student", "the student can never say `<31>` (id 31), to which the teacher gives a probability of "),
        ({"top_k": 60}, "student", "the student can never say `<31>` (id 31), to which the teacher gives"),
        ({"divergence": "reverse_kl"}, "teacher", "the teacher can never say `<31>` (id 31), to which the student"),
    ],
)
def test_an_infinite_divergence_names_its_token(settings: dict[str, Any], who: str, says: str) -> None:
    models = {"policy": policy_of(), "teacher": policy_of(seed=1)}
    without(models["policy" if who == "student" else "teacher"], 31)
    algorithm = distill(**settings)
    algorithm.name_of = lambda token: f"<{token}>"
    batch = replace(batch_of(), index_B=torch.tensor([4, 5, 6]))
    with pytest.raises(InputError) as error:
        algorithm.loss(Models(**models), batch)
    message = str(error.value)
    assert message.startswith("Token 1 of a text for training row 5: ") and says in message
    remedy = "distill.top_k=0 distill.divergence=jsd" if "top_k" in settings else "distill.divergence=jsd"
    assert message.endswith(f"set {remedy}, or take models whose logits are finite.")
    with torch.no_grad():
        other = {"forward_kl": "reverse_kl", "reverse_kl": "forward_kl"}[settings.get("divergence", "forward_kl")]
        for finite in ({"divergence": other}, {"divergence": "jsd"}):
            assert bool(torch.isfinite(value(distill(**finite).loss(Models(**models), batch))))
    if "top_k" in settings:
        known = taught(models["teacher"], batch, 60, VOCAB)
        with pytest.raises(InputError, match="the student can never say `<31>`"):
            algorithm.loss(Models(policy=models["policy"]), known)


def test_a_student_that_excludes_all_but_the_best_is_told() -> None:
    models = {"policy": policy_of(), "teacher": policy_of(seed=1)}
    batch = replace(batch_of(), index_B=torch.tensor([4, 5, 6]))
    known = taught(models["teacher"], batch, 1, VOCAB)
    bias = torch.full((1, VOCAB), -torch.inf)
    bias[0, known.teacher_BTK.unique()] = 0.0
    models["policy"].trunk.lm.final_logits_bias = bias
    only = replace(known, teacher_BTK=known.teacher_BTK.unique().expand(*batch.ids_BT.shape, -1))
    k = only.teacher_BTK.shape[-1]
    only = replace(only, logp_teacher_BTK=known.logp_teacher_BTK.expand(-1, -1, k) - math.log(k))
    rest = float(known.logp_others_BT[0, 0].exp())
    says = rf"^Token 1 of a text for training row 5: the student can never say any token but the teacher's {k} best, .*"
    with pytest.raises(InputError, match=says + re.escape(f"a probability of {rest:.3g}")):
        distill(top_k=k).loss(Models(policy=models["policy"]), only)


def test_states_that_are_kept_say_what_the_teacher_says() -> None:
    models, batch = Models(policy=policy_of(), teacher=policy_of(seed=1)), batch_of()
    assert models.teacher is not None
    kept = ReadBatch(**vars(batch), teacher_BTD=states(models.teacher, batch))
    for settings in ({}, {"divergence": "reverse_kl", "loss_temperature": 2.0}, {"divergence": "jsd", "beta": 0.3}):
        asked = distill(**settings).loss(models, batch)
        models.teacher.score = None  # type: ignore[method-assign] - it is not asked again
        assert torch.equal(distill(**settings).loss(models, kept).terms, asked.terms)
        del models.teacher.score


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"divergence": "jeffreys", "beta": 0.1}, "`beta` is read with jsd alone"),
        ({"divergence": "reverse_kl", "top_k": 8}, "`top_k` is read with forward_kl alone, since a student could"),
        ({"divergence": "sequence", "loss_temperature": 2.0}, "`loss_temperature` is read with forward_kl or"),
        ({"divergence": "sequence", "source": "online_student"}, "leave online_student out of `source`"),
        ({"divergence": "sequence", "source": "data"}, "asks no teacher; use the stage `sft`"),
        ({"source": "data", "num_generations": 2}, "`num_generations` has no effect here"),
        ({"keep_states": True, "source": "online_student"}, "`keep_states` has no effect here: texts are written anew"),
        ({"keep_states": True, "top_k": 8}, "`keep_states` has no effect here: top_k keeps the laws themselves"),
        ({"keep_states": True, "divergence": "sequence"}, "`keep_states` has no effect here: no states are compared"),
        ({"source": "data", "temperature": 0.7}, "`temperature` has no effect here"),
        ({"source": {"data": 0.5, "offline": 0.4}}, "the shares sum to 0.9; make them sum to 1"),
        ({"source": {"data": 1.5, "offline": -0.5}}, "less than or equal to 1"),
        ({"source": "online"}, "`source` = 'online' cannot be used"),
        ({"teacher_name_or_path": ""}, "at least 1 character"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as error:
        DistillConfig.parse({"teacher_name_or_path": "teacher", **settings}, where="here")
    assert sentence in str(error.value)


def test_a_source_may_be_a_name_or_shares() -> None:
    named = DistillConfig(teacher_name_or_path="teacher", source="online_student")
    assert named.source == {"online_student": 1.0} and named.samples_online
    assert not DistillConfig(teacher_name_or_path="teacher").samples_online
