"""The workbench's own routes: uploads and everything a visitor made, each served to its owner alone.

Every route asks for the visitor's cookie. What belongs to somebody else answers exactly like what never was.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from PIL import Image

from wordbrush.errors import InputError, ResourceError, WordbrushError
from wordbrush.web.api.batch_routes import add_batches
from wordbrush.web.gate.uploads import Uploads
from wordbrush.web.state.folder import shrink
from wordbrush.web.state.keys import COOKIE
from wordbrush.web.state.png import png_of
from wordbrush.web.state.versions import zip_of

if TYPE_CHECKING:
    from wordbrush.web.api.batches import Batches
    from wordbrush.web.state.pictures import Opened
    from wordbrush.web.state.versions import Version
    from wordbrush.web.state.visitors import Visitor
    from wordbrush.web.workbench import Workbench

__all__ = ["routes"]

_GONE = HTTPException(404, "there is no such thing, or it is not yours, or it was dropped")


def routes(workbench: Workbench, batches: Batches) -> APIRouter:
    """Return the routes under `/wordbrush`, and the one that takes files for the calls of the API."""
    whole, router = APIRouter(), APIRouter(prefix="/wordbrush")
    _add_uploads(router, workbench)
    _add_pictures(router, workbench)
    _add_versions(router, workbench)
    add_batches(router, batches)
    whole.include_router(router)
    _add_form(whole, workbench)
    return whole


def _add_form(router: APIRouter, workbench: Workbench) -> None:
    limits = workbench.options.limits
    uploads = Uploads(workbench.files, limits.file_bytes)

    def take(kind: str, body: bytes) -> list[str]:
        with workbench.turns.turn():
            if not shrink(workbench.files, limits.folder_bytes, len(body)):
                raise ResourceError("the server is busy with other uploads; try again in a minute")
            return uploads.take(kind, body)

    @router.post("/gradio_api/upload")
    async def upload(request: Request) -> JSONResponse:
        """Take files in the place of Gradio's own route, which holds everybody up while it reads them."""
        body = await request.body()
        try:
            return JSONResponse(await run_in_threadpool(take, request.headers.get("content-type", ""), body))
        except (InputError, ResourceError) as error:
            return _refused(error)


def _visitor(workbench: Workbench, request: Request) -> Visitor:
    visitor = workbench.visitors.of(request.cookies.get(COOKIE))
    if visitor is None:
        raise HTTPException(403, "this page was left alone for too long, or its cookie is blocked; reload it")
    return visitor


def _opened(workbench: Workbench, request: Request, id_: str) -> Opened:
    opened = _visitor(workbench, request).picture(id_)
    if opened is None:
        raise _GONE
    return opened


def _version(workbench: Workbench, request: Request, id_: str) -> Version:
    version = _visitor(workbench, request).versions.get(id_)
    if version is None:
        raise _GONE
    return version


async def _body(request: Request, limit: int) -> bytes:
    """Return a body; the guard took it whole, within wider bounds."""
    data = await request.body()
    if len(data) > limit:
        raise HTTPException(413, f"more than {limit / 1e6:.0f} MB; save it smaller")
    return data


def _file(data: bytes, name: str, *, download: bool, kind: str = "image/png") -> Response:
    how = "attachment" if download else "inline"
    headers = {"Content-Disposition": f"{how}; filename*=UTF-8''{quote(name)}", "Cache-Control": "private, no-store"}
    return Response(data, media_type=kind, headers=headers)


def _refused(error: WordbrushError) -> JSONResponse:
    busy = isinstance(error, ResourceError)
    return JSONResponse({"error": str(error)}, 503 if busy else 422, {"Retry-After": "5"} if busy else None)


def _add_uploads(router: APIRouter, workbench: Workbench) -> None:
    limit = workbench.options.limits.file_bytes

    def facts(visitor: Visitor, data: bytes, name: str) -> dict[str, Any]:
        opened = workbench.open(visitor, data, name)
        notes = list(opened.picture.notes)
        return {**opened.facts(), "restored": opened.record() is not None, "notes": notes}

    @router.post("/picture")
    async def upload_picture(request: Request) -> JSONResponse:
        visitor = _visitor(workbench, request)
        data = await _body(request, limit)
        name = unquote(request.headers.get("x-wordbrush-name", ""))
        try:
            return JSONResponse(await run_in_threadpool(facts, visitor, data, name))
        except (InputError, ResourceError) as error:
            return _refused(error)

    @router.post("/mask/{id_}")
    async def upload_mask(request: Request, id_: str) -> JSONResponse:
        opened = _opened(workbench, request, id_)
        data = await _body(request, limit)
        try:
            mask = await run_in_threadpool(workbench.own_mask, opened, data)
        except (InputError, ResourceError) as error:
            return _refused(error)
        return JSONResponse({"area": mask.area, "notes": list(mask.notes)})


def _add_pictures(router: APIRouter, workbench: Workbench) -> None:
    @router.get("/picture/{id_}")
    def picture(request: Request, id_: str) -> Response:
        opened = _opened(workbench, request, id_)
        with workbench.turns.turn(opened.id):
            shown = opened.display()
        return _file(shown, opened.name, download=False)

    @router.get("/mask/{id_}/{kind}.png")
    def mask_file(request: Request, id_: str, kind: str, download: int = 0) -> Response:
        opened = _opened(workbench, request, id_)
        mask = {
            "mask": workbench.region(opened),
            "include": opened.strokes.include,
            "exclude": opened.strokes.exclude,
            "given": opened.own_mask,
        }.get(kind)
        if mask is None:
            raise _GONE
        with workbench.turns.turn(opened.id):
            shown = mask.grey_png()
        return _file(shown, f"{PurePosixPath(opened.name).stem}-{kind}.png", download=bool(download))

    @router.get("/sample/{index}")
    def sample(index: int) -> Response:
        if not 0 <= index < len(workbench.samples):
            raise _GONE
        with Image.open(workbench.samples[index].path) as image:
            small = image.convert("RGB")
        small.thumbnail((160, 160))
        return _file(png_of(small), f"sample-{index}.png", download=False)


def _add_versions(router: APIRouter, workbench: Workbench) -> None:
    @router.get("/version/{id_}/{name}")
    def version_file(request: Request, id_: str, name: str, download: int = 0) -> Response:
        version = _version(workbench, request, id_)
        files = {version.name: version.png, "region.png": version.mask, **version.masks()}
        if name not in files:
            raise _GONE
        return _file(files[name], name, download=bool(download))

    @router.get("/thumb/{id_}")
    def thumb(request: Request, id_: str) -> Response:
        version = _version(workbench, request, id_)
        return _file(version.thumb, version.name, download=False)

    @router.get("/versions.zip")
    def versions(request: Request) -> Response:
        visitor = _visitor(workbench, request)
        with visitor.lock:
            history = list(visitor.versions.values())
        if not history:
            raise _GONE
        return _file(zip_of(history), "wordbrush-versions.zip", download=True, kind="application/zip")
