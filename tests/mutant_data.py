"""Mistakes in what is read from rows, in what negatives know of other rows, and in what models are asked."""

from __future__ import annotations

from mutant import of

SAME_SOURCE = "if donor is None or example.source in donor.sources:\n            return None\n        "

MUTANTS = [
    *of(
        "data/records",
        "test_records",
        ("dict.fromkeys((*e.references, *known[prompt_key(e)]))", "known[prompt_key(e)]"),
        ("return prompt_text(example).strip()", "return prompt_text(example)"),
    ),
    *of(
        "data/records",
        "test_records",
        (' and (k, v) != ("failure_mode", "")', ""),
        ("not isinstance(row[name], bool)", "False"),
    ),
    *of(
        "data/columns",
        "test_files",
        ("    if not cell:\n        return None\n", ""),
        ("or (not cell and name in CHAT)", ""),
        ("SAID.get(cell.strip().lower(), cell)", "cell"),
    ),
    *of("data/sources", "test_files", ("            n += 1\n", "            break\n")),
    *of("negatives/audit", "test_negatives_audit", ("not isinstance(ended, bool | None)", "False")),
    *of(
        "rewards/named",
        "test_reward_functions",
        (' if name not in (*OWN, "self")', ""),
        ("number if math.isfinite(number) else None", "number"),
    ),
    *of(
        "negatives/corpus",
        "test_negatives_refusals",
        ('(kind="stable")[::-1]', '(kind="stable")[::-1][: n + 8]'),
        ("frozenset(one.source for one in e)", "frozenset({e[0].source})"),
    ),
    *of(
        "negatives/context",
        "test_negatives_refusals",
        (SAME_SOURCE + "tail", "if donor is None:\n            return None\n        tail"),
        (SAME_SOURCE + "return", "if donor is None:\n            return None\n        return"),
        ("score < SAME_DOCUMENT and example.source not in donor.sources", "score < SAME_DOCUMENT"),
    ),
    *of(
        "rewards/cache",
        "test_reward_cache",
        (" and f.suffix not in NEVER_READ", ""),
        (', *(folder / CHAT_TEMPLATE_DIR).glob("*")', ""),
    ),
    *of(
        "rewards/sequence_classifier",
        "test_sequence_classifier",
        ('{"add_special_tokens": not chat}', "{}"),
        ("- specials - pair", "- specials"),
        ("num_special_tokens_to_add(pair=pair)", "num_special_tokens_to_add()"),
    ),
    *of("policies/room", "test_sequence_classifier", (" - module.padding_idx - 1", "")),
    *of("rewards/language", "test_language", ("most - 1)", "most)")),
    *of("training/context", "test_sequence_classifier", ("        end_marker(tokenizer)\n", "")),
    *of("verbs/negatives", "test_verbs", ("with_all_references(rows)", "list(rows)")),
]
