"""The calls of the API, over HTTP or MCP: a picture and words go in, files and a report come out; nothing is kept.

`perform` reads what came in and lets the call run the model; `keep` writes its files for the caller to fetch.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import secrets
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from wordbrush.errors import SettingsError
from wordbrush.record.provenance import encode_image
from wordbrush.record.replay import MASKS
from wordbrush.region.mask import Mask
from wordbrush.web.api.fields import Field, fields_of
from wordbrush.web.api.request import SWITCHED, CallRequest
from wordbrush.web.gate.log import SORRY
from wordbrush.web.state.request import command_of
from wordbrush.web.state.work import Done, run_work

if TYPE_CHECKING:
    from wordbrush.result import EditResult
    from wordbrush.web.gate.uploads import Upload
    from wordbrush.web.state.work import Work
    from wordbrush.web.workbench import Workbench

__all__ = ["CALLS", "SORRY", "Answer", "Call", "keep", "known_inputs", "perform"]

REGION = ("picture", "query", "reference", "seed", "model", "preset")


@dataclass(frozen=True)
class Answer:
    """The outputs of a call.

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
        run: does it, in the device's thread; raises a WordbrushError for whatever stops it.
    """

    name: str
    help: str
    takes: Sequence[str]
    files: Mapping[str, str]
    values: Mapping[str, dict[str, Any]]
    run: Callable[[Workbench, CallRequest, Work], Answer] = field(repr=False)

    def inputs(self, workbench: Workbench) -> list[Field]:
        """Return its inputs in order."""
        fields = fields_of(workbench.models.names)
        return [fields[name] for name in self.takes]


def known_inputs(call: Call, values: Mapping[str, Any]) -> None:
    """Check that a call is given nothing it does not take.

    Raises:
        SettingsError: it is; the sentence names it, and what the call takes.
    """
    unknown = sorted(values.keys() - set(call.takes))
    if unknown:
        raise SettingsError(f"unknown input {unknown[0][:40]!r} of {call.name}: known are {', '.join(call.takes)}")


async def perform(
    call: Call,
    workbench: Workbench,
    values: Mapping[str, Any],
    read: Callable[[Any], Upload],
    stop: threading.Event,
    tell: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> Answer:
    """Carry a call out in the device's thread; being cancelled stops the work at its next step.

    Args:
        call: which.
        workbench: does the work.
        values: inputs by name, as they came in.
        read: gives the file that an input names.
        stop: set to stop the work.
        tell: takes how far the present stage is: label, done and total.

    Raises:
        WordbrushError: whatever is wrong with the inputs, before the device is asked; or whatever stops the work.
    """
    names, limits = workbench.models.names, workbench.options.limits
    known_inputs(call, values)

    def opened() -> CallRequest:
        with workbench.turns.turn():
            return CallRequest.of(call.inputs(workbench), values, names, limits, read)

    request = await asyncio.to_thread(opened)

    def run(work: Work) -> Answer:
        work.start(call.name)
        return call.run(workbench, request, work)

    async with contextlib.aclosing(run_work(workbench.models.device, run, stop, previews=False)) as states:
        async for state in states:
            if isinstance(state, Done):
                return state.value
            if state["stages"]:
                await tell(state["stages"][-1])
    raise RuntimeError("the work gave no answer")


def keep(workbench: Workbench, answer: Answer) -> list[str]:
    """Write the files of an answer below a name that nobody can guess; return their places."""
    folder = workbench.files / "results" / secrets.token_urlsafe(32)
    folder.mkdir(mode=0o700, parents=True)
    for name, data in answer.files.items():
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in answer.files]


# ---- what each call does


def _edit(workbench: Workbench, request: CallRequest, work: Work) -> Answer:
    result = workbench.edit(request.edit, request.model, request.preset, work)
    data = encode_image(result.image, ".png", result.provenance)
    output = f"{PurePosixPath(request.edit.picture.name or 'picture.png').stem}-edit.png"
    model = workbench.models.flags(request.model)
    report = {
        **result.report.as_dict(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "command": command_of(
            request.edit, preset=request.preset, model=model, output=output, masks=request.mask_names
        ),
        "provenance": json.loads(result.provenance.to_json()),
    }
    return Answer({"edit.png": data, "mask.png": result.mask.grey_png()}, {"report": report})


def _find(workbench: Workbench, request: CallRequest, work: Work) -> Answer:
    result = _unpainted(workbench, request, work)
    report = {**result.report.as_dict(), "mask_sha256": result.mask.digest()}
    return Answer({"mask.png": result.mask.grey_png()}, {"report": report})


def _contrast(workbench: Workbench, request: CallRequest, work: Work) -> Answer:
    result = _unpainted(workbench, request, work)
    contrast = result.contrast
    if contrast is None:
        raise RuntimeError("there is no contrast, although no mask was given")
    soft = [[round(float(cell), 6) for cell in row] for row in contrast.soft]
    spread = encode_image(Mask(contrast.on_picture(result.fit)).to_image(), ".png", None)
    return Answer({"contrast.png": spread}, {"cells": soft, "report": result.report.as_dict()})


def _unpainted(workbench: Workbench, request: CallRequest, work: Work) -> EditResult:
    """Find the region alone: at ratio 0 nothing is repainted."""
    settings = request.edit.settings and request.edit.settings.changed(ratio=0.0)
    return workbench.edit(dataclasses.replace(request.edit, settings=settings), request.model, request.preset, work)


# ---- what they are, for whoever calls them

_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_REPORT: dict[str, Any] = {
    "seed": {"type": "integer", "description": "the seed"},
    "timings": {**_NUMBERS, "description": "seconds by stage"},
    "evaluations": {**_NUMBERS, "description": "network evaluations by stage"},
    "mask_area": {"type": "number", "description": "share of the picture inside the mask, 0 to 1"},
    "real_ratio": {"type": "number", "description": "the encoding ratio in whole steps of the grid, 0 to 1"},
    "near_threshold": {"type": "integer", "description": "cells that other hardware may decide otherwise"},
    "reconstruction_error": {"anyOf": [{"type": "number"}, {"type": "null"}], "description": "if it was measured"},
    "noise": {"anyOf": [{"type": "number"}, {"type": "null"}], "description": "noise that the inversion found"},
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
