"""The command table: what each command takes, and which function does it. Nothing heavy is imported here."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from wordbrush.cli.command import Command, command_of
from wordbrush.cli.commands.batch import BatchCommand, ExportCommand, StatusCommand
from wordbrush.cli.commands.batch_report import ReportCommand
from wordbrush.cli.commands.doctor import DoctorCommand
from wordbrush.cli.commands.edit import DemoCommand, EditCommand, MaskCommand
from wordbrush.cli.commands.evaluate import BoundsCommand, TruthCommand
from wordbrush.cli.commands.models import FetchCommand, ListCommand, ShowCommand
from wordbrush.cli.commands.protocols import CocoCommand, ImagenetCommand, PieCommand, PromptsCommand
from wordbrush.cli.commands.records import InspectCommand, ReplayCommand
from wordbrush.cli.commands.ui import UiCommand

__all__ = ["COMMANDS", "app"]

COMMANDS: Final[dict[str, tuple[type[Command], str]]] = {
    "edit": (EditCommand, "edit:edit"),
    "mask": (MaskCommand, "mask:mask"),
    "demo": (DemoCommand, "demo:demo"),
    "batch run": (BatchCommand, "batch:run"),
    "batch status": (StatusCommand, "batch:status"),
    "batch export": (ExportCommand, "batch:export"),
    "batch report": (ReportCommand, "batch_report:report"),
    "models list": (ListCommand, "models:list_models"),
    "models show": (ShowCommand, "models:show"),
    "models fetch": (FetchCommand, "models:fetch"),
    "eval truth": (TruthCommand, "evaluate:truth"),
    "eval bounds": (BoundsCommand, "evaluate_bounds:bounds"),
    "eval imagenet": (ImagenetCommand, "evaluate_protocols:imagenet"),
    "eval coco": (CocoCommand, "evaluate_protocols:coco"),
    "eval prompts": (PromptsCommand, "evaluate_protocols:prompts"),
    "eval pie": (PieCommand, "evaluate_protocols:pie"),
    "inspect": (InspectCommand, "inspect:inspect"),
    "replay": (ReplayCommand, "replay:replay"),
    "ui": (UiCommand, "ui:ui"),
    "doctor": (DoctorCommand, "doctor:doctor"),
}
"""Words of a command to its flags and its work, as `command_of` takes them."""

GROUPS: Final = {
    "batch": "Edit many pictures: `batch SOURCE -o DIR` is short for `batch run SOURCE -o DIR`.",
    "models": "List, show and fetch models.",
    "eval": "Measure: against the truth, the paper's bounds, and by the paper's protocols.",
}

app = typer.Typer(
    name="wordbrush",
    help="Edit the part of a picture that words change, and only that part.",
    epilog="Exit codes: 0 done, 2 usage, 3 bad input or output, 4 model, 5 out of memory, 6 some items failed, "
    "130 interrupted.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(*, show: bool) -> None:
    if show:
        print(f"wordbrush {importlib.metadata.version('wordbrush')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=lambda value: _version(show=value), is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Edit the part of a picture that words change, and only that part."""


class _Batch(TyperGroup):
    """The group `batch`, of which `run` need not be written: what is none of its commands is the source of a run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` in front of words that begin with no command."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["run", *args]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


_groups = {"": app}
for _name, _help in GROUPS.items():
    _groups[_name] = typer.Typer(help=_help, no_args_is_help=True, cls=_Batch if _name == "batch" else TyperGroup)
    app.add_typer(_groups[_name], name=_name)
for _words, (_kind, _work) in COMMANDS.items():
    _group, _, _name = _words.rpartition(" ")
    _groups[_group].command(_name)(command_of(_kind, _work))
