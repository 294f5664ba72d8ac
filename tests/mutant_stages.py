"""Mistakes in the stages and in what they lean on (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "policies/trunk",
        "test_policies",
        ("return head(hidden_nD) / temperature", "return head(hidden_nD)"),
    ),
    *of(
        "training/stored_rewards",
        "test_stored_rewards",
        ("RewardTerm(sigmoid=True)", "RewardTerm()"),
        ("isnan().all(0)", "isnan().any(0)"),
        ("parts_MN.nansum(0)", "parts_MN.sum(0)"),
        ("if rewards[name][i] == rewards[name][i]", "if True"),
        ("model_key(str(folder))", "str(folder)[:0]"),
        ("reward_N.min() == reward_N.max()", "reward_N.min() > reward_N.max()"),
        ("if reward_N[lowest] < 0", "if reward_N[lowest] < -1"),
    ),
    *of(
        "training/needs",
        "test_stored_rewards",
        ("if maker not in made and", "if"),
        ('if name == MODEL and "reward" not in made', "if False"),
        ("            load_function(name, term.function)\n", "            pass\n"),
        ("        if not recipe.dataset.truncate:", "        if recipe.dataset.truncate:"),
        ("        made.add(stage.kind)\n", ""),
        ("if 0 < len(lacking) < len(examples)", "if len(lacking) > len(examples)"),
        ('if pair.columns["rejected"] == pair.completion', "if not pair.completion"),
    ),
    *of(
        "training/stages/value",
        "test_value",
        ("    with evaluating(policy.trunk):\n", "    if True:\n"),
        ("greater_is_better=False", "greater_is_better=True"),
        ("not in held]", "in held]"),
        ('name.startswith("heads.prompt_value.")', "True"),
    ),
    *of(
        "training/stages/alol",
        "test_alol_stage",
        ("(adv_N > 0)", "(adv_N >= 0)"),
        ("rounds=config.rounds(math.ceil(len(rows)", "rounds=config.rounds(math.ceil(len(examples)"),
        ("adv_B=credit_N[chosen]", "adv_B=credit_N[: len(chosen)]"),
        ("[logps[i] for i in chosen]", "logps[: len(chosen)]"),
        ("credit_N[kept], logps", "credit_N, logps"),
    ),
    *of(
        "policies/inputs",
        "test_inputs",
        ("(column_L >= prompt_length_B[:, None])", "(column_L > prompt_length_B[:, None])"),
        ("torch.zeros_like(start_B1), batch.mask_BT", "torch.ones_like(start_B1), batch.mask_BT"),
        ("batch.ids_BT * batch.mask_BT], 1), mask_BL", "batch.ids_BT], 1), mask_BL"),
    ),
    *of(
        "policies/trunk",
        "test_inputs",
        ("chunked_greedy(hidden_BSD[:, :-1][where]", "chunked_greedy(hidden_BSD[:, 1:][where]"),
    ),
    *of(
        "training/stages/pairs",
        "test_dpo_stage",
        ("values_N[chosen] for name", "values_N[: len(chosen)] for name"),
        ('"logp_ref_rejected_B": rejected_N}', '"logp_ref_rejected_B": chosen_N}'),
        ("in config.failure_modes]", "not in config.failure_modes]"),
    ),
    *of(
        "training/stages/modpo",
        "test_modpo_stage",
        ("(reward_NM / scale_M).chunk(2)", "reward_NM.chunk(2)"),
        ("config.beta * (logp_N", "(logp_N"),
        ("(chosen_NM < rejected_NM)", "(chosen_NM > rejected_NM)"),
        ("(prompt, worse, better) in there", "(prompt, better, worse) in there"),
        (
            "torch.where(own_M, 1.0, deviation_M) if standardise else",
            "torch.ones_like(deviation_M) if standardise else",
        ),
        ("if policy.vocabulary <= most or", "if"),
    ),
    *of(
        "data/records",
        "test_modpo_stage",
        ('own = {key.removeprefix(f"{name}_"): v', "own = {key: v"),
    ),
    *of(
        "training/reference_logps",
        "test_alol_stage",
        ("(0, width - len(row))", "(width - len(row), 0)"),
        ("[batch.mask_BT.bool()]", "[batch.mask_BT.bool() | True]"),
    ),
    *of(
        "config/stages",
        "test_recipe",
        ("before - OF_ONE_MODEL if kind in TRAINS_POLICY else before", "before"),
        ("() if config.stands_alone else", ""),
    ),
    *of(
        "training/precomputed",
        "test_stored_rewards",
        ("    if not from_first(folder.is_dir()):\n", "    if True:\n"),
        ('.get("key") == key', '.get("key") != key'),
    ),
    *of(
        "data/samplers",
        "test_stored_rewards",
        ("weights=weights, k=size", "k=size"),
        ('fold("priority_batch", seed, number)', 'fold("priority_batch", seed)'),
    ),
    *of(
        "policies/heads",
        "test_prompt_value",
        ("padding_BP = ~mask_BP.bool()", "padding_BP = ~mask_BP.bool() & False"),
        ("return self.r_max * self.linear", "return self.linear"),
        ("states_BPD = self.dropout(states_BPD)", "states_BPD = nn.functional.dropout(states_BPD)"),
        ("value / (self.r_max - value)", "value / (1 - value / self.r_max)"),
    ),
    *of(
        "policies/prompt_states",
        "test_prompt_value",
        ("input_ids=ids_UP, attention_mask=mask_UP", "input_ids=ids_UP"),
        ("batch.prompt_ids_BP[first_U], batch.prompt_mask_BP[first_U]", "batch.prompt_ids_BP, batch.prompt_mask_BP"),
    ),
    *of(
        "policies/modes",
        "test_prompt_value",
        ("    module.eval()\n", ""),
        ("            part.training = training", "            part.training = part.training"),
    ),
    *of(
        "policies/trunk",
        "test_prompt_value",
        ("(hidden_UPD, mask_UP)[inverse_B]", "(hidden_UPD, mask_UP)"),
    ),
]
