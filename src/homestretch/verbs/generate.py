"""Generate for every prompt of a data set: rows as in `generations.jsonl`, ready for `evaluate` and `audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from homestretch.config.decoding import DecodingConfig
from homestretch.data.records import Example, cued, prompt_text
from homestretch.data.sources import Split, examples_of, with_own_ids
from homestretch.writing import check_writable, write_rows

if TYPE_CHECKING:
    from homestretch.generation.schedule import Sample
    from homestretch.policies.policy import Policy


def generate(
    model: str | Path,
    data: str | Path,
    out: str | Path | None = None,
    *,
    split: Split = "test",
    max_examples: int | None = None,
    prompt_suffix: str = "",
    max_prompt_length: int = 512,
    seed: int = 0,
    arm: str = "ml_raw",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    max_rows: int | None = None,
    max_cache_tokens: int | None = None,
    **decoding: Any,
) -> list[dict[str, Any]]:
    """Outputs of `model` for the prompts of `data`: greedy, sampled (`temperature`) or by beam search (`num_beams`).

    `decoding` takes the settings of `config.decoding.DecodingConfig`: temperature, top_k, top_p, min_p,
    repetition_penalty, num_beams, length_penalty, early_stopping, stop, max_new_tokens, num_samples, and those of
    goals: goal_model, give_up_below, give_up_goal, patience, steer. Rows then say whether they were `given_up`.
    All rows of a file are taken; of anything else the given split. `prompt_suffix` is what stood behind the prompts in
    training (`dataset.prompt_suffix`). Prompts longer than `max_prompt_length` tokens lose their middle, and it is
    said how many do. A row without an answer is fine. At most `max_rows` rows are decoded at a time, whose caches hold
    at most `max_cache_tokens` tokens. Writes JSONL to `out` where that is given. Raises InputError.
    """
    config: DecodingConfig = DecodingConfig.parse(decoding, where="generate")
    if out is not None:
        check_writable(out)
    from homestretch.data.prompts import end_marker
    from homestretch.generation.schedule import counted
    from homestretch.policies.load import choose_device, load_tokenizer, load_trunk
    from homestretch.policies.policy import Policy
    from homestretch.policies.precision import autocast
    from homestretch.progress import progress

    examples = [cued(e, prompt_suffix) for e in with_own_ids(examples_of(data, split))[:max_examples]]
    tokenizer = load_tokenizer(str(model))
    end_marker(tokenizer)
    trunk = load_trunk(str(model), device=choose_device(device))
    prompts = _prompts(examples, tokenizer, trunk.is_encoder_decoder, max_prompt_length)
    with progress(len(prompts) * config.num_samples, "generate", "sample") as bar:
        made = _decoded(
            Policy(trunk, None, budget=4096, autocast=autocast(trunk.device)),
            tokenizer,
            prompts,
            config,
            seed=seed,
            max_rows=max_rows,
            max_cache_tokens=max_cache_tokens,
            on_done=counted(bar.advance),
        )
    rows = []
    for example, samples in zip(examples, made, strict=True):
        for sample, text in samples:
            row = _row(example, arm, text, sample.terminated, len(sample.ids))
            rows.append(row if config.give_up_below is None else row | {"given_up": sample.given_up})
    if out is not None:
        write_rows(out, rows)
    return rows


def _decoded(
    policy: Policy, tokenizer: Any, prompts: list[list[int]], config: DecodingConfig, *, seed: int, **options: Any
) -> list[list[tuple[Sample, str]]]:
    """The responses to each prompt, with their texts."""
    from homestretch.generation.beam import BeamConfig, beam_search
    from homestretch.generation.engine import generate
    from homestretch.generation.sampling import SamplingConfig
    from homestretch.generation.stopping import StopStrings
    from homestretch.policies.load import end_ids
    from homestretch.verbs.goal import goal_readers

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    options |= {"eos_ids": end_ids(policy.trunk.lm, tokenizer), "num_samples": config.num_samples}
    stop = StopStrings(config.stop, decode) if config.stop else None
    if config.num_beams > 1:
        beam = BeamConfig(**config.model_dump(include=set(BeamConfig.model_fields)))
        made = beam_search(policy, prompts, beam=beam, **options)
    else:
        sampling = SamplingConfig(**config.model_dump(include=set(SamplingConfig.model_fields)))
        goals = goal_readers(config, tokenizer, policy.device)
        made = generate(policy, prompts, sampling=sampling, seed=seed, stop=stop, **goals, **options)
    cut = stop.cut if stop else str
    return [[(sample, cut(decode(sample.ids)).strip()) for sample in group] for group in made]


def _prompts(examples: list[Example], tokenizer: Any, is_encoder_decoder: bool, longest: int) -> list[list[int]]:
    from homestretch.data.prompts import prompt_ids
    from homestretch.progress import say

    whole = [prompt_ids(e.prompt, tokenizer, is_encoder_decoder=is_encoder_decoder, where=e.where) for e in examples]
    if cut := sum(len(ids) > longest for ids in whole):
        say(
            f"{cut:,} of {len(whole):,} prompts are longer than {longest:,} tokens and lose their middle; raise "
            "--max-prompt-length to keep it."
        )
    head = longest // 2  # instructions stand at either end
    return [ids if len(ids) <= longest else [*ids[:head], *ids[len(ids) - (longest - head) :]] for ids in whole]


def _row(example: Example, arm: str, text: str, terminated: bool, tokens: int) -> dict[str, Any]:
    return {
        "id": example.id,
        "arm": arm,
        "prompt": prompt_text(example),
        "references": list(example.references),
        "source": example.source,
        "text": text,
        "terminated": terminated,
        "tokens": tokens,
        "reward": None,
    }
