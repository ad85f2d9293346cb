"""What is known of a model before it is loaded: from its index, its configurations and the headers of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wordbrush.errors import ModelError
from wordbrush.models.checkpoint.layout import family_in
from wordbrush.models.checkpoint.networks import translated
from wordbrush.models.checkpoint.parts import Checkpoint, outlined, read_folder
from wordbrush.models.checkpoint.quantised import method_of, quantised_note
from wordbrush.models.checkpoint.single_file import NetworkFile
from wordbrush.models.checkpoint.sources import Located
from wordbrush.models.checkpoint.weights import read_header
from wordbrush.models.family import Card, Family, Origin
from wordbrush.models.header import TensorEntry
from wordbrush.models.model import Encoding, Model
from wordbrush.models.registry import family_of_file

__all__ = ["INVERSIONS", "Outline", "PartSize", "decided", "outline"]

INVERSIONS: Mapping[Encoding, str] = {"invert": "inverted", "noise": "noised"}
"""How a picture comes into the noise unless an edit says, in words."""

_FLOAT32, _HALF = 4, 2


@dataclass(frozen=True)
class PartSize:
    """A part with weights, as the headers of its files describe it.

    Attributes:
        name: of the part; for a single file `file`.
        kind: its class.
        parameters: numbers in its tensors.
        stored: bytes of its tensors in the files.
        quantised: by what method its weights are, or "": what they take in memory is then what they take in the files.
    """

    name: str
    kind: str
    parameters: int
    stored: int
    quantised: str = ""

    def bytes_at(self, width: int) -> int:
        """Return the bytes of the part's weights in memory, at `width` bytes a number."""
        return self.stored if self.quantised else self.parameters * width

    def as_dict(self) -> dict[str, Any]:
        """Return what is known of it as plain JSON values."""
        return {
            "name": self.name,
            "class": self.kind,
            "parameters": self.parameters,
            "stored_bytes": self.stored,
            "float32_bytes": self.bytes_at(_FLOAT32),
            "half_bytes": self.bytes_at(_HALF),
            "quantised": self.quantised,
        }


@dataclass(frozen=True)
class Outline:
    """A model before it is loaded.

    Attributes:
        name: short name for people.
        revision: the hub commit, or "".
        family: whose it is.
        parts: those with weights.
        own: the checkpoint; None for a single file.
        notes: what a user should know of how it was found.
    """

    name: str
    revision: str
    family: Family
    parts: tuple[PartSize, ...]
    own: Checkpoint | None = None
    notes: tuple[str, ...] = ()

    @property
    def stored(self) -> int:
        """Bytes of all weights in the files."""
        return sum(part.stored for part in self.parts)

    def facts(self) -> dict[str, Any]:
        """Return what the family's card and the headers say, as plain JSON values; a folder knows its own evidence."""
        card, parts = self.family.card, [part.as_dict() for part in self.parts]
        own = {} if self.own is None else self.own.card
        totals = {key: sum(part[key] for part in parts) for key in ("parameters", "float32_bytes", "half_bytes")}
        return {
            "name": self.name,
            "revision": self.revision,
            "family": self.family.name,
            "title": card.title,
            "licence": card.licence,
            "evidence": str(own.get("evidence", card.evidence)),
            "half": card.half,
            "parts": parts,
            **totals,
        }

    def foretold(self) -> dict[str, Any]:
        """Return what loading the model would decide, as `decided` does, from the checkpoint's configurations.

        The family builds the model of networks that hold no weights, so that nothing is decided twice. Where there is
        no such model, as for a single file, the values are the family's and a note says so.
        """
        if self.own is not None:
            try:
                return decided(_unloaded(self.family, self.own), self.notes)
            except ModelError as error:
                problem = f"told from the family's card, for the configurations do not tell all: {error}"
        else:
            problem = "told from the family's card: what a single file holds is decided at load (--load)"
        words = () if self.own is None else self.own.words
        card = {} if self.own is None else self.own.card
        return {**_usual(self.family.card), "card": dict(card), "words": list(words), "notes": [*self.notes, problem]}


def outline(located: Located) -> Outline:
    """Read what is known of a model before it is loaded; no weight is read.

    Args:
        located: a folder in diffusers layout, or one file.

    Raises:
        UnsafeWeightsError: weights are stored as a pickle; it has not been opened.
        ModelError: the checkpoint is damaged or of another kind.
    """
    told = located.name, located.revision
    if located.path.is_file():
        header = read_header(located.path)
        family, file = family_of_file(header, located.path.name)
        if isinstance(file, NetworkFile):
            return _of_file(located, family, file, header.tensors)
        return Outline(*told, family, (_size("file", file.network, header.tensors),), notes=located.notes)
    family = family_in(located.path, located.name)
    own = read_folder(located.path, family, located.name)
    sizes = [
        _size(name, own.classes[name], tensors, method_of(own.configs[name])) for name, tensors in own.tensors.items()
    ]
    quantised = [note for name in own.configs for note in quantised_note(own.configs[name], f"{own.where}: {name}")]
    return Outline(*told, family, tuple(sizes), own, (*located.notes, *quantised))


def _of_file(located: Located, family: Family, file: NetworkFile, tensors: Mapping[str, TensorEntry]) -> Outline:
    """Return the outline of a file that holds some of a family's parts."""
    found = file.found(located.path, tensors, family.parts)
    sizes = [_size(name, family.parts[name].classes[0], part.own) for name, part in found.items()]
    rest = [name for name, spec in family.parts.items() if name not in found and not spec.optional]
    note = f"it holds {', '.join(found)}; {', '.join(rest)} come from --config FOLDER (config=)"
    return Outline(located.name, located.revision, family, tuple(sizes), notes=(*located.notes, note))


def decided(model: Model, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what is decided of a model from its configurations, as plain JSON values; `notes` go before its own."""
    return {
        "parametrisation": model.identity.parametrisation,
        "guidance_kind": model.policy.kind,
        "guidance": model.guidance,
        "inversion": INVERSIONS[model.encoding],
        "sibling": model.sibling,
        "resolution": model.resolution,
        "card": dict(model.card),
        "words": list(model.words),
        "notes": list(dict.fromkeys([*notes, *model.notes])),
    }


def _usual(card: Card) -> dict[str, Any]:
    """Return what the family's card says of the same."""
    return {
        "parametrisation": " or ".join(card.parametrisations),
        "guidance_kind": card.guidance,
        "guidance": card.scale,
        "inversion": INVERSIONS[card.encoding],
        "sibling": "",
        "resolution": card.native,
    }


def _unloaded(family: Family, own: Checkpoint) -> Model:
    import torch

    parts = outlined(own)
    with translated(f"{own.where}: no weights are there yet"):
        return family.build(parts, Origin(own.where, str(own.folder), "", torch.device("meta")))


def _size(name: str, kind: str, tensors: Mapping[str, TensorEntry], quantised: str = "") -> PartSize:
    numbers = sum(math.prod(entry.shape) for entry in tensors.values())
    return PartSize(name, kind, numbers, sum(entry.end - entry.begin for entry in tensors.values()), quantised)

