"""The calls of the API, whoever brings them: a picture and words go in, files and a report come out; nothing is kept.

Reading what came in (`Asked.of`) refuses whatever can be refused before the device is asked; `carry_out` runs the model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wordbrush.commands import edit_command, shell
from wordbrush.errors import InputError, MaskError, PictureError, SettingsError
from wordbrush.mask import Mask
from wordbrush.picture import Picture
from wordbrush.provenance import encode_image
from wordbrush.settings import Settings
from wordbrush.web.fields import MOST_STEPS, Field, fields_of
from wordbrush.web.orders import parse_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wordbrush.result import EditResult
    from wordbrush.web.bench import Bench
    from wordbrush.web.jobs import Job
    from wordbrush.web.uploads import Upload

__all__ = ["CALLS", "Answer", "Asked", "Call"]

REGION = ("picture", "query", "reference", "seed", "model", "preset")
SWITCHED = ("ratio", "guidance", "steps", "threshold")
MASKS = ("mask", "include", "exclude")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one call asks for, read and checked.

    Attributes:
        picture: under the name the sender gave it.
        query: what it should show.
        reference: what it shows now.
        negative: what the result should not show.
        seed: of the noises.
        model: one of the operator's names.
        preset: the set of switches it started from.
        settings: all switches.
        masks: by `MASKS`, those that were given; and `mask_names`, what the sender calls them.
        check_inversion: measure the reconstruction error, too.
    """

    picture: Picture
    query: str
    reference: str
    negative: str
    seed: int
    model: str
    preset: str
    settings: Settings
    masks: Mapping[str, Mask]
    mask_names: Mapping[str, str]
    check_inversion: bool

    @classmethod
    def of(cls, call: Call, values: Mapping[str, Any], bench: Bench, read: Callable[[str], Upload]) -> Asked:
        """Read the inputs of a call.

        Args:
            call: which.
            values: by name of the input, as they came in.
            bench: for the models there are, and the limits.
            read: gives the file that an input names.

        Raises:
            InputError: a file that is not there, or is refused.
            SettingsError: anything else that is missing, out of range, or unknown.
        """
        known = fields_of(bench.models.names)
        rest = {name: one.default for name, one in known.items()}
        given = {one.name: one.read(values.get(one.name)) for one in call.inputs(bench)}
        asked = {**rest, **given}
        settings = _settings(asked)
        files = {name: read(asked[name]) for name in ("picture", *MASKS) if asked[name] is not None}
        return cls(
            picture=_picture(files.pop("picture"), bench),
            settings=settings,
            masks={name: _mask(name, file) for name, file in files.items()},
            mask_names={name: file.name for name, file in files.items()},
            **{name: asked[name] for name in (*REGION[1:], "negative", "check_inversion")},
        )

    def run(self, bench: Bench, job: Job, **changes: Any) -> EditResult:
        """Edit, with some settings set otherwise. Runs in the device's thread.

        Raises:
            WordbrushError: whatever stops it.
        """
        editor = bench.models.editor(self.model)
        limit = bench.options.limits.session_bytes
        session = editor.open(self.picture, resolution=self.settings.resolution, memory_limit=limit)
        return session.edit(
            self.query,
            self.reference,
            negative=self.negative,
            seed=self.seed,
            settings=self.settings.changed(**changes),
            preset=self.preset,
            check_inversion=self.check_inversion,
            callback=job.on_event,
            **self.masks,
        )


