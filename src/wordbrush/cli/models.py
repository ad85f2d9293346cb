"""`wordbrush models list|show|fetch`: which models are at hand, what one is, and getting one."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.terminal import Terminal, one_line, print_json, shown
from wordbrush.errors import SettingsError

if TYPE_CHECKING:
    from wordbrush.models.family import Family
    from wordbrush.models.model import Model

__all__ = ["models"]

models = typer.Typer(help="List, show and fetch models.", no_args_is_help=True)

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", flags=re.ASCII)


@models.command("list")
def list_models(
    *,
    families: Annotated[
        bool, typer.Option("--families", help="List the families of models that can be used instead.")
    ] = False,
    json: opt.Json = False,
) -> None:
    """List the models at hand: pocket, and what the Hugging Face cache holds. No network."""
    if families:
        _list_families(json=json)
        return
    from wordbrush.models.listing import at_hand

    found = at_hand()
    if json:
        print_json({"schema": 1, "command": "models list", "models": found})
        return
    for entry in found:
        print(f"{entry['name']:<48} {entry['bytes'] / 2**20:>9.1f} MiB  {entry['revision'][:12] or entry['where']}")


def _list_families(*, json: bool) -> None:
    from wordbrush.models.registry import broken, families

    for problem in broken():
        Terminal().warn(problem)
    found = [_family_facts(family) for family in families()]
    if json:
        print_json({"schema": 1, "command": "models list", "families": found})
        return
    for facts in found:
        print(f"{facts['name']:<24}{facts['title']}")
        print(f"{'':<24}guidance: {facts['guidance_kind']}, {facts['guidance']:g} by default")
        print(f"{'':<24}evidence: {facts['evidence']}")


def _family_facts(family: Family) -> dict[str, Any]:
    card = family.card
    return {
        "name": family.name,
        "title": card.title,
        "guidance_kind": card.guidance,
        "guidance": card.scale,
        "native": card.native,
        "parametrisations": list(card.parametrisations),
        "licence": card.licence,
        "evidence": card.evidence,
    }


@models.command("show")
def show(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="pocket, a folder, a file, or a cached model.")],
    revision: opt.Revision = None,
    json: opt.Json = False,
) -> None:
    """Show who a model is: identity, card and known words. No network."""
    from wordbrush.cli.loading import ModelChoice, load_editor
    from wordbrush.models.checkpoint.sources import locate
    from wordbrush.models.listing import card_text

    model = load_editor(ModelChoice(name=name, revision=revision), Terminal()).model
    card = card_text(locate(name, revision=revision, local_files_only=True).path)
    if json:
        print_json({"schema": 1, "command": "models show", **_facts(model), "card_text": card})
        return
    for key, value in _facts(model).items():
        if isinstance(value, dict):
            for inner, item in value.items():
                print(f"{key + '.' + inner:<26}{one_line(str(item), limit=400)}")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            print(f"{key:<26}{one_line(text, limit=20_000)}")
    print()
    for line in card.splitlines():
        print(shown(line.rstrip()))


def _facts(model: Model) -> dict[str, Any]:
    return {
        "identity": model.identity.as_dict(),
        "resolution": model.resolution,
        "guidance": model.guidance,
        "guidance_kind": model.policy.kind,
        "card": dict(model.card),
        "words": list(model.words),
    }


@models.command("fetch")
def fetch(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A Hugging Face id, such as owner/model.")],
    revision: opt.Revision = None,
    half: Annotated[
        bool, typer.Option("--half", help="Take the half-precision files where there are both; for GPUs.")
    ] = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Download a model into the Hugging Face cache: safetensors and settings only, never a pickle or code."""
    if not HUB_ID.fullmatch(name):
        raise SettingsError(f"{name!r} is not a Hugging Face id; it looks like owner/model")
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read when the hub client is imported
    from wordbrush.models.checkpoint.sources import locate

    found = locate(name, revision=revision, prefer_half=half)
    if json:
        facts = {"name": found.name, "revision": found.revision, "folder": str(found.path)}
        print_json({"schema": 1, "command": "models fetch", **facts})
    else:
        Terminal(quiet=quiet).note(f"{found.name} at {found.revision} is in {found.path}")
