"""The addresses of batches, below `/wordbrush/batch`: what each takes, does and answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from wordbrush.errors import ResourceError, SettingsError, WordbrushError
from wordbrush.web.api.admission import parsed
from wordbrush.web.api.batch_request import FILES, TooLargeError, fields_of_batch
from wordbrush.web.api.batch_views import archive, files_of, item, items, table, view
from wordbrush.web.api.endpoints import FILE_SCHEMA
from wordbrush.web.gate.bodies import Refusal
from wordbrush.web.state.share import CALLER

if TYPE_CHECKING:
    from wordbrush.web.api.batches import Batches, Job
    from wordbrush.web.options import Limits

__all__ = ["add_batches", "schema_of_batch"]

LOOK_SECONDS = 0.25
"""How often the stream of events looks how far a batch is."""

HEARTBEAT_SECONDS = 15.0
"""How long the stream is silent at most, so that no proxy closes it."""

_GONE = Refusal(404, "there is no such batch or item, or it was dropped")


def add_batches(router: APIRouter, batches: Batches) -> None:
    """Add the addresses to the router of `/wordbrush`."""
    _add_running(router, batches)
    _add_results(router, batches)


def _add_running(router: APIRouter, batches: Batches) -> None:
    limits, names = batches.workbench.options.limits, batches.workbench.models.names

    @router.get("/batch")
    def schema() -> Response:
        return JSONResponse(schema_of_batch(names, limits))

    @router.post("/batch")
    async def start(request: Request) -> Response:
        body, caller = await request.body(), request.scope[CALLER]
        return await run_in_threadpool(_answered, lambda: JSONResponse(view(batches.start(caller, parsed(body)))))

    @router.get("/batch/{id_}")
    def how_far(id_: str) -> Response:
        return _of(batches, id_, lambda job: JSONResponse(view(job)))

    @router.get("/batch/{id_}/events")
    def events(id_: str) -> Response:
        return _of(batches, id_, lambda job: StreamingResponse(_events(job), media_type="text/event-stream"))

    @router.post("/batch/{id_}/cancel")
    def cancel(id_: str) -> Response:
        def stopped(job: Job) -> Response:
            job.stop.set()
            return JSONResponse(view(job))

        return _of(batches, id_, stopped)

    @router.post("/batch/{id_}/run")
    async def go_on(id_: str, request: Request) -> Response:
        body = await request.body()

        def again(job: Job) -> Response:
            asked = parsed(body or b"{}")
            if asked.keys() - {"retry_failed"} or not isinstance(asked.get("retry_failed", False), bool):
                raise SettingsError("the body may hold retry_failed, true or false, and nothing else")
            batches.go_on(job, retry_failed=asked.get("retry_failed", False))
            return JSONResponse(view(job))

        return await run_in_threadpool(_of, batches, id_, again)

    @router.delete("/batch/{id_}")
    def drop(id_: str) -> Response:
        def dropped(job: Job) -> Response:
            batches.drop(job)
            return JSONResponse({"batch": job.id, "state": "deleted"})

        return _of(batches, id_, dropped)


def _add_results(router: APIRouter, batches: Batches) -> None:
    @router.get("/batch/{id_}/items")
    def page(id_: str, start: str = "0", count: str = "100", state: str | None = None) -> Response:
        def found(job: Job) -> Response:
            return JSONResponse({"batch": id_, "items": items(job, start, count, state)})

        return _of(batches, id_, found)

    @router.get("/batch/{id_}/items.jsonl")
    def lines(id_: str) -> Response:
        return _of(batches, id_, lambda job: _stream(table(job), "application/jsonl", "items.jsonl"))

    @router.get("/batch/{id_}/results.zip")
    def pack(id_: str) -> Response:
        return _of(batches, id_, lambda job: _stream(archive(job), "application/zip", "results.zip"))

    @router.get("/batch/{id_}/item/{key}")
    def one(id_: str, key: str) -> Response:
        def found(job: Job) -> Response:
            told = item(job, key)
            return _refused(_GONE) if told is None else JSONResponse(told)

        return _of(batches, id_, found)

    @router.get("/batch/{id_}/item/{key}/{which}")
    def file(id_: str, key: str, which: str) -> Response:
        def found(job: Job) -> Response:
            told = item(job, key)
            path = files_of(job, told).get(which) if told else None
            return FileResponse(path, filename=path.name) if path and path.is_file() else _refused(_GONE)

        return _of(batches, id_, found)


def _of(batches: Batches, id_: str, answer: Callable[[Job], Response]) -> Response:
    job = batches.find(id_)
    return _refused(_GONE) if job is None else _answered(lambda: answer(job), job.plain)


def _answered(answer: Callable[[], Response], plain: Callable[[str], str] = str) -> Response:
    try:
        return answer()
    except WordbrushError as error:
        busy, large = isinstance(error, ResourceError), isinstance(error, TooLargeError)
        status, headers = (503, ((b"retry-after", b"5"),)) if busy else (413 if large else 422, ())
        return _refused(Refusal(status, plain(str(error)), headers))


def _refused(refusal: Refusal) -> Response:
    headers = {name.decode(): value.decode() for name, value in refusal.headers}
    return JSONResponse(refusal.contents(), refusal.status, headers)


def _stream(parts: Any, kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
    return StreamingResponse(parts, media_type=kind, headers=headers)


async def _events(job: Job) -> AsyncIterator[str]:
    """Yield server-sent events: `progress` whenever more is known, and last `complete`."""
    before, silent = None, 0.0
    while True:
        ended = job.ended is not None or job.dropped  # before it is looked at, so that the last look sees all
        now = (ended, job.state, job.progress)
        if now != before:  # the ledger is read for news alone, however many listen
            told = json.dumps(await run_in_threadpool(view, job))
            yield f"event: {'complete' if ended else 'progress'}\ndata: {told}\n\n"
            before, silent = now, 0.0
        elif silent >= HEARTBEAT_SECONDS:
            yield ": still going on\n\n"
            silent = 0.0
        if ended:
            return
        await asyncio.sleep(LOOK_SECONDS)
        silent += LOOK_SECONDS


# ---- what it takes, for whoever calls it


def schema_of_batch(models: Sequence[str], limits: Limits) -> dict[str, Any]:
    """Return the JSON schema of a request for a batch."""
    fields = fields_of_batch(models)
    text = {"type": "string", "description": "what the upload answered, or a data:image/png;base64, address"}
    file = {"anyOf": [text, FILE_SCHEMA]}
    properties = {
        name: {**file, "description": one.help} if one.kind == "file" else one.schema() for name, one in fields.items()
    }
    properties["seed"] = {**properties["seed"], "type": ["string", "integer"]}
    columns = "query or to, reference or from, negative, seed, preset, output, check_inversion, settings, any switch"
    of_item: Mapping[str, Any] = {
        "type": "object",
        "description": f"An edit: files, and {columns}; any other column is data that texts and names may name.",
        "properties": dict.fromkeys(FILES, file),
        "required": ["picture"],
    }
    every = {"type": "array", "description": "The items.", "items": of_item, "minItems": 1}
    return {
        "type": "object",
        "description": "A batch of edits, as wordbrush.batch takes it; POST /wordbrush/batch.",
        "properties": {"items": {**every, "maxItems": limits.batch_items}, **properties},
        "required": ["items"],
        "additionalProperties": False,
    }
