"""`wordbrush eval truth`: edits scored against the known truth."""

from __future__ import annotations

from wordbrush.cli.commands.evaluate import TruthCommand
from wordbrush.cli.runs import end_run, one_of, run_progress
from wordbrush.cli.terminal import Terminal, print_json, print_text
from wordbrush.errors import SettingsError
from wordbrush.evaluation.items import KINDS, PHRASINGS
from wordbrush.evaluation.plan import Rows, RunPlan, find_method, is_peer
from wordbrush.evaluation.report import summary_table, write_report
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.evaluation.truth_run import run_truth
from wordbrush.evaluation.variants import build_variants, parse_assignments, parse_varied
from wordbrush.notation import flag_words, shell

__all__ = ["truth"]


def truth(command: TruthCommand) -> None:
    """Run or resume the evaluation, write and print the report; the exit code says whether a row failed.

    Raises:
        WordbrushError: whatever concerns all rows, in one sentence.
        Exit: with code 6, some rows failed.
    """
    plan = _plan(command)
    names = [variant.name for variant in plan.variants]
    if command.baseline is not None and command.baseline not in names:
        raise SettingsError(f"--baseline {command.baseline!r} is none of the variants: {', '.join(names)}")
    if command.dry_run:
        _show_plan(plan, names, json=command.json)
        return
    terminal, out = Terminal(quiet=command.quiet), command.out
    with run_progress(terminal) as show:
        rows: Rows = run_truth(plan, out, show, force=command.force)
    with terminal.waiting("writing the report"):
        result = write_report(rows, out, command=_same_figures(command, plan), baseline=command.baseline)
    if command.json:
        print_json(result)
    else:
        print_text(summary_table(rows, result))
    for note in rows.notes:
        terminal.warn(note)
    terminal.note(f"{out / 'report.html'}")
    failures = [f"{row.item}, {row.variant}: {row.error}" for row in rows.failed]
    end_run(failures, len(rows.rows), "rows", terminal)


def _methods(command: TruthCommand) -> list[str]:
    return [*(command.method or []), *(command.peer or [])]


def _plan(command: TruthCommand) -> RunPlan:
    """Read the flags into the plan of the run.

    Raises:
        SettingsError: a name or value is unknown.
        InputError: there is no bench.
    """
    phrasings = [one_of("--phrasing", word, PHRASINGS) for word in command.phrasing or ["captions"]]
    chosen = [one_of("--kind", word, KINDS) for word in command.kind or []]
    for name in _methods(command):
        find_method(name)
    variants = build_variants(
        presets=command.preset or [],
        methods=_methods(command),
        phrasings=phrasings,
        switches=parse_assignments(command.sets or []),
        varied=parse_varied(command.vary or []),
    )
    bench, model = command.bench or default_bench(), command.model
    return RunPlan(
        variants=variants,
        bench=bench,
        judge=command.judge or bench / "judge",
        critic=command.critic or (bench / "critic" if (bench / "critic").is_dir() else None),
        lpips=command.lpips,
        split=one_of("--split", command.split, ("dev", "test")),
        kinds=tuple(kind for kind in KINDS if kind in chosen or not chosen),
        model=model.name,
        load=model.load,
        limit=command.limit,
        seed=command.seed,
        workers=command.workers,
        threads=command.threads,
        share=command.share,
        measure_memory=command.memory,
    )


def _same_figures(command: TruthCommand, plan: RunPlan) -> str:
    """Return the command that makes the same figures; folders of one machine are left out."""
    model = plan.model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    flags = {
        "model": model if plan.model != "pocket" else None,
        "revision": plan.load["revision"],
        "dtype": plan.load["dtype"],
        "preset": command.preset,
    }
    words = flag_words(flags)
    for name in _methods(command):
        words += flag_words({"peer" if is_peer(name) else "method": name})
    rest = {
        "phrasing": command.phrasing,
        "set": command.sets,
        "vary": command.vary,
        "split": plan.split,
        "kind": plan.kinds if len(plan.kinds) < len(KINDS) else None,
        "limit": plan.limit or None,
        "seed": plan.seed or None,
        "threads": plan.threads if plan.threads > 1 else None,
        "baseline": command.baseline,
        "share": plan.share,
        "memory": plan.measure_memory,
    }
    return shell(["wordbrush", "eval", "truth", *words, *flag_words(rest), "--out", "FOLDER"])


def _show_plan(plan: RunPlan, names: list[str], *, json: bool) -> None:
    items = load_truth(plan.bench, plan.split, plan.kinds, plan.limit)
    counts = {kind: sum(item.kind == kind for item in items) for kind in plan.kinds}
    if json:
        facts = {"schema": 1, "command": "plan", "split": plan.split, "items": counts, "variants": names}
        print_json({**facts, "rows": len(items) * len(names)})
        return
    print_text("\n".join(names))
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print_text(f"{len(names)} variants x {len(items)} items ({kinds}) = {len(items) * len(names)} rows")
