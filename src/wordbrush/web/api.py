"""The HTTP API: the calls of `calls` as named endpoints of the page's application, for `gradio_client` and plain HTTP.

Each has hidden components that only carry its types, and waits in the same queue as the page's own work.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.context import LocalContext
from gradio.data_classes import FileData

from wordbrush.errors import WordbrushError
from wordbrush.web.calls import CALLS, Asked
from wordbrush.web.jobs import Done, run_job
from wordbrush.web.queueing import DEVICE
from wordbrush.web.uploads import Upload, Uploads, fence

if TYPE_CHECKING:
    from wordbrush.web.bench import Bench
    from wordbrush.web.calls import Answer, Call
    from wordbrush.web.fields import Field

__all__ = ["SORRY", "add_api", "keep", "perform"]

SORRY = "something went wrong on the server; its log says what"
LOOK_SECONDS = 0.5
"""How often a running call looks whether whoever asked is still there."""

_LOG = logging.getLogger(__name__)


def add_api(bench: Bench) -> None:
    """Add the endpoints to the page that is being built."""
    uploads = Uploads(bench.files, bench.options.limits.file_bytes)
    for call in CALLS:
        with gr.Row(visible=False):
            inputs = [_input(one, uploads) for one in call.inputs(bench)]
            outputs = [_file(name, text, uploads) for name, text in call.files.items()]
            outputs += [_value(name, schema) for name, schema in call.values.items()]
            gr.Button(call.name).click(
                _handler(call, bench, uploads), inputs, outputs, api_name=call.name, api_description=call.help,
                api_visibility="public", concurrency_id=DEVICE, concurrency_limit=1, show_progress="hidden",
            )  # fmt: skip


async def perform(
    call: Call,
    bench: Bench,
    values: dict[str, Any],
    read: Callable[[str], Upload],
    stops: set[threading.Event],
) -> AsyncIterator[dict[str, Any] | Done[Answer]]:
    """Carry a call out in the device's thread; yields states as `run_job` does, and last the answer.

    Args:
        call: which.
        bench: does the work.
        values: inputs by name, as they came in.
        read: gives the file that an input names.
        stops: where the event that stops it is kept.

    Raises:
        WordbrushError: whatever is wrong with the inputs, before the device is asked; or whatever stops the work.
    """
    asked = await asyncio.to_thread(Asked.of, call, values, bench, read)
    work = run_job(bench.models.device, lambda job: call.carry_out(bench, asked, job), stops, previews=False)
    async with contextlib.aclosing(work):
        async for state in work:
            yield state


def keep(bench: Bench, answer: Answer) -> list[str]:
    """Write the files of an answer below a name that nobody can guess; return their places."""
    folder = bench.files / "results" / secrets.token_urlsafe(32)
    folder.mkdir(mode=0o700, parents=True)
    for name, data in answer.files.items():
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in answer.files]


def _handler(call: Call, bench: Bench, uploads: Uploads) -> Callable[..., Any]:
    """Return what Gradio runs: a function with the inputs as parameters, told by signature and docstring."""
    fields = call.inputs(bench)
    names = {}

    def read(text: str) -> Upload:
        return uploads.read(text, names.get(text))

    async def run(*given: Any) -> list[Any]:
        *values, progress = given
        try:
            answer = await _watched(call, bench, dict(zip((f.name for f in fields), values, strict=True)), progress)
            return [*await asyncio.to_thread(keep, bench, answer), *answer.values.values()]
        except WordbrushError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            _LOG.exception("the call %s failed", call.name)
            raise gr.Error(SORRY, print_exception=False) from error

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    empty = inspect.Parameter.empty
    parameters = [inspect.Parameter(f.name, kind, default=empty if f.required else f.default) for f in fields]
    parameters.append(inspect.Parameter("progress", kind, default=gr.Progress()))
    run.__name__ = run.__qualname__ = call.name
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__doc__ = "\n".join([call.help, "", "Args:", *(f"    {f.name}: {f.help}" for f in fields)])
    return run