@dataclass(frozen=True)
class Answer:
    """What a call gives.

    Attributes:
        files: PNG bytes by name.
        values: further outputs as JSON, by name; the last one is the report.
    """

    files: Mapping[str, bytes] = field(repr=False)
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One call of the API.

    Attributes:
        name: of the endpoint and the tool.
        help: what it does, in a few sentences.
        takes: names of its inputs.
        files: its output files: name to what it is.
        values: its further outputs: name to JSON schema.
        work: does it, in the device's thread.
    """

    name: str
    help: str
    takes: Sequence[str]
    files: Mapping[str, str]
    values: Mapping[str, dict[str, Any]]
    work: Callable[[Bench, Asked, Job], Answer] = field(repr=False)

    def inputs(self, bench: Bench) -> list[Field]:
        """Return its inputs in order."""
        known = fields_of(bench.models.names)
        return [known[name] for name in self.takes]

    def carry_out(self, bench: Bench, asked: Asked, job: Job) -> Answer:
        """Do what was asked. Runs in the device's thread.

        Raises:
            WordbrushError: whatever stops it; `Cancelled` where it was stopped.
        """
        job.start(self.name)
        return self.work(bench, asked, job)


def _settings(asked: Mapping[str, Any]) -> Settings:
    switches = parse_flags(asked["switches"], ())
    for name in SWITCHED:
        if asked[name] is not None:
            if name in switches:
                raise SettingsError(f"{name} is given twice: as an input, and in the further switches")
            switches[name] = asked[name]
    settings = Settings.from_preset(asked["preset"], **switches)
    if settings.steps > MOST_STEPS:
        raise SettingsError(f"steps {settings.steps}: at most {MOST_STEPS} here")
    return settings


def _picture(file: Upload, bench: Bench) -> Picture:
    limits = bench.options.limits
    try:
        opened = Picture.open(file.data, max_pixels=limits.pixels, max_bytes=limits.file_bytes)
    except PictureError as error:
        raise PictureError(f"{file.name}: {error}") from error
    return dataclasses.replace(opened, name=file.name)


def _mask(name: str, file: Upload) -> Mask:
    try:
        return Mask.open(file.data).rounded()
    except InputError as error:
        raise MaskError(f"{name}: {error}") from error


# ---- what each call does


def _edit(bench: Bench, asked: Asked, job: Job) -> Answer:
    result = asked.run(bench, job)
    data = encode_image(result.image, ".png", result.provenance)
    report = {
        **result.report.as_dict(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "command": _command(asked),
        "provenance": json.loads(result.provenance.to_json()),
    }
    return Answer({"edit.png": data, "mask.png": result.mask.png_bytes()}, {"report": report})


def _find(bench: Bench, asked: Asked, job: Job) -> Answer:
    result = asked.run(bench, job, ratio=0.0)  # nothing is repainted
    report = {**result.report.as_dict(), "mask_sha256": result.mask.digest()}
    return Answer({"mask.png": result.mask.png_bytes()}, {"report": report})


def _contrast(bench: Bench, asked: Asked, job: Job) -> Answer:
    result = asked.run(bench, job, ratio=0.0)
    cells = result.contrast_map
    assert cells is not None and result.contrast is not None, "no mask is an input of this call"  # noqa: S101, PT018
    soft = [[round(float(cell), 6) for cell in row] for row in cells.soft]
    return Answer({"contrast.png": _grey(result.contrast)}, {"cells": soft, "report": result.report.as_dict()})


def _grey(values: Any) -> bytes:
    import numpy as np
    from PIL import Image

    image = Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))
    return encode_image(image, ".png", None)


def _command(asked: Asked) -> str:
    words = edit_command(
        picture=asked.picture.name or "picture.png",
        query=asked.query,
        reference=asked.reference,
        negative=asked.negative,
        seed=asked.seed,
        preset=asked.preset,
        settings=asked.settings,
        model=asked.model,
        output="edit.png",
        **asked.mask_names,
    )
    return shell(words)


# ---- what they are, for whoever calls them

_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_REPORT: dict[str, Any] = {
    "seed": {"type": "integer", "description": "the seed"},
    "timings": {**_NUMBERS, "description": "seconds by stage"},
    "evaluations": {**_NUMBERS, "description": "network evaluations by stage"},
    "mask_area": {"type": "number", "description": "share of the picture inside the mask, 0 to 1"},
    "near_threshold": {"type": "integer", "description": "cells that other hardware may decide otherwise"},
    "reconstruction_error": {"anyOf": [{"type": "number"}, {"type": "null"}], "description": "if it was measured"},
    "reused": {"type": "array", "items": {"type": "string"}, "description": "always empty here: nothing is kept"},
    "warnings": {"type": "array", "items": {"type": "string"}, "description": "what the user should know"},
}


def _report(description: str, **more: dict[str, Any]) -> dict[str, Any]:
    properties = {**_REPORT, **more}
    return {"type": "object", "description": description, "properties": properties, "required": list(properties)}


_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$"}

CALLS = (
    Call(
        "edit",
        "Repaint the part of a picture that two texts disagree about, and leave every other pixel as it was. The result "
        "has the very bytes that the command in the report writes, with the record of what was done inside.",
        (*REGION, "negative", *SWITCHED, *MASKS, "switches", "check_inversion"),
        {"edit.png": "The edited picture, a PNG with its record.", "mask.png": "What was edited: a grey PNG, white = edited."},
        {
            "report": _report(
                "What the edit cost, found, and is made by.",
                sha256={**_DIGEST, "description": "of the edited picture's file"},
                command={"type": "string", "description": "the command that writes the same file"},
                provenance={"type": "object", "description": "the record in the file"},
            )
        },
        _edit,
    ),
    Call(
        "mask",
        "Find the region that two texts disagree about, without an edit.",
        (*REGION, "threshold", "include", "exclude", "switches"),
        {"mask.png": "The region: a grey PNG of the picture's size, white = to be edited."},
        {
            "report": _report(
                "What finding the region cost and found.",
                mask_sha256={**_DIGEST, "description": "of the mask's values, as records hold it"},
            )
        },
        _find,
    ),
    Call(
        "contrast",
        "Measure how much two texts disagree at each place of a picture: the soft map that a mask is cut from.",
        (*REGION, "switches"),
        {"contrast.png": "The soft map: a grey PNG of the picture's size, white = 1."},
        {
            "cells": {
                "type": "array",
                "description": "The soft map by latent cells, rows from the top, each 0 to 1.",
                "items": {"type": "array", "items": {"type": "number"}},
            },
            "report": _report("What the contrast cost; mask_area is what its mask would have."),
        },
        _contrast,
    ),
)  # fmt: skip
"""The calls there are."""
