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
from wordbrush.models.listing import at_hand, card_text, licence_field
from wordbrush.models.model import GUIDED, GuidanceKind
from wordbrush.models.outline import INVERSIONS, decided, outline
from wordbrush.models.registry import broken, families
from wordbrush.notation import GIVEN

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
        for key, text in (
            ("guidance", f"{_guided(family['guidance_kind'])}, {family['guidance']:g} by default"),
            ("pictures", _inversion(family["inversion"], family["sibling"])),
            ("native", f"{family['native']} pixels a side, where a checkpoint does not say"),
            ("on CUDA", family["half"]),
            ("licence", family["licence"]),
            ("evidence", family["evidence"]),
        ):
            print_text(f"{'':<24}{key}: {text}")


def _guided(kind: GuidanceKind) -> str:
    return f"{kind} ({GUIDED[kind]})"


def _inversion(inversion: str, sibling: str) -> str:
    """Return in words how pictures come into the noise by default, in a family that has that undistilled sibling."""
    few = "; noised where distilled to few steps" if sibling and inversion != INVERSIONS["noise"] else ""
    return f"{inversion}{few}" + (f" (undistilled: {sibling})" if sibling else "")


def _family_facts(family: Family) -> dict[str, Any]:
    card = family.card
    return {
        "name": family.name,
        "title": card.title,
        "guidance_kind": card.guidance,
        "guidance": card.scale,
        "inversion": INVERSIONS[card.encoding],
        "sibling": card.sibling,
        "native": card.native,
        "parametrisations": list(card.parametrisations),
        "licence": card.licence,
        "evidence": card.evidence,
        "half": card.half,
    }


def show(command: ShowCommand) -> None:
    """Print what a model is: what is known before it is loaded, and what loading tells, where it is to be loaded.

    Raises:
        ModelError: it is not at hand, or cannot be used.
    """
    terminal = Terminal()
    located = locate(command.name, revision=command.revision, local_files_only=True)
    before, card = outline(located), card_text(located.path)
    known = {**before.facts(), "licence_field": licence_field(card)}
    if command.loads(before.stored):
        names = ("name", "revision", *GIVEN)
        model = load_editor(ModelChoice(**{name: getattr(command, name) for name in names}), terminal).model
        facts = {**known, **decided(model), "identity": model.identity.as_dict()}
    else:
        facts = {**known, **before.foretold()}
        for note in facts["notes"]:
            terminal.warn(note)
    if command.json:
        print_json({"schema": 1, "command": "models show", **facts, "card_text": card})
        return
    _print_facts(facts)
    print_text()
    for line in card.splitlines():
        print_text(line.rstrip())


def _print_facts(facts: dict[str, Any]) -> None:
    """Print one fact a line, the weights last; notes are on standard error already."""
    totals = ("parameters", "float32_bytes", "half_bytes")
    lines: dict[str, str] = {}
    facts |= {"guidance_kind": _guided(facts["guidance_kind"])}
    for key, value in facts.items():
        if isinstance(value, dict):
            lines |= {f"{key}.{inner}": str(item) for inner, item in value.items() if item != []}
        elif key not in {"parts", "notes", *totals}:
            lines[key] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    for part in [*facts["parts"], {"name": "all", **{key: facts[key] for key in totals}}]:
        lines[f"weights.{part['name']}"] = _weights(part)
    for key, text in lines.items():
        if text:
            print_text(f"{key:<26}{one_line(text, limit=20_000 if key == 'words' else 400)}")


def _weights(part: dict[str, Any]) -> str:
    """Return in words what the weights of a part are, and the memory that they take."""
    kind = f"{part['class']}, " if "class" in part else ""
    if part.get("quantised"):
        return f"{kind}quantised ({part['quantised']}), {part['stored_bytes'] / 2**20:,.1f} MiB at any dtype"
    full, half = (part[key] / 2**20 for key in ("float32_bytes", "half_bytes"))
    return f"{kind}{part['parameters']:,} parameters, {full:,.1f} MiB in float32, {half:,.1f} MiB in half precision"


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
