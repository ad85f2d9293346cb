"""What the protocol commands have in common: their flags, and a run from data to report."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.loading import ModelChoice, load_editor
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.errors import SettingsError

if TYPE_CHECKING:
    from wordbrush.editor import Editor
    from wordbrush.evaluation.items import Method
    from wordbrush.evaluation.journal import Journal
    from wordbrush.evaluation.protocols.common import Entry, Protocol
    from wordbrush.evaluation.protocols.measuring import Pair
    from wordbrush.evaluation.protocols.running import Run, Tally
    from wordbrush.evaluation.protocols.suites import Suite, Weights
    from wordbrush.evaluation.protocols.tables import Table
    from wordbrush.settings import Settings

__all__ = ["PARTIAL", "Order", "one_of", "run_protocol", "with_run_flags"]

PARTIAL = 6
"""Exit code of a run in which some entries failed."""

RUN_PANEL = "The run"
METRICS_PANEL = "Metric networks"


@dataclass(frozen=True)
class Order:
    """What the shared flags say."""

    out: Path
    preset: str
    sets: Sequence[str]
    method: str
    seed: int
    limit: int | None
    networks: Path | None
    network: Sequence[str]
    model: ModelChoice
    force: bool
    dry_run: bool
    json: bool
    quiet: bool

    @property
    def terminal(self) -> Terminal:
        """Standard error."""
        return Terminal(quiet=self.quiet)

    def settings(self) -> Settings:
        """Return all switches.

        Raises:
            SettingsError: an unknown preset or switch, or a value out of range.
        """
        from wordbrush.evaluation.variants import parse_assignments
        from wordbrush.settings import Settings

        return Settings.from_preset(self.preset, **parse_assignments(self.sets))

    def weights(self) -> Weights:
        """Return where metric networks come from.

        Raises:
            SettingsError: a `--network` cannot be read.
        """
        from wordbrush.evaluation.protocols.suites import Weights, parse_networks

        return Weights(self.networks, parse_networks(self.network))

    def check(self, *, regions: bool) -> Method:
        """Refuse what cannot end well before anything is read; return the method.

        Raises:
            SettingsError: as `settings` and `weights`, or the method is unknown or needs what the data do not have.
        """
        from wordbrush.evaluation.plan import find_method

        self.settings()
        self.weights()
        if self.method == "retrieve" or (self.method == "oracle_mask" and not regions):
            raise SettingsError(f"--method {self.method}: this protocol's data do not have what it needs")
        return find_method(self.method)


def one_of(flag: str, word: str, known: Sequence[str]) -> Any:
    """Return `word` if it is one of the known ones.

    Raises:
        SettingsError: it is not.
    """
    if word not in known:
        raise SettingsError(f"{flag} {word!r} is unknown: known are {', '.join(known)}")
    return word


def _shared(
    *,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for results; resumes.", metavar="FOLDER", rich_help_panel=RUN_PANEL)
    ],
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only the first so many entries.", min=1, rich_help_panel=RUN_PANEL)
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Each entry draws its own from it.", min=0, rich_help_panel=RUN_PANEL)
    ] = 0,
    preset: opt.Preset = opt.DEFAULT_PRESET,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="A switch, over the preset. Repeatable.", metavar="SETTING=VALUE"),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="diffedit, a baseline of the paper, or a peer.", metavar="NAME")
    ] = "diffedit",
    networks: Annotated[
        Path | None,
        typer.Option("--networks", help="Folder of metric networks.", metavar="FOLDER", rich_help_panel=METRICS_PANEL),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help="One metric network from a folder, file or hub id, such as clip=openai/clip-vit-large-patch14. Kinds: "
            "lpips, clip, inception, features, classifier, structure, classes. Repeatable.",
            metavar="KIND=SOURCE",
            rich_help_panel=METRICS_PANEL,
        ),
    ] = None,
    model: opt.ModelName = "pocket",
    revision: opt.Revision = None,
    allow_download: opt.AllowDownload = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    force: Annotated[bool, typer.Option("--force", help="Start anew.", rich_help_panel=RUN_PANEL)] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; edit nothing.", rich_help_panel=RUN_PANEL)
    ] = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> Order:
    """Read the shared flags."""
    choice = ModelChoice.of(model, revision, device, dtype, None, allow_download=allow_download)
    return Order(
        out, preset, sets or [], method, seed, limit, networks, network or [], choice, force, dry_run, json, quiet
    )


def with_run_flags(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared flags; they arrive as `order`."""
    shared, own = inspect.signature(_shared, eval_str=True), inspect.signature(function, eval_str=True)
    mine = [parameter for parameter in own.parameters.values() if parameter.name != "order"]

    @wraps(function)
    def command(**values: Any) -> None:
        function(order=_shared(**{name: values.pop(name) for name in shared.parameters}), **values)

    parameters = [*mine, *shared.parameters.values()]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del command.__wrapped__  # else typer would read the original's hints
    return command


