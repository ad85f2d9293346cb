"""`wordbrush batch`: many edits with a ledger; how far it is; its items as a table."""

from __future__ import annotations

from pathlib import Path

import typer

from wordbrush.batch.export import exported
from wordbrush.batch.items import Defaults
from wordbrush.batch.ledger import ErrorGroup, Ledger
from wordbrush.batch.ledger_file import is_locked
from wordbrush.batch.plan import BatchPlan, plan_batch
from wordbrush.batch.run import Batch
from wordbrush.batch.runner import BatchSummary
from wordbrush.cli.commands.batch import BatchCommand, ExportCommand, StatusCommand
from wordbrush.cli.runs import run_progress
from wordbrush.cli.targets import check_free
from wordbrush.cli.terminal import Terminal, print_json, print_text, write_stdout
from wordbrush.errors import Cancelled
from wordbrush.files import write_atomic
from wordbrush.notation import flag_words, shell
from wordbrush.picture.limits import reading_limits

__all__ = ["export", "run", "status"]


def run(command: BatchCommand) -> None:
    """Run a batch, or go on with it, and print what became of it.

    Raises:
        WordbrushError: whatever concerns all items, in one sentence.
        Exit: with code 6, some items failed.
    """
    terminal = Terminal(quiet=command.quiet)
    what = _batch(command)
    if command.dry_run:
        _show_plan(plan_batch(what), command, terminal)
        return
    try:
        with run_progress(terminal, "item") as show:
            summary = what.run(
                engine=command.engine,
                workers=command.workers,
                threads=command.threads,
                retries=command.retries,
                engine_options=command.engine_options,
                retry_failed=command.retry_failed,
                limit=command.limit,
                on_progress=show,
            )
    except Cancelled as stop:
        terminal.note(f"{stop}: {_again(command)}")
        raise
    _tell(summary, command, terminal)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)


def _batch(command: BatchCommand) -> Batch:
    return Batch(
        source=command.source,
        out=command.output,
        defaults=Defaults(
            query=command.to,
            reference=command.reference,
            negative=command.negative,
            mask=command.mask,
            include=command.include,
            exclude=command.exclude,
            output=command.called,
            preset=command.preset,
            settings=command.single,
            seeds=command.seeds,
            grid=command.several,
            suffix=command.suffix,
            check_inversion=command.check_inversion,
        ),
        model=command.model_choice.name,
        load=command.model_choice.load,
        masks=command.masks,
        strip_metadata=command.strip_metadata,
        include_prompt=not command.no_prompt,
        limits=reading_limits(),
    )


def _tell(summary: BatchSummary, command: BatchCommand, terminal: Terminal) -> None:
    """Print what became of a batch: as JSON on standard output, or as lines for people on standard error."""
    for note in summary.notes:
        terminal.warn(note)
    with Ledger.open(summary.folder, read_only=True) as ledger:
        for warning, count in ledger.warnings(ledger.run):
            terminal.warn(f"{count} of {summary.total}: {warning}")
        refused = sum(row["attempts"] == 0 for row in ledger.rows(ledger.run, "failed"))
    for line in _errors(summary.errors):
        terminal.warn(line)
    if command.json:
        print_json({"schema": 1, "command": "batch", **summary.as_dict()})
    parts = [f"{summary.done} of {summary.total} items done in {summary.folder}"]
    parts += [f"{summary.resumed} were there"] if summary.resumed else []
    tried, again = summary.failed - refused, "" if command.retry_failed else " (--retry-failed tries them again)"
    parts += [f"{tried} failed{again}"] if tried else []
    parts += [f"{refused} {'row is no item' if refused == 1 else 'rows are no items'}"] if refused else []
    parts += [f"{summary.waiting} wait"] if summary.waiting else []
    terminal.note(", ".join(parts))
    if summary.failed > len(summary.errors):
        terminal.note(f"all that failed: {shell(['wordbrush', 'batch', 'status', summary.folder, '--failed'])}")


def _errors(errors: tuple[ErrorGroup, ...] | list[ErrorGroup]) -> list[str]:
    return [f"{group.count} x {group.kind}, first {_why(group.name, group.example)}" for group in errors]


def _why(name: str, sentence: str) -> str:
    """Return what failed and why; a row that is no item is called by its line, with which its sentence begins."""
    return sentence if name.startswith(sentence.partition(":")[0].replace(" ", "-") + "-") else f"{name}: {sentence}"


def _again(command: BatchCommand) -> str:
    return shell(["wordbrush", "batch", command.source, *flag_words({"output": str(command.output)}), "..."])


def _show_plan(plan: BatchPlan, command: BatchCommand, terminal: Terminal) -> None:
    for note in plan.notes:
        terminal.warn(note)
    if command.json:
        print_json({"schema": 1, "command": "batch plan", **plan.as_dict()})
        return
    for line in plan.lines():
        terminal.console.print(line, soft_wrap=True)


def status(command: StatusCommand) -> None:
    """Print how far a batch is.

    Raises:
        InputError: there is none in the folder.
    """
    writing = is_locked(command.folder)  # before the ledger is read: a run that ends meanwhile is told as going on
    with Ledger.open(command.folder, read_only=True) as ledger:
        last, counts, every = ledger.runs()[-1:], ledger.counts(ledger.run), ledger.counts()
        seconds, evaluations = ledger.totals(ledger.run)
        errors = ledger.errors(ledger.run)
        failed = [_why(row["name"], row["error"]) for row in ledger.rows(ledger.run, "failed") if command.failed]
    left = counts["running"] if writing is False else 0
    if left:  # by a run that was killed; the next one does them
        for states in (counts, every):
            states["waiting"], states["running"] = states["waiting"] + states["running"], 0
    if command.json:
        told = {
            "schema": 1,
            "command": "batch status",
            "run": last[0] if last else None,
            "writing": writing,
            "items": counts,
            "items_of_all_runs": every,
            "seconds": seconds,
            "evaluations": evaluations,
            "errors": [vars(group) for group in errors],
        }
        print_json({**told, "failed": failed} if command.failed else told)
        return
    total = sum(counts.values())
    print_text(", ".join(f"{count} {state}" for state, count in counts.items()) + f", of {total} items")
    more = sum(every.values()) - total
    if more:
        print_text(f"{more} more {'item' if more == 1 else 'items'} of earlier runs")
    if left:
        print_text(f"no run holds the folder; the last one was killed with {left} of those that wait in hand")
    elif writing:
        print_text("a run is going on")
    for line in failed or _errors(errors):
        print_text(line)


def export(command: ExportCommand) -> None:
    """Write the items of a batch as a table.

    Raises:
        InputError: there is no batch in the folder, or pyarrow is missing for Parquet.
        OutputError: the file is there, or cannot be written.
    """
    if command.output is not None:
        check_free([command.output], force=command.force)
    with Ledger.open(command.folder, read_only=True) as ledger:
        data = exported(ledger, command.kind)
    if command.output is None:
        write_stdout(data)
    else:
        write_atomic(Path(command.output), data, force=command.force)
