"""`wordbrush inspect`: the record in a picture file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wordbrush.cli.commands.records import InspectCommand
from wordbrush.cli.terminal import one_line, print_json, print_text
from wordbrush.record.provenance import Provenance, read_provenance
from wordbrush.record.rules import bare_name

__all__ = ["inspect"]

MOST_NOTES = 20
"""Notes shown; what writes records writes a handful, and `--json` gives all."""


def inspect(command: InspectCommand) -> None:
    """Print the record of a file.

    Raises:
        ProvenanceError: it has none, or one that cannot be read.
    """
    record = read_provenance(command.file)
    if command.json:
        print_json(json.loads(record.to_json()))
        return
    for name, value in _lines(record):
        print_text(f"{name:<12}{one_line(value)}")


def _lines(record: Provenance) -> list[tuple[str, str]]:
    source, model, mask = record.input, record.model, record.mask
    revision = f" at {model['revision']}" if model.get("revision") else ""
    changed = ", ".join(f"{name} {value}" for name, value in record.settings.items())
    packages = [f"{name} {version}" for name, version in record.packages.items() if name != "wordbrush"]
    return [
        *([("texts", "left out on purpose")] if record.withheld else _texts(record)),
        ("seed", str(record.seed)),
        (
            "input",
            f"{source['name'] or '(unnamed)'}, {source['width']} x {source['height']}, sha256 {source['sha256']}",
        ),
        ("model", f"{model['name']}{revision} ({model['family']}, {model['parametrisation']}, {model['dtype']})"),
        ("weights", f"sha256 {model['sha256']}"),
        *(("LoRA", f"{_add_on(one)}, scale {one.get('scale')}") for one in _tables(model, "loras")),
        *(("embedding", f"{_add_on(one)}, word {one.get('token')}") for one in _tables(model, "embeddings")),
        ("mask", f"{mask['source']}, {float(mask['area']):.1%} of the picture, sha256 {mask['sha256']}"),
        ("preset", record.preset or "(none)"),
        ("settings", changed),
        ("made with", ", ".join([f"wordbrush {record.wordbrush}", *packages])),
        *([] if record.threads is None else [("threads", str(record.threads))]),
        *(("note", note) for note in record.notes[:MOST_NOTES]),
    ]


def _tables(model: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in model.get(kind, ()) if isinstance(item, dict)]


def _add_on(item: Mapping[str, Any]) -> str:
    return f"{bare_name(item.get('source'))}, sha256 {item.get('sha256')}"


def _texts(record: Provenance) -> list[tuple[str, str]]:
    return [("query", record.query), ("reference", record.reference), ("negative", record.negative)]
