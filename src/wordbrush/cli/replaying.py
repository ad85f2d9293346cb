"""Doing a recorded edit again: find the input, check that it is the recorded one, run, compare."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordbrush.cli.loading import ModelChoice, load_editor
from wordbrush.cli.outputs import check_free
from wordbrush.errors import ModelError, ProvenanceError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wordbrush.cli.terminal import Terminal
    from wordbrush.picture.picture import Picture
    from wordbrush.record.provenance import Provenance
    from wordbrush.region.mask import Mask
    from wordbrush.settings import Settings

__all__ = ["Replay"]

MASKS = ("mask", "include", "exclude")


@dataclass(frozen=True)
class Replay:
    """A recorded edit, ready to be done again; everything but the model has been checked."""

    file: Path
    record: Provenance
    picture: Picture
    settings: Settings
    masks: dict[str, Mask]
    output: Path
    force: bool

    @classmethod
    def of(
        cls, file: Path, source: Path | None, masks: Mapping[str, Path | None], output: Path | None, *, force: bool
    ) -> Replay:
        """Read the record and find what it needs.

        Raises:
            ProvenanceError: no record, texts withheld, or an input or mask that is not the recorded one.
            OutputError: the output exists already.
        """
        from wordbrush.record.provenance import read_provenance

        record = read_provenance(file)
        if not record.replayable:
            raise ProvenanceError(f"{file}: the texts were left out of the record, so it cannot be done again")
        target = output or file.with_name(f"{file.stem}-replay{file.suffix}")
        check_free([str(target)], force=force)
        picture = _find_input(file, record, source)
        given = {name: _find_mask(record, name, masks.get(name)) for name in MASKS}
        kept = {name: mask for name, mask in given.items() if mask is not None}
        return cls(file, record, picture, _settings(record), kept, target, force)

    def run(
        self,
        terminal: Terminal,
        model: str | None = None,
        loras: tuple[tuple[str, float], ...] = (),
        *,
        allow_download: bool,
        device: str | None,
    ) -> dict[str, Any]:
        """Edit again, write the file, and say how it compares.

        Raises:
            ModelError: the recorded model is not at hand.
        """
        from wordbrush.files import write_atomic
        from wordbrush.record.provenance import encode_image

        editor = load_editor(self._choice(terminal, model, loras, allow_download, device), terminal)
        if editor.model.identity.sha256 != self.record.model["sha256"]:
            name = self.record.model["name"]
            terminal.warn(f"the weights of {name} are not those of the record; the picture will differ")
        session = editor.open(self.picture, resolution=self.settings.resolution)
        record = self.record
        with terminal.stages() as callback:
            result = session.edit(
                record.query,
                record.reference,
                negative=record.negative,
                seed=record.seed,
                settings=self.settings,
                preset=record.preset,
                callback=callback,
                **self.masks,
            )
        data = encode_image(result.image, self.file.suffix, result.provenance)
        original = self.file.read_bytes()
        write_atomic(self.output, data, force=self.force)
        return {
            "schema": 1,
            "command": "replay",
            "file": str(self.file),
            "output": str(self.output),
            "identical": data == original,
            "same_pixels": data == original or _same_pixels(data, original),
            "same_weights": editor.model.identity.sha256 == record.model["sha256"],
            "other_packages": other_packages(record.packages, result.provenance.packages),
        }

    def _choice(
        self,
        terminal: Terminal,
        model: str | None,
        loras: tuple[tuple[str, float], ...],
        allow_download: bool,
        device: str | None,
    ) -> ModelChoice:
        recorded = self.record.model
        source = model or recorded["source"]
        if source is None:
            raise ModelError("the record does not say where its model came from; give it with --model")
        return ModelChoice(
            source,
            None if model else recorded["revision"] or None,
            allow_download,
            device or _present(recorded["device"], terminal),
            recorded["dtype"],
            loras or tuple(_lora(item) for item in recorded["loras"]),
        )


def _find_input(file: Path, record: Provenance, source: Path | None) -> Picture:
    from wordbrush.picture.picture import Picture

    name = record.input["name"]
    if source is None and not name:
        raise ProvenanceError(f"{file}: the record does not name its input; give it with --input")
    # Only a name next to the file is looked up: a forged record must not point anywhere else.
    path = source or file.with_name(Path(name.replace("\\", "/")).name)
    if not path.is_file():
        raise ProvenanceError(f"the recorded input {path} is not there; give it with --input")
    picture = Picture.open(path)
    if picture.sha256 != record.input["sha256"]:
        raise ProvenanceError(f"{path} is not the recorded input: its SHA-256 is {picture.sha256}")
    return dataclasses.replace(picture, name=name)


def _find_mask(record: Provenance, kind: str, given: Path | None) -> Mask | None:
    from wordbrush.region.mask import Mask

    entry = record.mask.get(f"given_{kind}")
    if entry is None:
        if given is not None:
            raise ProvenanceError(f"--{kind} {given}: the recorded edit had none")
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("png"), str | None):
        raise ProvenanceError(f"the field mask.given_{kind} of the record is not an object with a png")
    if given is None and entry.get("png") is None:
        raise ProvenanceError(f"the record is without its {kind}, which was too large to carry; give it with --{kind}")
    mask = Mask.open(given if given is not None else _bytes(entry["png"], kind))
    if mask.digest() != entry.get("sha256"):
        raise ProvenanceError(f"{given or 'the mask in the record'} is not the recorded {kind}: the SHA-256 differs")
    return mask


def _bytes(text: str, kind: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProvenanceError(f"the field mask.given_{kind}.png of the record is not base64") from error


def _settings(record: Provenance) -> Settings:
    from wordbrush.settings import Settings

    try:
        return Settings(**record.settings)
    except (TypeError, SettingsError) as error:
        raise ProvenanceError(f"the field settings of the record cannot be used: {error}") from error


def _lora(item: Any) -> tuple[str, float]:
    try:
        return str(item["source"]), float(item["scale"])
    except (TypeError, KeyError, ValueError) as error:
        raise ProvenanceError("the field model.loras of the record is not a list of source and scale") from error


def _present(device: str | None, terminal: Terminal) -> str | None:
    """Return the recorded device, or None (the best there is) where this machine has no such thing."""
    from wordbrush.models.model import resolve_device

    try:
        resolve_device(device)
    except SettingsError:
        terminal.warn(f"the record was made on {device}, which is not here; other hardware rounds otherwise")
        return None
    return device


def _same_pixels(one: bytes, other: bytes) -> bool:
    import numpy as np

    from wordbrush.picture.picture import Picture

    a, b = Picture.open(one), Picture.open(other)
    return a.pixels.shape == b.pixels.shape and bool(np.array_equal(a.pixels, b.pixels))


def other_packages(recorded: Mapping[str, str], here: Mapping[str, str]) -> dict[str, list[str | None]]:
    """Return the packages whose versions differ: name to [recorded, here]."""
    names = sorted(recorded.keys() | here.keys())
    return {name: [recorded.get(name), here.get(name)] for name in names if recorded.get(name) != here.get(name)}
