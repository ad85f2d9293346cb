"""Who may ask for what: names, passwords, origins, addresses, files, by real requests over a socket."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.support.guarding import JOIN, PICTURE, UPLOAD, client, raw
from wordbrush.web.gate.guard import HEALTH
from wordbrush.web.options import is_loopback
from wordbrush.web.state.keys import new_key

KEY, LINKED = new_key(), new_key()
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("private")
    (folder / "secret.txt").write_text("secret")
    (folder / "results" / KEY).mkdir(parents=True)
    (folder / "results" / KEY / "zebra.png").write_bytes(b"result")
    (folder / "results" / KEY / "link.png").symlink_to(folder / "secret.txt")
    (folder / "results" / KEY / "folder").mkdir()
    (folder / "results" / LINKED).symlink_to(folder)
    (folder / "results" / "short").mkdir()
    (folder / "results" / "short" / "a.png").write_bytes(b"guessable")
    return folder


@pytest.fixture(scope="module")
def http(files: Path) -> Iterator[httpx.Client]:
    with client(files) as made:
        yield made


def get_raw(http: httpx.Client, target: str) -> int:
    return raw(http, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0]


# ---- 1: the name


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:7860", "127.0.0.1:1", "[::1]:7860", "localhost.:80"])
def test_a_loopback_server_goes_by_loopback_names(http: httpx.Client, name: str) -> None:
    assert http.get("/config", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_other_names_are_refused(http: httpx.Client, name: str) -> None:
    """DNS rebinding: the browser still says which site it believes to speak to."""
    for path in ("/", "/config", PICTURE, JOIN):
        assert http.get(path, headers={"Host": name}).status_code == 421


def test_a_missing_name_is_refused(http: httpx.Client) -> None:
    assert raw(http, "GET /config HTTP/1.0\r\n\r\n")[0] == 421


def test_the_operator_names_the_names(files: Path) -> None:
    with client(files, host=EVERYWHERE, hosts=("Edit.Example",)) as http:
        assert http.get("/config", headers={"Host": "edit.example:443"}).status_code == 200
        assert http.get("/config").status_code == 421
        assert http.get(HEALTH).status_code == 200
    with client(files, host=EVERYWHERE) as http:
        assert http.get("/config", headers={"Host": "whatever.example"}).status_code == 200


def test_which_addresses_are_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.3.2.1", "::1", "[::1]", "localhost", "LocalHost"))
    assert not any(is_loopback(host) for host in (EVERYWHERE, "::", "", "192.168.0.1", "localhost.example", "127.1.x"))


# ---- 2: the password


def test_everything_asks_for_the_password(files: Path) -> None:
    with client(files, auth=("ann", "wörd:with:colons")) as http:
        routes = [("GET", "/"), ("GET", "/assets/x.js"), ("POST", JOIN), ("POST", PICTURE), ("GET", "/none")]
        for method, path in routes:
            answer = http.request(method, path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic ")
            assert "set-cookie" not in answer.headers
        good = base64.b64encode("ann:wörd:with:colons".encode()).decode()
        assert http.get("/config", headers={"Authorization": f"Basic {good}"}).status_code == 200
        assert http.get("/config", headers={"Authorization": f"basic  {good}"}).status_code == 200
        wrong = ["ann:", ":", "", "ann:word", "bob:wörd:with:colons", "ann:wörd:with:colons "]
        coded = [f"Basic {base64.b64encode(text.encode()).decode() or '='}" for text in wrong]
        for value in [*coded, f"Bearer {good}", "Basic", "Basic ****", f"Basic {good}x", good]:
            assert http.get("/config", headers={"Authorization": value}).status_code == 401
        assert http.get(HEALTH).status_code == 200  # says only that it runs


# ---- 3: other sites


def test_requests_of_other_sites_are_refused(http: httpx.Client) -> None:
    host = http.base_url.netloc.decode()
    assert http.post(JOIN, headers={"Origin": f"http://{host}"}).status_code == 200
    for origin in (
        "http://evil.example",
        "null",
        f"http://{host}.evil.example",
        "http://127.0.0.1:1",
        "http://localhost",
    ):
        for method, path in [("POST", JOIN), ("POST", PICTURE), ("GET", "/config"), ("GET", "/")]:
            answer = http.request(method, path, headers={"Origin": origin})
            assert answer.status_code == 403
            assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_only_a_link_to_the_page_is_followed(http: httpx.Client, site: str) -> None:
    fetched = {"Sec-Fetch-Site": site}
    assert http.get("/", headers={**fetched, "Sec-Fetch-Dest": "document"}).status_code == 200
    for kind in ("image", "script", "iframe", "empty"):
        assert http.get("/", headers={**fetched, "Sec-Fetch-Dest": kind}).status_code == 403
    for path in ("/config", "/wordbrush/sample/0", "/gradio_api/queue/data", "/wordbrush/versions.zip"):
        assert http.get(path, headers=fetched).status_code == 403
    assert http.post("/", headers=fetched).status_code == 403
    assert http.post(JOIN, headers=fetched).status_code == 403
    assert http.get("/config", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert http.get("/config", headers={"Sec-Fetch-Site": "none"}).status_code == 200


def test_preflights_are_refused(http: httpx.Client) -> None:
    for origin in ("http://evil.example", str(http.base_url).rstrip("/")):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = http.options(JOIN, headers=asked)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


# ---- 4: addresses

OPEN = [
    ("GET", "/"), ("HEAD", "/"), ("GET", "/config"), ("GET", "/theme.css"), ("GET", "/assets/index-1.js"),
    ("GET", "/static/fonts/a/b.woff2"), ("GET", "/gradio_api/info"), ("GET", "/gradio_api/queue/data"),
    ("GET", "/gradio_api/heartbeat/abc123"), ("GET", "/gradio_api/call/edit/0123abcd"), ("POST", JOIN),
    ("POST", "/gradio_api/call/edit"), ("POST", "/gradio_api/call/v2/edit"), ("POST", "/gradio_api/run/predict"),
    ("POST", "/gradio_api/cancel"), ("POST", UPLOAD), ("POST", PICTURE), ("GET", "/wordbrush/picture/x"),
]  # fmt: skip
CLOSED = [
    ("GET", "/gradio_api/proxy=http://evil.example"), ("GET", "/gradio_api/stream/a/b/1/playlist.m3u8"),
    ("POST", "/gradio_api/stream/abc"), ("POST", "/gradio_api/vibe-edit"), ("GET", "/gradio_api/vibe-code"),
    ("POST", "/gradio_api/run-history/connect"), ("GET", "/gradio_api/runs"), ("GET", "/monitoring"),
    ("POST", "/gradio_api/process_recording"), ("GET", "/gradio_api/deep_link"), ("GET", "/gradio_api/dev/reload"),
    ("GET", "/gradio_api/custom_component/a/client/component/index.js"), ("POST", "/gradio_api/run/edit"),
    ("POST", "/gradio_api/api/edit"), ("POST", "/gradio_api/api/predict/"), ("POST", "/gradio_api/component_server"),
    ("GET", "/gradio_api/file/etc/passwd"), ("GET", "/file=/etc/passwd"), ("GET", "/gradio_api/token"),
    ("POST", "/login"), ("GET", "/logout"), ("GET", "/svelte/x"), ("GET", "/docs"), ("GET", "/openapi.json"),
    ("GET", "/gradio_api/mcp/"), ("POST", "/gradio_api/mcp/"), ("PUT", "/config"), ("DELETE", "/wordbrush/picture"),
    ("POST", "/"), ("GET", "/wordbrush"), ("GET", "/gradio_api/profiling/summary"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), OPEN)
def test_what_the_page_needs_is_open(http: httpx.Client, method: str, path: str) -> None:
    assert http.request(method, path).status_code == 200


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_everything_else_is_not_there(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_mcp_is_open_where_the_operator_says_so(files: Path) -> None:
    with client(files, mcp=True) as http:
        for method in ("GET", "POST", "DELETE"):
            assert http.request(method, "/gradio_api/mcp/").status_code == 200
        assert http.get("/gradio_api/mcp/schema").status_code == 404
        assert http.delete("/wordbrush/picture").status_code == 404


# ---- 5: files, and path traversal on every route that takes a path

PLACES = (
    "/assets/", "/static/", "/wordbrush/picture/", "/wordbrush/mask/a/", "/wordbrush/version/a/", "/wordbrush/thumb/",
    "/wordbrush/sample/", "/gradio_api/file=", "/gradio_api/heartbeat/", "/gradio_api/call/edit/",
)  # fmt: skip
UP = (
    "../secret.txt", "a/../../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "%2E%2E%2Fsecret.txt",
    "%252e%252e%252fsecret.txt", "..%255csecret.txt", "..\\secret.txt", "..%5csecret.txt", "a%00.png", "a\x01b",
    "....//....//secret.txt/..", "%2fetc%2fpasswd", "%5c%5chost%5cshare", "\\\\host\\share", "C:\\Windows\\win.ini",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("up", UP)
def test_traversal_is_refused_on_every_route(http: httpx.Client, place: str, up: str) -> None:
    assert get_raw(http, place + up) in {400, 404}  # 400 where the server's own parser does not take it


def test_results_are_handed_out_to_who_knows_the_key(http: httpx.Client, files: Path) -> None:
    place = f"/gradio_api/file={files}/results/{KEY}/zebra.png"
    assert http.get(place).status_code == 200
    assert http.head(place).status_code == 200
    assert http.post(place).status_code == 404
    assert http.get(place).headers["cache-control"] == "no-store"


def test_no_other_file_is_handed_out(http: httpx.Client, files: Path) -> None:
    results, own = files / "results", f"{files}/results/{KEY}"
    for path in (
        "/etc/passwd", str(files / "secret.txt"), own, f"{own}/", f"{own}/none.png", f"{own}/folder", f"{own}/link.png",
        f"{results}/{LINKED}/secret.txt", f"{results}/short/a.png", f"{own}/../{KEY}/zebra.png", f"/{own}/zebra.png",
        f"{results}//{KEY}/zebra.png", f"{own}/zebra.png/", f"{own}/.hidden", "results", "", ".", "zebra.png",
        "/proc/self/environ", os.path.relpath(f"{own}/zebra.png"), f"{own[:-1]}!/zebra.png", f"{own}/{'a' * 300}",
    ):  # fmt: skip
        for target in (path, quote(path)):
            assert get_raw(http, f"/gradio_api/file={target}") == 404, target


def test_no_address_is_fetched(http: httpx.Client) -> None:
    for address in (
        "http://169.254.169.254/latest", "https://example.com/a.png", "file:///etc/passwd", "//host/share/a",
        "data:text/html,x", "http:/127.0.0.1/a", "ftp://example.com/a", "HTTP://example.com/a",
    ):  # fmt: skip
        assert get_raw(http, f"/gradio_api/file={address}") == 404
        assert get_raw(http, f"/gradio_api/file={quote(address, safe='')}") == 404


def test_an_address_has_one_slash_in_front(http: httpx.Client) -> None:
    assert get_raw(http, "/config") == 200
    assert get_raw(http, "//config") == 404
    assert get_raw(http, "http://localhost/config") == 404
