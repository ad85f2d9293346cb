"""The page and the HTTP API, which are one application of Gradio, mounted, and the gaps closed that this leaves."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from gradio import Error, processing_utils, queueing, route_utils, utils
from gradio import routes as gradio_routes
from starlette.exceptions import HTTPException

from wordbrush.web.api.endpoints import add_endpoints
from wordbrush.web.gate.bodies import Refusal
from wordbrush.web.gate.log import SORRY, Quiet
from wordbrush.web.gate.queue import limit_queue
from wordbrush.web.page.components import theme_css
from wordbrush.web.page.page import add_page

if TYPE_CHECKING:
    from fastapi import FastAPI

    from wordbrush.web.workbench import Workbench

__all__ = ["mount_page"]


def mount_page(app: FastAPI, workbench: Workbench) -> None:
    """Put the page and the HTTP API, which are one application of Gradio, under every address that is left."""
    options, page = workbench.options, gr.Blocks(title="wordbrush", analytics_enabled=False)
    with page:
        add_page(page, workbench)
        add_endpoints(workbench)
    limit_queue(page, options.limits, workbench.share)
    gr.mount_gradio_app(
        app, page, "/", server_name=options.host, server_port=options.port, footer_links=[], run_history=False,
        allowed_paths=[], show_error=False, max_file_size=options.limits.file_bytes, ssr_mode=False,
        enable_monitoring=False, pwa=False, mcp_server=False, css=theme_css(),
        app_kwargs={"exception_handlers": _handlers()},
    )  # fmt: skip
    _close_gaps(page)
    app.add_exception_handler(Exception, _handlers()[Exception])
    app.state.page = page


def _handlers() -> dict[Any, Any]:
    """Return what answers for errors: a sentence each, and never once more what was sent."""

    def answer(status: int, message: str) -> Response:
        return JSONResponse(Refusal(status, message).contents(), status)

    async def refused(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, str(error.detail))

    async def unreadable(_: Request, error: RequestValidationError) -> Response:
        return answer(422, "the request is not what this address takes; docs/api.md has examples")

    async def sorry(_: Request, error: Exception) -> Response:
        return answer(500, SORRY)  # it is raised again then, and the guard logs it

    return {HTTPException: refused, RequestValidationError: unreadable, Exception: sorry}


def _close_gaps(page: gr.Blocks) -> None:
    """Close what Gradio leaves open in a page that is mounted instead of launched, and what it would fetch.

    A mounted page counts as not running: then an input may name any file of the server, which is copied into the cache,
    and a waiting connection gets no sign of life. An input that is a web address is fetched by the server either way.
    Errors are printed with their traceback, which holds what a visitor sent. And the first job of all imports a library
    for drawings, while nobody is answered.
    """
    for module in (queueing, route_utils, gradio_routes):
        vars(module)["traceback"] = Quiet
    vars(utils)["MatplotlibBackendMananger"] = contextlib.nullcontext

    async def refuse(url: str, *_: Any, **__: Any) -> Any:
        raise Error("no URL inputs; upload the file", print_exception=False)

    processing_utils.async_ssrf_protected_download = refuse
    processing_utils.async_ssrf_protected_get = refuse
    page.has_launched = page.is_running = True
