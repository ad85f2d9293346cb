"""The HTTP API: the calls of `calls` as named endpoints of the page's application, for `gradio_client` and plain HTTP.

Each has hidden components that only carry its types, and waits in the same queue as the page's own work.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.context import LocalContext
from gradio.data_classes import FileData

from wordbrush.errors import WordbrushError
from wordbrush.web.api.calls import CALLS, SORRY, keep, perform
from wordbrush.web.gate.log import fault
from wordbrush.web.gate.queue import DEVICE
from wordbrush.web.gate.uploads import Upload, Uploads, fence

if TYPE_CHECKING:
    from wordbrush.web.api.calls import Call
    from wordbrush.web.api.fields import Field
    from wordbrush.web.workbench import Workbench

__all__ = ["add_endpoints"]

LOOK_SECONDS = 0.5
"""How often a running call looks whether whoever asked is still there."""

META = {"_type": "gradio.FileData"}
FILE_SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "what the upload answered"},
        "orig_name": {"type": "string", "description": "the file's name, as records tell it"},
        "meta": {"type": "object", "properties": {"_type": {"const": META["_type"]}}, "required": ["_type"]},
    },
    "required": ["path", "meta"],
}


def add_endpoints(workbench: Workbench) -> None:
    """Add the endpoints to the page that is being built."""
    uploads = Uploads(workbench.files, workbench.options.limits.file_bytes)
    for call in CALLS:
        with gr.Row(visible=False):
            inputs = [_input(one, uploads) for one in call.inputs(workbench)]
            outputs = [_file(name, text, uploads) for name, text in call.files.items()]
            outputs += [_value(name, schema) for name, schema in call.values.items()]
            gr.Button(call.name).click(
                _handler(call, workbench, uploads), inputs, outputs, api_name=call.name, api_description=call.help,
                api_visibility="public", concurrency_id=DEVICE, concurrency_limit=1, show_progress="hidden",
            )  # fmt: skip


def _handler(call: Call, workbench: Workbench, uploads: Uploads) -> Callable[..., Any]:
    """Return the function that Gradio runs: its signature and docstring name the inputs."""
    fields = call.inputs(workbench)

    def read(file: FileData) -> Upload:
        return uploads.read(file.path, file.orig_name)

    async def run(*inputs: Any) -> list[Any]:
        *of_fields, progress = inputs
        values, stop = dict(zip((f.name for f in fields), of_fields, strict=True)), threading.Event()

        async def tell(stage: Mapping[str, Any]) -> None:
            progress((stage["done"], stage["total"]), desc=stage["label"])

        watch = asyncio.create_task(_stop_when_alone(stop))
        try:
            answer = await perform(call, workbench, values, read, stop, tell)
            return [*await asyncio.to_thread(keep, workbench, answer), *answer.values.values()]
        except WordbrushError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            fault(f"the call {call.name}", error)
            raise gr.Error(SORRY, print_exception=False) from error
        finally:
            watch.cancel()

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty = inspect.Parameter.empty
    parameters = [inspect.Parameter(f.name, kind, default=empty if f.required else f.default) for f in fields]
    parameters.append(inspect.Parameter("progress", kind, default=gr.Progress()))
    run.__name__ = run.__qualname__ = call.name
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__doc__ = "\n".join([call.help, "", "Args:", *(f"    {f.name}: {f.help}" for f in fields)])
    return run


async def _stop_when_alone(stop: threading.Event) -> None:
    """Stop the work when the client has gone. Gradio marks such a call, but lets it run to its end."""
    page, id_ = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if page is None or id_ is None:
        return

    def alone() -> bool:
        return any(not event.alive for batch in page._queue.active_jobs for event in batch or () if event._id == id_)

    while not alone():
        await asyncio.sleep(LOOK_SECONDS)
    stop.set()


# ---- components: they carry types; what comes in is checked by `fields`, not by them


def _input(one: Field, uploads: Uploads) -> Any:
    part: Any
    value = None if one.required else one.default
    if one.kind == "file":
        part = gr.File(label=one.name)
        fence(part, uploads)
        schema = {**FILE_SCHEMA, "description": one.help}
    else:
        if one.choices:
            part = gr.Dropdown(list(one.choices), value=value, label=one.name)
        elif one.kind == "string":
            part = gr.Textbox(value, label=one.name)
        elif one.kind == "boolean":
            part = gr.Checkbox(bool(value), label=one.name)
        else:
            part = gr.Number(value, label=one.name)
        schema = one.schema()
    schema["additional_description"] = one.help  # what `view_api` of gradio_client shows
    part.api_info = lambda: schema
    part.preprocess = lambda payload: payload
    example = one.default if one.example is None else one.example
    part.example_payload = lambda: {"path": example, "meta": META} if one.kind == "file" and example else example
    return part


def _file(name: str, text: str, uploads: Uploads) -> Any:
    part: Any = gr.File(label=Path(name).stem)
    fence(part, uploads)
    part.api_info = lambda: {**FILE_SCHEMA, "description": text}
    part.postprocess = lambda place: FileData(path=place, orig_name=name, size=Path(place).stat().st_size)
    return part


def _value(name: str, schema: dict[str, Any]) -> Any:
    part: Any = gr.JSON(label=name)
    part.api_info = lambda: schema
    return part
