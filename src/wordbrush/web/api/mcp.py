"""The calls of the API as MCP tools over streamable HTTP.

Gradio can serve its endpoints as tools, too, but as a client of its own server, at the address that the request's Host
header names, and with pictures encoded anew, so that their records are lost. These tools run in the server itself and
hand out the very bytes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.responses import Response
from starlette.routing import Route

from wordbrush.errors import ResourceError, SettingsError, WordbrushError
from wordbrush.web.api.calls import CALLS, SORRY, keep, known_inputs, perform
from wordbrush.web.gate.addresses import FILE
from wordbrush.web.gate.guard import OTHER_BODY
from wordbrush.web.gate.log import fault
from wordbrush.web.gate.uploads import Upload, Uploads
from wordbrush.web.state.share import CALLER, Caller

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

    from wordbrush.web.api.calls import Answer, Call
    from wordbrush.web.workbench import Workbench

__all__ = ["PLACE", "add_tools"]

PLACE = "/gradio_api/mcp"
"""Where the tools are; Gradio's own would be at the same address."""

SEEN_BYTES = 1_000_000
"""Largest picture that is put into an answer for the caller to see; of a larger one the answer has the address only."""

HOW = (
    "Give what an upload to POST /gradio_api/upload (multipart, field `files`) answered, or a data:image/png;base64, "
    "address."
)


def add_tools(app: FastAPI, workbench: Workbench) -> None:
    """Serve the tools; call it before the page is mounted, which takes every address that is left.

    Args:
        app: the application; its lifespan is extended.
        workbench: does the work.
    """
    tools, server = Tools(workbench), Server[Any, Any]("wordbrush")
    server.list_tools()(tools.listed)  # type: ignore[no-untyped-call]
    server.call_tool(validate_input=False)(tools.call)  # the fields say what is wrong in a better sentence
    tools.server = server
    manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=OTHER_BODY)

    class Endpoint:
        """An ASGI application, so that Starlette hands everything through."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] == "POST":
                await manager.handle_request(scope, receive, send)
            else:  # there are no sessions, so there is nothing to listen to or to end
                await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)

    app.router.routes += [Route(path, Endpoint()) for path in (PLACE, PLACE + "/")]
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with manager.run(), inner(app) as state:
            yield state

    app.router.lifespan_context = lifespan


class Tools:
    """The handlers of the MCP server: they list the tools and carry them out.

    Args:
        workbench: does the work.

    Attributes:
        server: knows the request that is being answered.
    """

    def __init__(self, workbench: Workbench) -> None:
        self.workbench, self.calls = workbench, {call.name: call for call in CALLS}
        self.uploads = Uploads(workbench.files, workbench.options.limits.file_bytes)
        self.server: Any = None
        self._turn, self._present = asyncio.Lock(), list[Caller]()
        workbench.share.sources.append(lambda: self._present)

    async def listed(self) -> list[types.Tool]:
        """Return the tools with their inputs."""
        return [
            types.Tool(name=call.name, description=call.help, inputSchema=self._schema(call))
            for call in self.calls.values()
        ]

    def _schema(self, call: Call) -> dict[str, Any]:
        fields = call.inputs(self.workbench)
        properties = {one.name: one.schema() for one in fields}
        for one in fields:
            if one.kind == "file":
                properties[one.name]["description"] += f" {HOW}"
        required = [one.name for one in fields if one.required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    async def call(self, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """Carry a tool out; whatever is wrong comes back as the text of a result that is marked as an error."""
        try:
            answer = await self._in_turn(self._known(name), arguments)
            return self._result(answer, await asyncio.to_thread(keep, self.workbench, answer))
        except WordbrushError as error:
            return _failed(str(error))
        except Exception as error:
            fault(f"the tool {name}", error)
            return _failed(SORRY)

    def _known(self, name: str) -> Call:
        if name not in self.calls:
            raise SettingsError(f"unknown tool {name[:40]!r}: known are {', '.join(self.calls)}")
        return self.calls[name]

    async def _in_turn(self, call: Call, arguments: dict[str, Any]) -> Answer:
        """Wait until the tool calls before are done, so that the page's own work gets every second turn.

        Raises:
            WordbrushError: too many jobs run or wait already, or see `perform`.
        """
        known_inputs(call, arguments)
        caller: Caller = self.server.request_context.request.scope[CALLER]
        refusal = self.workbench.share.refusal(caller)
        if refusal is not None:
            raise ResourceError(f"the server is busy. {refusal}")
        self._present.append(caller)
        try:
            async with self._turn:
                return await perform(call, self.workbench, arguments, self._read, threading.Event(), self._teller())
        finally:
            self._present.remove(caller)

    def _read(self, text: Any) -> Upload:
        if not isinstance(text, str):
            raise SettingsError(f"a file is given as a text. {HOW}")
        return self.uploads.decode(text)

    def _teller(self) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
        """Return a function that reports the progress of a stage to the caller, if the caller wants reports."""
        context, counter = self.server.request_context, itertools.count(1)
        token = context.meta.progressToken if context.meta is not None else None

        async def tell(stage: Mapping[str, Any]) -> None:
            if token is not None:
                message = f"{stage['label']}: {stage['done']} of {stage['total']}"
                await context.session.send_progress_notification(
                    token, next(counter), message=message, related_request_id=str(context.request_id)
                )

        return tell

    def _result(self, answer: Answer, places: list[str]) -> types.CallToolResult:
        """Return the pictures for the caller to see, and in words where their files are, and the report.

        What is long and of no use to a reader is left out: the cells, and the record, which is in the file anyway.
        """
        root = str(self.server.request_context.request.base_url).rstrip("/")
        files = {name: f"{root}{FILE}{place}" for name, place in zip(answer.files, places, strict=True)}
        report = {name: value for name, value in answer.values["report"].items() if name != "provenance"}
        contents = {"files": files, "report": report}
        seen = [base64.b64encode(data).decode() for data in answer.files.values() if len(data) <= SEEN_BYTES]
        return types.CallToolResult(
            content=[
                *(types.ImageContent(type="image", data=picture, mimeType="image/png") for picture in seen),
                types.TextContent(type="text", text=json.dumps(contents)),
            ],
            structuredContent=contents,
        )


def _failed(message: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=message)], isError=True)
