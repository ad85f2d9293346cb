"""`wordbrush models list|show|fetch`: which models are at hand, what one is, and getting one."""

from __future__ import annotations

from typing import Any

from huggingface_hub.utils import disable_progress_bars

from wordbrush.cli.commands.models import FetchCommand, ListCommand, ShowCommand
from wordbrush.cli.loading import load_editor
from wordbrush.cli.options import ModelChoice
from wordbrush.cli.terminal import Terminal, one_line, print_json, print_text
from wordbrush.models.checkpoint.sources import fetch_vocabulary, locate
from wordbrush.models.family import Family
from wordbrush.models.listing import at_hand, card_text
from wordbrush.models.model import Model
from wordbrush.models.registry import broken, families

__all__ = ["fetch", "list_models", "show"]


def list_models(command: ListCommand) -> None:
    """Print the models at hand, or the families that can be used."""
    if command.families:
        _list_families(json=command.json)
        return
    models = at_hand()
    if command.json:
        print_json({"schema": 1, "command": "models list", "models": models})
        return
    for model in models:
        size, where = model["bytes"] / 2**20, model["revision"][:12] or model["where"]
        print_text(f"{model['name']:<48} {size:>9.1f} MiB  {where}")


def _list_families(*, json: bool) -> None:
    for problem in broken():
        Terminal().warn(problem)
    facts = [_family_facts(family) for family in families()]
    if json:
        print_json({"schema": 1, "command": "models list", "families": facts})
        return
    for family in facts:
        print_text(f"{family['name']:<24}{family['title']}")
        print_text(f"{'':<24}guidance: {family['guidance_kind']}, {family['guidance']:g} by default")
        print_text(f"{'':<24}evidence: {family['evidence']}")


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


def show(command: ShowCommand) -> None:
    """Print identity, card and known words of a model.

    Raises:
        ModelError: it is not at hand, or cannot be used.
    """
    names = ("name", "revision", "parametrisation", "config", "tokenizer", "vae")
    model = load_editor(ModelChoice(**{name: getattr(command, name) for name in names}), Terminal()).model
    card = card_text(locate(command.name, revision=command.revision, local_files_only=True).path)
    if command.json:
        print_json({"schema": 1, "command": "models show", **_facts(model), "card_text": card})
        return
    for key, value in _facts(model).items():
        if isinstance(value, dict):
            for inner, item in value.items():
                print_text(f"{key + '.' + inner:<26}{one_line(str(item), limit=400)}")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            print_text(f"{key:<26}{one_line(text, limit=20_000)}")
    print_text()
    for line in card.splitlines():
        print_text(line.rstrip())


def _facts(model: Model) -> dict[str, Any]:
    return {
        "identity": model.identity.as_dict(),
        "resolution": model.resolution,
        "guidance": model.guidance,
        "guidance_kind": model.policy.kind,
        "card": dict(model.card),
        "words": list(model.words),
    }


def fetch(command: FetchCommand) -> None:
    """Download a model into the Hugging Face cache, and say where it is.

    Raises:
        ModelError: there is no such model, it has no safe weights, or the network fails.
    """
    if command.quiet:
        disable_progress_bars()
    if command.vocabulary:
        revision = command.revision or "main"
        facts = {"name": command.name, "revision": revision, "folder": str(fetch_vocabulary(command.name, revision))}
    else:
        model = locate(command.name, revision=command.revision, prefer_half=command.half)
        facts = {"name": model.name, "revision": model.revision, "folder": str(model.path)}
    if command.json:
        print_json({"schema": 1, "command": "models fetch", **facts})
    else:
        what = "the vocabulary of " * command.vocabulary + facts["name"]
        Terminal(quiet=command.quiet).note(f"{what} at {facts['revision']} is in {facts['folder']}")
