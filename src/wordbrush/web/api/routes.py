"""The workbench's own routes: uploads and everything a visitor made, each served to its owner alone.

Every route asks for the visitor's cookie. What belongs to somebody else answers exactly like what never was.
"""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from wordbrush.errors import InputError
from wordbrush.region.mask import Mask
from wordbrush.web.state.keys import COOKIE
from wordbrush.web.state.pictures import png
from wordbrush.web.state.versions import zip_of

if TYPE_CHECKING:
    from wordbrush.web.state.pictures import Opened
    from wordbrush.web.state.versions import Version
    from wordbrush.web.state.visitors import Visitor
    from wordbrush.web.workbench import Bench

__all__ = ["picture_facts", "routes"]

_GONE = HTTPException(404, "there is no such thing, or it is not yours, or it was dropped")


def picture_facts(opened: Opened) -> dict[str, Any]:
    """Return what the page needs to know of an opened picture."""
    width, height = opened.picture.size
    address = f"/wordbrush/picture/{opened.id}"
    return {"id": opened.id, "url": address, "name": opened.name, "width": width, "height": height}


def routes(bench: Bench) -> APIRouter:
    """Return the routes under `/wordbrush`."""
    router = APIRouter(prefix="/wordbrush")
    _add_uploads(router, bench)
    _add_pictures(router, bench)
    _add_versions(router, bench)
    return router


def _visitor(bench: Bench, request: Request) -> Visitor:
    visitor = bench.visitors.of(request.cookies.get(COOKIE))
    if visitor is None:
        raise HTTPException(403, "this page was left alone for too long, or its cookie is blocked; reload it")
    return visitor


def _opened(bench: Bench, request: Request, id_: str) -> Opened:
    opened = _visitor(bench, request).picture(id_)
    if opened is None:
        raise _GONE
    return opened


def _version(bench: Bench, request: Request, id_: str) -> Version:
    version = _visitor(bench, request).versions.get(id_)
    if version is None:
        raise _GONE
    return version


async def _body(request: Request, limit: int) -> bytes:
    """Read a body, but not beyond the limit, whatever its headers say."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > limit:
            raise HTTPException(413, f"more than {limit / 1e6:.0f} MB; save it smaller")
    return bytes(data)


def _file(data: bytes, name: str, *, download: bool, kind: str = "image/png") -> Response:
    how = "attachment" if download else "inline"
    headers = {"Content-Disposition": f"{how}; filename*=UTF-8''{quote(name)}", "Cache-Control": "private, no-store"}
    return Response(data, media_type=kind, headers=headers)


def _add_uploads(router: APIRouter, bench: Bench) -> None:
    limit = bench.options.limits.file_bytes

    @router.post("/picture")
    async def upload_picture(request: Request) -> JSONResponse:
        visitor = _visitor(bench, request)
        data = await _body(request, limit)
        name = unquote(request.headers.get("x-wordbrush-name", ""))
        try:
            opened = await asyncio.to_thread(bench.open, visitor, data, name)
        except InputError as error:
            return JSONResponse({"error": str(error)}, 422)
        facts = {"restored": opened.record() is not None, "notes": list(opened.picture.notes)}
        return JSONResponse({**picture_facts(opened), **facts})

    @router.post("/mask/{id_}")
    async def upload_mask(request: Request, id_: str) -> JSONResponse:
        opened = _opened(bench, request, id_)
        data = await _body(request, limit)
        try:
            opened.given = (await asyncio.to_thread(Mask.open, data)).rounded()
        except InputError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"area": opened.given.area})


def _add_pictures(router: APIRouter, bench: Bench) -> None:
    @router.get("/picture/{id_}")
    def picture(request: Request, id_: str) -> Response:
        opened = _opened(bench, request, id_)
        return _file(opened.display(), opened.name, download=False)

    @router.get("/mask/{id_}/{kind}.png")
    def mask(request: Request, id_: str, kind: str, download: int = 0) -> Response:
        opened = _opened(bench, request, id_)
        found = {
            "mask": bench.region(opened),
            "include": opened.strokes.include,
            "exclude": opened.strokes.exclude,
            "given": opened.given,
        }.get(kind)
        if found is None:
            raise _GONE
        return _file(png(found.to_image()), f"{PurePosixPath(opened.name).stem}-{kind}.png", download=bool(download))

    @router.get("/sample/{index}")
    def sample(index: int) -> Response:
        from PIL import Image

        if not 0 <= index < len(bench.samples):
            raise _GONE
        with Image.open(bench.samples[index].path) as image:
            small = image.convert("RGB")
        small.thumbnail((160, 160))
        return _file(png(small), f"sample-{index}.png", download=False)


def _add_versions(router: APIRouter, bench: Bench) -> None:
    @router.get("/version/{id_}/{name}")
    def version(request: Request, id_: str, name: str, download: int = 0) -> Response:
        found = _version(bench, request, id_)
        files = {found.name: found.png, "region.png": found.mask, **found.masks()}
        if name not in files:
            raise _GONE
        return _file(files[name], name, download=bool(download))

    @router.get("/thumb/{id_}")
    def thumb(request: Request, id_: str) -> Response:
        found = _version(bench, request, id_)
        return _file(found.thumb, found.name, download=False)

    @router.get("/versions.zip")
    def versions(request: Request) -> Response:
        visitor = _visitor(bench, request)
        with visitor.lock:
            found = list(visitor.versions.values())
        if not found:
            raise _GONE
        return _file(zip_of(found), "wordbrush-versions.zip", download=True, kind="application/zip")
