"""Mistakes in what surrounds a run: trackers, uploads, given pairs, what is said, what is left when
something breaks (see mutant_table.py)."""

from __future__ import annotations

from mutant import of

MUTANTS = [
    *of(
        "training/tracking",
        "test_tracking",
        ('if name != "none" and', "if False and"),
    ),
    *of(
        "training/context",
        "test_tracking",
        ("            accelerator.init_trackers(", "            str("),
    ),
    *of(
        "training/publish",
        "test_publish",
        ("if get_token() is None:", "if False:"),
        ("repo_id=repo, folder_path=model", 'repo_id=repo, folder_path=model, ignore_patterns="*.md"'),
        ("create_repo(name, exist_ok=True).repo_id", "create_repo(name, exist_ok=True).repo_name"),
        ('" ".join(str(error).split())', 'str(error).partition("\\n")[0]'),
    ),
    *of(
        "verbs/measure",
        "test_verbs",
        ('if count[row["arm"]] == 1 else', "if True else"),
        ("if own[a] == own[b]]", "if False]"),
        ("if twice is not None:", "if False:"),
    ),
    *of("cli/main", "test_cli", ("BrokenPipeError) and _nobody_reads()", "BrokenPipeError)")),
    *of(
        "training/card",
        "test_card",
        ('"" if Path(name).exists() else f"base', 'f"base'),
        ("        validate_repo_id(name)\n", "        pass\n"),
        ("json.dumps(HUB_NAME if name == NAME else name)", "HUB_NAME if name == NAME else name"),
    ),
    *of(
        "training/stages/negatives",
        "test_given_pairs",
        ("for name in named if name in e.columns", "for name in named[:1]"),
        ('        if "rejected" in e.columns\n', ""),
    ),
    *of(
        "training/stages/negatives",
        "test_given_pairs",
        ("first.setdefault(prompt_text(e), e.id)", "first.setdefault(e.id, e.id)"),
        ("[e for e in examples if first[prompt_text(e)] in held]", "examples"),
        ("pairs(learned, kept) +", "pairs(examples, kept) +"),
        ("            longest=longest,\n", ""),
    ),
    *of(
        "report/verdict",
        "test_report_parts",
        (" or comparison.p_value > CHANCE", ""),
    ),
    *of(
        "training/needs",
        "test_given_pairs",
        ('stage.kind == "negatives" or ', ""),
    ),
    *of(
        "training/pipeline",
        "test_said",
        ("    say(splits.description)\n", ""),
        ("sum(row.truncated for row in tokens)", "sum(not row.truncated for row in tokens)"),
    ),
    *of(
        "progress",
        "test_progress",
        ("_Bar.live.console.print(sentence", "print(sentence"),
    ),
    *of(
        "locking",
        "test_locking",
        ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),
        ("        os.close(descriptor)\n\n\ndef is_free", "        pass\n\n\ndef is_free"),
        ("path.name == FILE or is_part(path)", "path.name == FILE"),
    ),
    *of(
        "writing",
        "test_locking",
        ('path.name.startswith(".") and path.suffix == PART', "path.suffix == PART"),
        ("        path.unlink(missing_ok=True)\n", "        pass\n"),
    ),
    *of(
        "training/pipeline",
        "test_pipeline",
        ('if record is None or record.inputs.get("hash") != inputs:', 'if record and record.inputs["hash"] != inputs:'),
        ("        clear_parts(run.path)\n", ""),
        ("not is_free(run.path)", "any(run.path.iterdir())"),
    ),
    *of("training/loop", "test_checkpoint", ("delete=self.plan.folder)", "delete=None)")),
    *of(
        "data/files",
        "test_files",
        ("_depth(value) > _DEEPEST", "_depth(value) > 10 * _DEEPEST"),
        ("if names.count(name) > 1", "if False"),
    ),
    *of(
        "data/columns",
        "test_files",
        ("not cell or name in TEXT", "not cell"),
        ("    if name in FLAGS:\n", "    if False:\n"),
        ("if name not in CHAT or _are_messages(value) else cell", ""),
    ),
    *of("data/sources", "test_files", ("[row for _, row in pairs]", "[row for row, _ in zip(raw[k][::-1], pairs)]")),
    *of("data/records", "test_records", ("rest += [*part, *part.values()]", "rest += [*part]")),
    *of("data/docstrings", "test_docstrings", ("if first == _digest(lines) else None", "if first else None")),
    *of("config/yaml", "test_yaml", ('r"[^ -~]", lambda', 'r"[^ -\\uffff]", lambda')),
    *of("config/yaml", "test_yaml", ('if tag := getattr(event, "tag", None):', "if tag := None:")),
    *of(
        "data/prompts",
        "test_prompts",
        ("0, len(whole) - len(tail))", "0, len(whole))"),
        ("if end is None else end", "if not end else end"),
    ),
    *of("training/needs", "test_stored_rewards", ("and not splits.test:", "and False:")),
    *of("training/stages/negatives", "test_given_pairs", ("pairs(validation, None)", "pairs(validation, kept)")),
    *of(
        "training/stages/best_of",
        "test_best_of",
        ("if context.model == context.recipe.model_name_or_path:", "if not context.folders:"),
    ),
    *of("training/ahead", "test_ahead", ("if v is not None]", "if k == 'where']")),
    *of(
        "metrics/rouge",
        "test_text_metrics",
        ("[a-z0-9]+|{CHARACTER}|", "[a-z0-9]+|"),
    ),
    *of(
        "metrics/compare",
        "test_evaluate",
        ("        block = _by_prompt(block, table, np.flatnonzero(keep))\n", ""),
        ("(_by_prompt(block, a, rows_a[keep]) for block in (first, second))", "(first, second)"),
        ("    block = _by_prompt(block, next(iter(tables.values())), cells[0][1])\n", ""),
    ),
    *of(
        "evaluate",
        "test_evaluate",
        ("wilson(m.value * m.n, m.n)._asdict()", "{}"),
    ),
    *of("pairing", "test_evaluate", ('str(row.get("source") or "").strip()', '""')),
    *of(
        "pairing",
        "test_pairing",
        ("(prompt, before[arm, prompt])", "(prompt, 0)"),
        ('(prompt, str(row["id"]))', 'str(row["id"])'),
        ("before[arm, prompt] += 1", "before[arm, prompt] += 0"),
    ),
    *of("evaluate", "test_pairing", ('"id": None if "prompt" in row else where', '"id": where')),
    *of(
        "verbs/audit",
        "test_pairing",
        ('_text(row, "prompt") or _text(row, "source", "document")', '_text(row, "document")'),
    ),
    *of("verbs/measure", "test_pairing", ("    _say_apart(pairs, results)\n", "")),
    *of("report/samples", "test_pairing", ("setdefault(sample.answer,", "setdefault(sample.id,")),
]
