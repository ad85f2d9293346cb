"""The calls of the API, whoever brings them: a picture and words go in, files and a report come out; nothing is kept.

What came in is read by `asked`; `carry_out` runs the model.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from wordbrush.notation import edit_command, shell
from wordbrush.record.provenance import encode_image
from wordbrush.region.mask import Mask
from wordbrush.web.api.fields import Field, fields_of
from wordbrush.web.api.requests import MASKS, SWITCHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wordbrush.web.api.requests import Asked
    from wordbrush.web.state.work import Job
    from wordbrush.web.workbench import Bench

__all__ = ["CALLS", "Answer", "Call"]

REGION = ("picture", "query", "reference", "seed", "model", "preset")


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


# ---- what each call does


def _edit(bench: Bench, asked: Asked, job: Job) -> Answer:
    result = asked.run(bench, job)
    data = encode_image(result.image, ".png", result.provenance)
    report = {
        **result.report.as_dict(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "command": _command(bench, asked),
        "provenance": json.loads(result.provenance.to_json()),
    }
    return Answer({"edit.png": data, "mask.png": _grey(result.mask)}, {"report": report})


def _find(bench: Bench, asked: Asked, job: Job) -> Answer:
    result = asked.run(bench, job, ratio=0.0)  # nothing is repainted
    report = {**result.report.as_dict(), "mask_sha256": result.mask.digest()}
    return Answer({"mask.png": _grey(result.mask)}, {"report": report})


def _contrast(bench: Bench, asked: Asked, job: Job) -> Answer:
    result = asked.run(bench, job, ratio=0.0)
    cells, spread = result.contrast_map, result.contrast
    if cells is None or spread is None:
        raise RuntimeError("there is no contrast, although no mask was given")
    soft = [[round(float(cell), 6) for cell in row] for row in cells.soft]
    picture = encode_image(Mask(spread).to_image(), ".png", None)
    return Answer({"contrast.png": picture}, {"cells": soft, "report": result.report.as_dict()})


def _grey(mask: Mask) -> bytes:
    """Return the file that `Mask.save` writes."""
    buffer = io.BytesIO()
    mask.to_image().save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _command(bench: Bench, asked: Asked) -> str:
    name = asked.picture.name or "picture.png"
    words = edit_command(
        picture=name,
        query=asked.query,
        reference=asked.reference,
        negative=asked.negative,
        seed=asked.seed,
        preset=asked.preset,
        settings=asked.settings,
        **bench.models.flags(asked.model),
        output=f"{PurePosixPath(name).stem}-edit.png",
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
        "Repaint the part of a picture that two texts disagree about, and leave every other pixel as it was. The "
        "result has the very bytes that the command in the report writes, with the record of what was done inside.",
        (*REGION, "negative", *SWITCHED, *MASKS, "switches", "check_inversion"),
        {
            "edit.png": "The edited picture, a PNG with its record.",
            "mask.png": "What was edited: a grey PNG, white = edited.",
        },
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
