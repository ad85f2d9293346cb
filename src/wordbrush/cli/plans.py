"""`--dry-run`: print what a call would do, without doing it."""

from __future__ import annotations

from typing import Any

from wordbrush.cli.commands.edit import EditCommand
from wordbrush.cli.progress import STAGES
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.editor import Editor
from wordbrush.picture.picture import Picture
from wordbrush.report import Plan

__all__ = ["show_plan"]


def show_plan(editor: Editor, source: Picture, command: EditCommand, terminal: Terminal) -> None:
    """Print the plan of a call: as JSON on standard output, or as lines for people on standard error."""
    plan = editor.plan(
        source.size,
        queries=len(command.to),
        seeds=len(command.seeds),
        settings=command.settings,
        own_mask=command.mask is not None,
        check_inversion=command.check_inversion,
    )
    if command.json:
        print_json(_record(plan, editor, command))
        return
    for line in _lines(plan):
        terminal.console.print(line)


def _record(plan: Plan, editor: Editor, command: EditCommand) -> dict[str, Any]:
    """Return what `--dry-run --json` prints."""
    return {
        "schema": 1,
        "command": "plan",
        "model": editor.model.identity.as_dict(),
        "size": list(plan.size),
        "working_size": list(plan.working_size),
        "latent_size": list(plan.latent_size),
        "depth": plan.depth,
        "evaluations": dict(plan.evaluations),
        "evaluations_total": sum(plan.evaluations.values()),
        "memory_bytes": plan.memory_bytes,
        "results": len(command.marks),
    }


def _lines(plan: Plan) -> list[str]:
    """Return the plan as lines of text."""
    lines = [
        f"picture       {plan.size[0]} x {plan.size[1]}",
        f"working size  {plan.working_size[0]} x {plan.working_size[1]}"
        f" ({plan.latent_size[0]} x {plan.latent_size[1]} latent cells)",
        f"steps         {plan.depth} up, {plan.depth} down",
    ]
    lines += [f"{STAGES.get(stage, stage):<24}{count:>6} evaluations" for stage, count in plan.evaluations.items()]
    lines.append(f"{'in all':<24}{sum(plan.evaluations.values()):>6} evaluations")
    lines.append(f"session memory {plan.memory_bytes / 2**20:.1f} MiB, besides the model")
    return lines
