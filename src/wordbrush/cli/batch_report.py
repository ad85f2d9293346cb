"""`wordbrush batch report`: the contact sheet of a batch."""

from __future__ import annotations

from typing import Any

from wordbrush.cli.commands.batch_report import ReportCommand
from wordbrush.cli.terminal import Terminal, print_json, print_text
from wordbrush.evaluation.batch_report import BatchReport, batch_report
from wordbrush.evaluation.batch_scores import FIGURES

__all__ = ["report"]


def report(command: ReportCommand) -> None:
    """Write the report of a batch, and print its figures.

    Raises:
        WordbrushError: there is no batch, or the report cannot be written.
    """
    terminal = Terminal(quiet=command.quiet)
    with terminal.waiting("writing the report"):
        found = batch_report(
            command.folder, by=command.by, all_runs=command.every, lpips=command.lpips, clip=command.clip
        )
    for note in found.notes:
        terminal.warn(note)
    if command.json:
        print_json(found.as_dict())
    else:
        for line in _lines(found):
            print_text(line)
    terminal.note(str(found.page))


def _lines(found: BatchReport) -> list[str]:
    groups = found.figures.get("by", {}).get("groups", {})
    counts = found.counts
    lines = [f"{counts['done']} of {sum(counts.values())} items done, {counts['failed']} failed"]
    lines += _figures("", found.figures["all"])
    for name, figures in groups.items():
        lines += _figures(f"{found.figures['by']['column']} {name}: ", figures)
    return lines


def _figures(group: str, figures: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for name, figure in figures.items():
        decimals = FIGURES[name].decimals
        ends = [f"{figure[end]:.{decimals}f}" for end in ("low", "high") if figure[end] is not None]
        span = f" [{', '.join(ends)}]" if ends and figure["how"] != "equal" else ""
        middle = f"median {figure['median']:.{decimals}f}"
        lines.append(f"{group}{FIGURES[name].label} {figure['mean']:.{decimals}f}{span}, {middle}, n {figure['n']}")
    return lines
