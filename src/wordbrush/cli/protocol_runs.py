"""A run of a protocol, from data to report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from wordbrush.cli.commands.protocols import RunFlags
from wordbrush.cli.loading import load_editor
from wordbrush.cli.runs import end_run, run_progress
from wordbrush.cli.terminal import Terminal, print_json, print_text
from wordbrush.editor import Editor
from wordbrush.errors import InputError, SettingsError
from wordbrush.evaluation.plan import find_method
from wordbrush.evaluation.protocols.common import Entry, Protocol
from wordbrush.evaluation.protocols.measuring import measure_entries, measure_sets, pairs_of
from wordbrush.evaluation.protocols.reporting import ProtocolReport, figure_lines, write_report
from wordbrush.evaluation.protocols.running import (
    EARLIER,
    ProtocolRun,
    ProtocolWork,
    check_pictures,
    ledger_entries,
    run_facts,
)
from wordbrush.evaluation.protocols.suites import Suite, Weights, parse_networks
from wordbrush.evaluation.protocols.tables import figures_of
from wordbrush.evaluation.run_folder import RunFolder, open_run
from wordbrush.evaluation.variants import parse_assignments
from wordbrush.models.classes import ClassText
from wordbrush.settings import Settings

__all__ = ["Setup", "check_run", "run_protocol", "weights_of"]


@dataclass(frozen=True)
class Setup:
    """A protocol that was read, and how it is run and measured.

    Attributes:
        name: of the command.
        protocol: its entries.
        suite: its metrics.
        prepare: makes the pictures, where the data set does not have them; gets editor and entries.
        extra: what else decides the results.
    """

    name: str
    protocol: Protocol
    suite: Suite
    prepare: Callable[[Editor, Sequence[Entry]], None] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def settings_of(flags: RunFlags) -> Settings:
    """Return all switches.

    Raises:
        SettingsError: an unknown preset or switch, or a value out of range.
    """
    return Settings.from_preset(flags.preset, **parse_assignments(flags.sets or []))


def weights_of(flags: RunFlags) -> Weights:
    """Return where metric networks come from.

    Raises:
        SettingsError: a `--network` cannot be read.
    """
    return Weights(flags.networks, parse_networks(flags.network or []))


def check_run(flags: RunFlags, *, regions: bool) -> None:
    """Refuse flags that cannot work together before any data is read.

    Args:
        flags: of the run.
        regions: the data say which region is to be edited.

    Raises:
        SettingsError: as `settings_of` and `weights_of`, or the method is unknown or needs what the data do not have.
    """
    settings_of(flags)
    weights_of(flags)
    if flags.method == "retrieve" or (flags.method == "oracle_mask" and not regions):
        raise SettingsError(f"--method {flags.method}: this protocol's data do not have what it needs")
    find_method(flags.method)


def _check_classes(editor: Editor, entries: Sequence[Entry]) -> None:
    """Refuse texts that a model of classes does not know, before the first edit and not at each of a thousand.

    Raises:
        InputError: the first that it does not know, with what to do.
    """
    known = editor.model.text
    if not isinstance(known, ClassText):
        return
    for entry in entries:
        try:
            known.encode([entry.query, entry.reference])
        except InputError as error:
            advice = "eval imagenet gives this model the classes' numbers with --template '{id}'"
            raise InputError(f"entry {entry.id}: {error}; {advice}") from error


def run_protocol(flags: RunFlags, setup: Setup, editor: Editor | None = None) -> None:
    """Edit, measure, report; the exit code says whether an entry failed.

    Raises:
        WordbrushError: whatever concerns all entries, in one sentence.
        Exit: with code 6, some entries failed.
    """
    terminal, entries = Terminal(quiet=flags.quiet), setup.protocol.entries[: flags.limit]
    for note in setup.protocol.notes:
        terminal.note(note)
    missing = check_pictures(entries) if setup.prepare is None else 0
    editor = editor or load_editor(flags.model, terminal)
    _check_classes(editor, entries)
    choice = flags.model
    run = ProtocolRun(
        flags.out, settings_of(flags), flags.preset, flags.method, flags.seed, choice.name, choice.load
    )
    facts = run_facts(setup.protocol, run, editor.model.identity.as_dict(), setup.extra)
    if flags.dry_run:
        _show_plan(flags, setup, editor, entries, missing)
        return
    with open_run(flags.out, facts, EARLIER, force=flags.force) as opened:
        if setup.prepare is not None:
            setup.prepare(editor, entries)
        with run_progress(terminal) as show:
            todo = ledger_entries(entries, flags.seed)
            opened.run(ProtocolWork(run), todo, editor=editor, workers=flags.workers, on_progress=show)
        _finish(flags, setup, entries, opened)


def _finish(flags: RunFlags, setup: Setup, entries: Sequence[Entry], opened: RunFolder) -> None:
    """Measure, write the report, print the figures and set the exit code."""
    terminal, rows = Terminal(quiet=flags.quiet), opened.rows()
    pairs = pairs_of(entries, rows, flags.out)
    with terminal.waiting("measuring"):
        values, faults = measure_entries(pairs, setup.suite.entries, opened.ledger)
        sets = measure_sets(pairs, setup.suite.sets, flags.out)
    tables = figures_of(pairs, values, setup.suite.entries, setup.suite.skipped, sets)
    failed = {e.id: row["error"] for e in entries if (row := rows[e.id])["state"] == "failed"}
    failures = {**failed, **faults}
    counts = {"chosen": len(entries), "done": len(pairs), "failed": len(failures)}
    told = (counts, tables, pairs, values, failures, setup.protocol.notes)
    report = ProtocolReport(f"eval {setup.name}", opened.facts, *told)
    result = write_report(report, flags.out)
    if flags.json:
        print_json(result)
    else:
        print_text("\n".join([f"{counts['done']} of {counts['chosen']} entries", *figure_lines(tables[0])]))
    for note in opened.ledger.notes:
        terminal.warn(note)
    terminal.note(f"{flags.out / 'report.html'}")
    end_run([f"{name}: {text}" for name, text in failures.items()], len(entries), "entries", terminal)


def _show_plan(flags: RunFlags, setup: Setup, editor: Editor, entries: Sequence[Entry], missing: int) -> None:
    """Print what a run would do: as JSON on standard output with `--json`, else as lines."""
    side, settings = editor.model.resolution, settings_of(flags)
    plan = editor.plan((side, side), settings=settings)
    each = sum(plan.evaluations.values())
    skipped = [{"metric": column, "reason": why.reason} for column, why in setup.suite.skipped]
    record = {
        "schema": 1,
        "command": "plan",
        "protocol": setup.name,
        "model": editor.model.identity.as_dict(),
        "entries": len(entries),
        "missing_pictures": missing,
        "evaluations_each": each,
        "evaluations_total": each * len(entries),
        "metrics": list(setup.suite.columns()),
        "skipped": skipped,
    }
    if flags.json:
        print_json(record)
        return
    lines = [f"{len(entries)} entries, {missing} without their picture"]
    lines += [f"{each} network evaluations each (full DiffEdit at {side} x {side}), {each * len(entries)} in all"]
    lines += [f"metrics: {', '.join(setup.suite.columns())}"]
    print_text("\n".join(lines + [f"skipped: {item['metric']}: {item['reason']}" for item in skipped]))