@dataclass(frozen=True)
class Task:
    """A protocol that was read, and how it is run and measured.

    Attributes:
        name: of the command.
        protocol: its entries.
        suite: its metrics.
        method: what is done to each entry.
        prepare: makes the pictures, where the data set does not have them; gets editor and entries.
        extra: what else decides the results.
    """

    name: str
    protocol: Protocol
    suite: Suite
    method: Method
    prepare: Callable[[Editor, Sequence[Entry]], None] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def run_protocol(order: Order, task: Task, editor: Editor | None = None) -> None:
    """Edit, measure, report; the exit code says whether an entry failed.

    Raises:
        WordbrushError: whatever concerns all entries, in one sentence.
        Exit: with code 6, some entries failed.
    """
    from wordbrush.evaluation.journal import Journal
    from wordbrush.evaluation.protocols.running import EDITS, Run, check_pictures, make_folders, run_facts

    terminal, entries = order.terminal, task.protocol.entries[: order.limit]
    for note in task.protocol.notes:
        terminal.note(note)
    missing = check_pictures(entries) if task.prepare is None else 0
    editor = editor or load_editor(order.model, terminal)
    run = Run(order.out, order.settings(), order.preset, order.method, order.seed)
    facts = run_facts(task.protocol, run, editor.model.identity.as_dict(), task.extra)
    if order.dry_run:
        _show_plan(order, task, editor, entries, missing)
        return
    make_folders(order.out, *(["pictures"] if task.prepare else []))
    with Journal.open(order.out / EDITS, facts, force=order.force) as journal:
        if task.prepare is not None:
            task.prepare(editor, entries)
        tally = _edit(order, task, editor, entries, run, journal)
        _finish(order, task, entries, journal, facts, tally)


def _edit(order: Order, task: Task, editor: Editor, entries: Sequence[Entry], run: Run, journal: Journal) -> Tally:
    from wordbrush.cli.progress import run_progress
    from wordbrush.evaluation.protocols.running import edit_entries
    from wordbrush.evaluation.runner import Progress

    resumed = sum(journal.is_done(entry.id) for entry in entries)
    done = failed = 0
    with run_progress(order.terminal) as told:
        if told is not None:
            told(Progress(0, len(entries), 0, 0))

        def step(entry: Entry, fault: str | None) -> None:
            nonlocal done, failed
            done, failed = done + 1, failed + (fault is not None)
            if told is not None:
                told(Progress(done, len(entries), min(resumed, done), failed))

        return edit_entries(editor, task.method, entries, run, journal, step)


def _finish(
    order: Order, task: Task, entries: Sequence[Entry], journal: Journal, facts: dict[str, Any], tally: Tally
) -> None:
    """Measure, write the report, print the figures and set the exit code."""
    from wordbrush.evaluation.protocols.measuring import measure_entries, measure_sets, pairs_of
    from wordbrush.evaluation.protocols.reporting import Report, figure_lines, write_report
    from wordbrush.evaluation.protocols.tables import figures_of

    terminal = order.terminal
    pairs: list[Pair] = pairs_of(entries, journal)
    with terminal.waiting("measuring"):
        values, faults = measure_entries(pairs, task.suite.entries, order.out, lambda: None)
        sets = measure_sets(pairs, task.suite.sets, order.out)
    tables: list[Table] = figures_of(pairs, values, task.suite.entries, task.suite.skipped, sets, order.seed)
    failures = {**tally.failures, **faults}
    counts = {"chosen": len(entries), "done": len(pairs), "failed": len(failures)}
    report = Report(f"eval {task.name}", facts, counts, tables, pairs, values, failures, task.protocol.notes)
    result = write_report(report, order.out)
    if order.json:
        print_json(result)
    else:
        print("\n".join([f"{counts['done']} of {counts['chosen']} entries", *figure_lines(tables[0])]))
    terminal.note(f"{order.out / 'report.html'}")
    for name, text in list(failures.items())[:5]:
        terminal.warn(f"{name}: {text}")
    if failures:
        terminal.warn(f"{len(failures)} of {len(entries)} entries failed; run again to try them again")
        raise typer.Exit(PARTIAL)


def _show_plan(order: Order, task: Task, editor: Editor, entries: Sequence[Entry], missing: int) -> None:
    """Print what a run would do: as JSON on standard output with `--json`, else as lines."""
    side, settings = editor.model.resolution, order.settings()
    plan = editor.plan((side, side), settings=settings)
    each = sum(plan.evaluations.values())
    skipped = [{"metric": column, "reason": why.reason} for column, why in task.suite.skipped]
    record = {
        "schema": 1,
        "command": "plan",
        "protocol": task.name,
        "model": editor.model.identity.as_dict(),
        "entries": len(entries),
        "missing_pictures": missing,
        "evaluations_each": each,
        "evaluations_total": each * len(entries),
        "metrics": list(task.suite.columns()),
        "skipped": skipped,
    }
    if order.json:
        print_json(record)
        return
    lines = [f"{len(entries)} entries, {missing} without their picture"]
    lines += [f"{each} network evaluations each (full DiffEdit at {side} x {side}), {each * len(entries)} in all"]
    lines += [f"metrics: {', '.join(task.suite.columns())}"]
    print("\n".join(lines + [f"skipped: {item['metric']}: {item['reason']}" for item in skipped]))
