"""What a proxy says of the request it passes on, which is believed of the proxies that the operator named only."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable, MutableMapping
from typing import Any

from wordbrush.errors import SettingsError
from wordbrush.web.gate.bodies import Refusal
from wordbrush.web.gate.hosts import name_of

__all__ = ["Proxies"]

_SAID = re.compile(
    rb"x-forwarded(?:-.*)?|forwarded|x-gradio-.*|x-original-.*|x-rewrite-url|x-real-ip|x-client-ip|true-client-ip"
    rb"|x-host|x-http-host-override|x-ip-token|x-zerogpu-.*"
)
_LOG = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The proxies that are believed.

    Args:
        addresses: of them, or networks such as `10.0.0.0/8`.

    Raises:
        SettingsError: one of them is neither.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        self._networks = [_network(address) for address in addresses]
        self._told = False

    def settle(self, scope: Scope) -> Scope | Refusal:
        """Return the request as it was sent to the proxy, without what proxies say; or why it is not taken.

        Answers headers by which a visitor gives the page another address than it has, or takes that of somebody else.
        From a proxy that is believed, `X-Forwarded-For` tells the client, `X-Forwarded-Proto` the scheme, and
        `X-Forwarded-Host` takes the place of Host, and is then checked as Host is.
        """
        said: dict[bytes, str] = {}
        kept = []
        for key, value in scope["headers"]:
            name = key.lower()
            if _SAID.fullmatch(name) is None:
                kept.append((key, value))
                continue
            text = value.decode("latin-1")
            said[name] = f"{said[name]}, {text}" if name in said else text
        peer = (scope.get("client") or ("", 0))[0]
        scheme = said.get(b"x-forwarded-proto", "").split(",")[0].strip().lower()
        settled = {**scope, "headers": kept, "wordbrush.encrypted": "https" in {scope.get("scheme"), scheme}}
        if not self._believed(peer):
            self._tell_once(said)
            return settled
        if scheme in {"http", "https"}:
            settled["scheme"] = scheme
        host = said.get(b"x-forwarded-host", "").split(",")[0].strip()
        if host:
            if name_of(host) is None:
                return Refusal(400, "the X-Forwarded-Host header of the proxy is not a name")
            settled["headers"] = [*((k, v) for k, v in kept if k.lower() != b"host"), (b"host", host.encode())]
        settled["client"] = (self._client(said.get(b"x-forwarded-for", ""), peer), 0)
        return settled

    def _client(self, chain: str, peer: str) -> str:
        """Return the last address of the chain that is no proxy of ours; what stands before it anybody can write."""
        client = peer
        for part in reversed([part.strip() for part in chain.split(",")]):
            try:
                client = str(ipaddress.ip_address(part.removeprefix("[").partition("]")[0]))
            except ValueError:
                return client
            if not self._believed(client):
                return client
        return client

    def _believed(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)

    def _tell_once(self, said: dict[bytes, str]) -> None:
        if not self._told and any(name.startswith(b"x-forwarded-") for name in said):
            self._told = True
            _LOG.warning("a request came with headers of a proxy, which are left out; name yours with --trust-proxy")


def _network(address: str) -> Network:
    try:
        return ipaddress.ip_network(address.strip("[]"), strict=False)
    except ValueError as error:
        raise SettingsError(f"--trust-proxy {address[:60]!r} is no IP address or network such as 10.0.0.0/8") from error
