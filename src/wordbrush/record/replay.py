"""Replay of a recorded edit: find its input, check that it is the recorded one, and compare the two results.

It runs no model. Records lie above pictures and masks and below the editor, so the edit itself is the caller's:

```
recorded = Recorded.find("zebra.png")
session = editor.open(recorded.picture, resolution=recorded.settings.resolution)
result = session.edit(**recorded.arguments())
recorded.compared(encode_image(result.image, recorded.suffix, result.provenance), result.provenance)
```
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from wordbrush.diffusion.position import depth_of
from wordbrush.errors import InputError, ProvenanceError, SettingsError
from wordbrush.notation import GIVEN
from wordbrush.picture.guard import sniff
from wordbrush.picture.picture import Picture
from wordbrush.record.encode import FORMATS
from wordbrush.record.provenance import Provenance, file_bytes, read_provenance
from wordbrush.record.rules import bare_name
from wordbrush.region.mask import Mask
from wordbrush.settings import Settings
from wordbrush.texts import check_text

__all__ = ["MASKS", "Recorded", "carried_mask", "settings_of"]

MASKS = ("mask", "include", "exclude")
"""The masks that an edit may be given."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """A recorded edit with all it needs but the model, each checked to be the recorded one.

    Attributes:
        data: the bytes of the file that carries the record.
        record: what it says.
        picture: the input.
        settings: all switches.
        masks: those the edit was given, by their names in `MASKS`.
    """

    data: bytes
    record: Provenance
    picture: Picture
    settings: Settings
    masks: Mapping[str, Mask]

    @classmethod
    def find(
        cls,
        file: str | Path,
        source: Path | None = None,
        masks: Mapping[str, Path | None] = MappingProxyType({}),
    ) -> Recorded:
        """Read the record of a file and find what it was made from.

        Args:
            file: a picture with a record.
            source: its input; by default the file of the recorded name in the same folder.
            masks: files of masks by their names in `MASKS`, where the record does not carry them.

        Raises:
            ProvenanceError: no record, texts withheld, or an input or mask that is not the recorded one.
            PictureError: the input cannot be opened.
            MaskError: a mask cannot.
        """
        data = file_bytes(file)
        record = read_provenance(data, name=str(file))
        if not record.replayable:
            raise ProvenanceError(f"{file}: the texts were left out of the record, so it cannot be done again")
        _check_texts(file, record)
        picture = _input(Path(file), record, source)
        named = {kind: _mask(record, kind, masks.get(kind)) for kind in MASKS}
        present = {kind: mask for kind, mask in named.items() if mask is not None}
        return cls(data, record, picture, settings_of(record), present)

    @property
    def suffix(self) -> str:
        """The usual ending of names of the file's format, as in `.png`, whatever the file is called."""
        kind = sniff(self.data)
        return next(suffix for suffix, known in FORMATS.items() if known == kind)

    @property
    def loras(self) -> tuple[tuple[str, float], ...]:
        """Sources and scales of the LoRA weights that were laid on the model.

        Raises:
            ProvenanceError: the record does not tell them as it should.
        """
        return tuple(_lora(item) for item in self.record.model["loras"])

    @property
    def embeddings(self) -> tuple[tuple[str, str], ...]:
        """Sources and words of the embeddings that the model was taught.

        Raises:
            ProvenanceError: the record does not tell them as it should.
        """
        return tuple(_embedding(item) for item in self.record.model.get("embeddings", ()))

    def other_add_ons(self, model: Mapping[str, Any]) -> tuple[str, ...]:
        """Say in sentences which LoRAs and embeddings of a model are not those of the record.

        Args:
            model: its identity as a record has it.
        """
        sentences = []
        for kind, field, own in (("LoRA", "loras", "scale"), ("embedding", "embeddings", "token")):
            then, now = self.record.model.get(field, ()), model.get(field, ())
            if len(then) != len(now):
                sentences.append(f"the record was made with {len(then)} {kind}s, and this is with {len(now)}")
                continue
            for before, here in zip(then, now, strict=True):
                same = isinstance(before, dict) and all(before.get(name) == here[name] for name in ("sha256", own))
                if not same:
                    sentences.append(f"the {kind} {bare_name(here['source'])} is not as in the record")
        return tuple(sentences)

    @property
    def given(self) -> dict[str, str | None]:
        """What was given beside the model's source to load it, by argument of `load_model`; None where nothing was.

        Raises:
            ProvenanceError: the record does not tell it as it should.
        """
        given = self.record.model.get("given", {})
        if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
            raise ProvenanceError("the field model.given of the record is not a table of texts")
        return {name: given.get(name) for name in GIVEN}

    @property
    def replaced(self) -> dict[str, Any]:
        """SHA-256 of the parts that were given in place of the checkpoint's own, by name.

        Raises:
            ProvenanceError: the record does not tell it as it should.
        """
        replaced = self.record.model.get("replaced", {})
        if not isinstance(replaced, dict):
            raise ProvenanceError("the field model.replaced of the record is not a table")
        return dict(replaced)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `Session.edit` that make the edit again."""
        record = self.record
        texts = {"query": record.query, "reference": record.reference, "negative": record.negative}
        return {**texts, "seed": record.seed, "settings": self.settings, "preset": record.preset, **self.masks}

    def compared(self, data: bytes, provenance: Provenance) -> dict[str, Any]:
        """Say how the file made again compares with the first one.

        Args:
            data: its bytes, in the format of `suffix`.
            provenance: its record.

        Returns:
            `identical`: every byte is the same; `same_pixels`: every pixel is; `other_packages`: name to [version
            then, version now] where they differ, None for a package that is not there; `threads`: [then, now], None
            where the record does not tell.
        """
        identical = data == self.data
        then, now = self.record.packages, provenance.packages
        names = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
        return {
            "identical": identical,
            "same_pixels": identical or _same_pixels(data, self.data),
            "other_packages": {name: [then.get(name), now.get(name)] for name in names},
            "threads": [self.record.threads, provenance.threads],
        }


def _check_texts(file: str | Path, record: Provenance) -> None:
    try:
        for name in ("query", "reference", "negative"):
            check_text(getattr(record, name), name)
    except InputError as error:
        raise ProvenanceError(f"{file}: the record cannot be replayed: {error}") from error


def _input(file: Path, record: Provenance, source: Path | None) -> Picture:
    name = record.input["name"]
    if source is None and not name:
        raise ProvenanceError(f"{file}: the record does not name its input; give it with --input")
    # Only a name next to the file is looked up: a forged record must not point anywhere else.
    path = source or file.with_name(Path(name.replace("\\", "/")).name)
    try:
        there = path.exists()
    except OSError:  # no possible name
        there = False
    if not there:
        raise ProvenanceError(f"the recorded input {str(path)[:200]} is not there; give it with --input")
    picture = Picture.open(path)
    if picture.sha256 != record.input["sha256"]:
        raise ProvenanceError(f"{path} is not the recorded input: its SHA-256 is {picture.sha256}")
    return dataclasses.replace(picture, name=name)


def settings_of(record: Provenance) -> Settings:
    """Return all switches of a recorded edit.

    Raises:
        ProvenanceError: they are not those of this program.
    """
    try:
        settings = Settings.recorded(_of_before(record.settings))
    except (TypeError, SettingsError) as error:
        raise ProvenanceError(f"the field settings of the record cannot be used: {error}") from error
    # Before the real ratio was recorded, ratios that end in half a step were rounded to the even one.
    then = round(settings.ratio * settings.steps)
    if record.real_ratio is None and then != depth_of(settings.ratio, settings.steps):
        return settings.changed(ratio=then / settings.steps)
    return settings


def _of_before(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded switches; those of records from before `ratio_axis` in today's terms."""
    switches = dict(recorded)
    if "ratio_axis" in switches:
        return switches
    if switches.get("rule") == "fixed" and switches.get("threshold") is None:
        switches["threshold"] = 0.24
    count = switches.pop("strengths", 1)  # so many noise strengths, .1 apart around the one named
    if count not in range(1, 6):
        raise SettingsError(f"strengths {count!r} is outside 1 ... 5")
    middle = switches.get("strength", 0.6)
    switches["strength"] = [min(max(middle + 0.1 * (i - (count - 1) / 2), 0.0), 1.0) for i in range(count)]
    return {"maps": 10, "strength_axis": "time", "edges": "guided", "solver": "ddim", "steps": 25, **switches}


