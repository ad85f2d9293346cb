"""The workbench as a Space: behind a proxy, in another site's frame over HTTPS, other sites' cookies blocked."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from tests.support.browser import launched, served
from wordbrush.web.server import build_app
from wordbrush.web.workbench import Workbench

ROOT = Path(__file__).parents[2]
SLOW = 60_000

pytestmark = pytest.mark.slow


def certificate(folder: Path) -> dict[str, str]:
    """Write a key and its own certificate, and return them as uvicorn takes them."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / "certificate.pem").write_bytes(signed.public_bytes(pem))
    return {"ssl_keyfile": str(folder / "key.pem"), "ssl_certfile": str(folder / "certificate.pem")}


def forwarding(address: str) -> Any:
    """Return an application that passes everything on to the address, as a proxy does that speaks HTTPS for it."""
    alone = httpx.Limits(max_keepalive_connections=0)  # a kept connection may be closed while a request is on its way
    client = httpx.AsyncClient(base_url=address, trust_env=False, timeout=120, limits=alone)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        place = scope["raw_path"] + b"?" + scope["query_string"]
        headers = [(n, v) for n, v in scope["headers"] if n != b"connection"] + [(b"x-forwarded-proto", b"https")]
        request = client.build_request(scope["method"], httpx.URL(address).copy_with(raw_path=place), content=body)
        request.headers = httpx.Headers(headers)
        answer = await client.send(request, stream=True)
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.headers.raw})
        async for piece in answer.aiter_raw():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await answer.aclose()
        await send({"type": "http.response.body", "body": b""})

    return app


def framing(address: str) -> Any:
    """Return an application with a page that frames the address."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = f"<!doctype html><title>host</title><iframe src='{address}/' width=1200 height=900></iframe>"
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})

    return app


@dataclass(frozen=True)
class Places:
    """Where the Space listens, and the page of another site that frames it."""

    space: str
    host: str
    workbench: Workbench = field(repr=False)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    spec = importlib.util.spec_from_file_location("space", ROOT / "app.py")
    assert spec is not None and spec.loader is not None
    space = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(space)
    secure = certificate(tmp_path_factory.mktemp("certificate"))
    with ExitStack() as stack:
        # 127.0.0.1 and localhost are one machine, and two sites to a browser.
        app = build_app(space.options_of({}))
        proxy = forwarding(stack.enter_context(served(app)))
        inside = stack.enter_context(served(proxy, lifespan="off", **secure)).replace("127.0.0.1", "localhost")
        host = stack.enter_context(served(framing(inside), lifespan="off", **secure))
        yield Places(inside, host, app.state.workbench)


def test_a_framed_visitor_paints_looks_and_downloads(places: Places) -> None:
    with launched("--test-third-party-cookie-phaseout", "--ignore-certificate-errors") as chromium:
        context = chromium.context(viewport={"width": 1300, "height": 1000})
        page = context.new_page()
        page.goto(places.host)
        frame = page.frame_locator("iframe")
        frame.locator("#stage [data-part=samples] button").first.click()
        frame.locator("#stage [data-ready=true] [data-part=view]").wait_for(timeout=SLOW)
        frame.locator("#paint").click()
        frame.locator("#progress").get_by_text("Painted").first.wait_for(timeout=SLOW)
        (cookie,) = context.cookies(places.space)
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "None")
        visitor = places.workbench.visitors.of(cookie["value"])
        assert visitor is not None
        (version,) = visitor.versions.values()
        files = {}
        for link in ("#versions [data-act=download]", "#versions [data-part=zip]", "#stage [data-part=mask-link]"):
            with page.expect_download() as found:
                frame.locator(link).first.click()
            files[found.value.suggested_filename] = Path(found.value.path()).read_bytes()
        assert list(files) == [version.name, "versions.zip", "mask.png"]
        assert files[version.name] == version.png
        assert version.png in files["versions.zip"]  # stored as it is
        region, used = (np.asarray(Image.open(BytesIO(data))) for data in (files["mask.png"], version.mask))
        assert region.any()
        assert (region <= used).all()  # the seam may lie further out than the region on the stage
        with page.expect_popup() as tab:
            frame.locator("#versions [data-act=enlarge]").first.click()
        tab.value.wait_for_function("document.images[0]?.naturalWidth === 128")
        assert chromium.errors.lines == []


def test_the_site_around_it_can_neither_read_nor_act(places: Places) -> None:
    with launched("--ignore-certificate-errors") as chromium:
        page = chromium.context().new_page()
        page.goto(places.host)
        page.frame_locator("iframe").locator("#stage [data-part=samples] button").first.wait_for()
        ask = "([to, method]) => fetch(to, {method, credentials: 'include'}).then(() => 'read', () => 'refused')"
        for path, method in (("/config", "GET"), ("/wordbrush/picture", "POST"), ("/wordbrush/versions.zip", "GET")):
            assert page.evaluate(ask, [places.space + path, method]) == "refused"
        assert page.evaluate("() => document.cookie") == ""
