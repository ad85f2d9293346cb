"""The command tree. Nothing heavy is imported here: `wordbrush --help` answers at once."""

from __future__ import annotations

from typing import Annotated

import typer

from wordbrush.cli.demo import demo
from wordbrush.cli.doctor import doctor
from wordbrush.cli.edit import edit
from wordbrush.cli.evaluate import evaluate
from wordbrush.cli.evaluate_bounds import bounds
from wordbrush.cli.evaluate_protocols import coco, imagenet, pie, prompts
from wordbrush.cli.mask import mask
from wordbrush.cli.models import models
from wordbrush.cli.records import inspect, replay
from wordbrush.cli.ui import ui

__all__ = ["app"]

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


def _version(*, wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        print(f"wordbrush {importlib.metadata.version('wordbrush')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Edit the part of a picture that words change, and only that part."""


app.command()(edit)
app.command()(mask)
app.command()(demo)
app.add_typer(models, name="models")
evaluate.command()(bounds)
for _protocol in (imagenet, coco, prompts, pie):
    evaluate.command()(_protocol)
app.add_typer(evaluate, name="eval")
app.command()(inspect)
app.command()(replay)
app.command()(ui)
app.command()(doctor)
