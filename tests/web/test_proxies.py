"""Whose word counts for the page's address: the Host header, read strictly, and proxies that the operator named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.guarding import client, raw
from tests.support.workbench import Running, running
from wordbrush.errors import SettingsError
from wordbrush.web.gate.bodies import Refusal
from wordbrush.web.gate.hosts import name_of
from wordbrush.web.gate.proxies import Proxies
from wordbrush.web.gate.rules import names_of
from wordbrush.web.options import Options
from wordbrush.web.server import build_app

SAID = [
    {"X-Forwarded-Host": "evil.example"}, {"x-forwarded-HOST": "a.example, evil.example"},
    {"X-Forwarded-Proto": "https"},
    {"Forwarded": "host=evil.example;proto=https"}, {"X-Forwarded-Prefix": "/evil.example"},
    {"X-Gradio-Server": "http://evil.example"}, {"X-Forwarded-Port": "6666"}, {"X-Original-Host": "evil.example"},
    {"X-Original-URL": "/evil.example"}, {"X-Rewrite-URL": "/evil.example"}, {"X-Forwarded-Server": "evil.example"},
    {"X-Forwarded-Scheme": "https"}, {"X-Host": "evil.example"}, {"X-Forwarded": "evil.example"},
]  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    with running() as workbench:
        yield workbench


@pytest.fixture(scope="module")
def behind() -> Iterator[Running]:
    with running(hosts=("edit.example",), proxies=("127.0.0.0/8",)) as workbench:
        yield workbench


def roots(served: Running, headers: dict[str, str]) -> set[str]:
    """Return all the addresses that the page and its settings give for themselves."""
    with httpx.Client(base_url=served.address, trust_env=False, headers=headers) as http:
        page, config, info = http.get("/"), http.get("/config"), http.get("/gradio_api/openapi.json")
    assert (page.status_code, config.status_code, info.status_code) == (200, 200, 200)
    for answer in (page, config, info):
        assert "evil.example" not in answer.text
        assert "6666" not in answer.headers.get("location", "")
    return {config.json()["root"], *re.findall(r'"root":"([^"]*)"', page.text)}


@pytest.mark.parametrize("headers", SAID, ids=str)
def test_what_anybody_says_of_a_proxy_is_left_out(served: Running, headers: dict[str, str]) -> None:
    assert roots(served, headers) == {served.address}


def test_a_proxy_that_was_named_is_believed(behind: Running) -> None:
    said = {"X-Forwarded-Host": "edit.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil.example"}
    assert roots(behind, said) == {"https://edit.example"}
    assert roots(behind, {"Host": "edit.example:8080"}) == {"http://edit.example:8080"}


ODD = ["evil.example", "edit.example@evil.example", "edit.example/x", "a b", "[::1]x", ":80"]


@pytest.mark.parametrize("host", ODD)
def test_the_name_that_a_proxy_says_is_checked_as_host_is(behind: Running, host: str) -> None:
    answer = httpx.get(behind.address, headers={"Host": "edit.example", "X-Forwarded-Host": host}, trust_env=False)
    assert answer.status_code in {400, 421}
    assert "evil" not in answer.text


NAMES: list[tuple[str, str | None]] = [
    ("localhost", "localhost"), ("LOCALHOST:1", "localhost"), ("localhost.:80", "localhost"), ("[::1]:80", "[::1]"),
    ("[0:0::1]", "[::1]"), ("127.0.0.1:65535", "127.0.0.1"), ("a-b.c_d.example", "a-b.c_d.example"),
    ("localhost..", None), (".localhost", None), ("localhost:", None), ("localhost:0", None), ("localhost:65536", None),
    ("localhost:99999", None), ("localhost:-1", None), ("localhost:80:80", None), ("localhost:8 0", None),
    ("127.0.0.1:80@evil.example", None), ("user@localhost", None), ("[::1]evil.example", None), ("[::1].", None),
    ("[::1", None), ("::1", None), ("[::1%25lo]", None), ("[127.0.0.1]", None), ("[]", None), ("", None), (" ", None),
    ("localhost, evil.example", None), ("localhost\tx", None), ("localhost/x", None), ("localhost#x", None),
    ("http://localhost", None), ("loc\u0430lhost", None), ("localhost:\u0661", None), ("-a.example", None),
    ("a" * 64 + ".example", None), ("a." * 200 + "example", None), ("localhost\n", None),
]  # fmt: skip


@pytest.mark.parametrize(("host", "name"), NAMES)
def test_host_headers_are_read_strictly(host: str, name: str | None) -> None:
    assert name_of(host) == name


def test_odd_hosts_are_refused_whatever_names_the_server_has(tmp_path: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - nothing listens there
    for options in ({}, {"host": everywhere}, {"host": everywhere, "hosts": ("localhost",)}):
        with client(tmp_path, **options) as http:
            for host in ("[::1]evil.example", "127.0.0.1:80@evil.example", "localhost:70000", "", "localhost:0x50"):
                assert raw(http, f"GET /config HTTP/1.1\r\nHost: {host}\r\n\r\n")[0] in {400, 421}, host
            for second in ("localhost", "evil.example", ""):
                assert raw(http, f"GET /config HTTP/1.1\r\nHost: localhost\r\nHost: {second}\r\n\r\n")[0] in {400, 421}
            assert http.get("/config", headers={"Host": "localhost"}).status_code == 200


def settled(proxies: Proxies, peer: str, **said: str) -> tuple[str, str]:
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in said.items()]
    scope = proxies.settle({"client": (peer, 5), "scheme": "http", "headers": headers})
    assert not isinstance(scope, Refusal)
    assert not [name for name, _ in scope["headers"] if b"forwarded" in name]
    return scope["client"][0], scope["scheme"]


def test_the_client_is_the_last_one_that_is_no_proxy_of_ours() -> None:
    proxies = Proxies(["10.0.0.0/8", "2001:db8::1"])
    assert settled(proxies, "10.1.1.1", x_forwarded_for="1.2.3.4, 192.0.2.9, 10.2.2.2") == ("192.0.2.9", "http")
    assert settled(proxies, "10.1.1.1", x_forwarded_for="192.0.2.9, rubbish") == ("10.1.1.1", "http")
    assert settled(proxies, "10.1.1.1", x_forwarded_for="10.3.3.3") == ("10.3.3.3", "http")
    assert settled(proxies, "2001:db8::1", x_forwarded_proto="https, http") == ("2001:db8::1", "https")
    assert settled(proxies, "::ffff:10.0.0.1", x_forwarded_for="192.0.2.1") == ("192.0.2.1", "http")
    assert settled(proxies, "192.0.2.5", x_forwarded_for="1.2.3.4", x_forwarded_proto="https") == ("192.0.2.5", "http")
    assert settled(Proxies([]), "127.0.0.1", x_forwarded_for="1.2.3.4") == ("127.0.0.1", "http")


def test_switches_that_are_none_are_one_sentence() -> None:
    with pytest.raises(SettingsError, match=r"--trust-proxy 'proxy\.example' is no IP address"):
        Proxies(["proxy.example"])
    with pytest.raises(SettingsError, match="--allow-host 'https://x' is no name"):
        names_of(Options(hosts=("https://x",)))
    for options in (Options(proxies=("10.0.0.0/40",)), Options(hosts=("a b",))):
        with pytest.raises(SettingsError):
            build_app(options)  # before anything is loaded
    assert names_of(Options(hosts=("::1", "Edit.Example:80"))) == frozenset({"[::1]", "edit.example"})


def test_strangers_headers_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    proxies = Proxies([])
    for _ in range(5):
        settled(proxies, "127.0.0.1", x_forwarded_for="1.2.3.4")
    (record,) = caplog.records
    assert "--trust-proxy" in record.getMessage()
    assert "1.2.3.4" not in json.dumps(record.getMessage())