def carried_mask(record: Provenance, kind: str) -> Mask | None:
    """Return a mask that the edit was given, from the record alone.

    Args:
        record: of the edit.
        kind: one of `MASKS`.

    Returns:
        The mask; None where the edit was given none, or one that was too large to carry.

    Raises:
        ProvenanceError: what the record carries is not the mask it tells of.
        MaskError: it is not a mask.
    """
    entry = _entry(record, kind)
    if entry is None or entry.get("png") is None:
        return None
    try:
        data = base64.b64decode(entry["png"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProvenanceError(f"the field mask.given_{kind}.png of the record is not base64") from error
    return _checked(Mask.recorded(data), entry, "the mask in the record", kind)


def _mask(record: Provenance, kind: str, path: Path | None) -> Mask | None:
    """Return a mask that the edit was given, from the file named now or from the record."""
    entry = _entry(record, kind)
    if path is None:
        mask = carried_mask(record, kind)
        if mask is None and entry is not None:
            raise ProvenanceError(f"the record is without its {kind}, too large to carry; give it with --{kind}")
        return mask
    if entry is None:
        raise ProvenanceError(f"--{kind} {path}: the recorded edit had none")
    return _checked(Mask.open(path), entry, str(path), kind)


def _entry(record: Provenance, kind: str) -> dict[str, Any] | None:
    entry = record.mask.get(f"given_{kind}")
    if entry is None or (isinstance(entry, dict) and isinstance(entry.get("png"), str | None)):
        return entry
    raise ProvenanceError(f"the field mask.given_{kind} of the record is not an object with a png")


def _checked(mask: Mask, entry: dict[str, Any], name: str, kind: str) -> Mask:
    if mask.digest() != entry.get("sha256"):
        raise ProvenanceError(f"{name} is not the recorded {kind}: the SHA-256 differs")
    return mask


def _lora(item: Any) -> tuple[str, float]:
    try:
        return str(item["source"]), float(item["scale"])
    except (TypeError, KeyError, ValueError) as error:
        raise ProvenanceError("the field model.loras of the record is not a list of source and scale") from error


def _embedding(item: Any) -> tuple[str, str]:
    try:
        return str(item["source"]), str(item["token"])
    except (TypeError, KeyError) as error:
        raise ProvenanceError("the field model.embeddings of the record is not a list of source and token") from error


def _same_pixels(one: bytes, other: bytes) -> bool:
    a, b = Picture.open(one), Picture.open(other)
    if (a.alpha is None) != (b.alpha is None):
        return False
    same_alpha = a.alpha is None or b.alpha is None or np.array_equal(a.alpha, b.alpha)
    return bool(np.array_equal(a.pixels, b.pixels) and same_alpha)
