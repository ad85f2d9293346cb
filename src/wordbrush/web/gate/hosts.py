"""Names of hosts, read strictly: what is no plain name or address with a port counts as no name at all."""

from __future__ import annotations

import contextlib
import ipaddress
import re

__all__ = ["bucket_of", "name_of"]

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(
    rf"(?:\[(?P<six>[0-9a-f:.]{{2,45}})\]|(?P<name>{_LABEL}(?:\.{_LABEL})*)\.?)(?::(?P<port>[0-9]{{1,5}}))?"
)


def name_of(host: str) -> str | None:
    """Return the name in a Host header, without its port and in lower case, or None where the header is not one.

    `localhost.` is `localhost`, as in DNS. Browsers send nothing that is refused here: other text after a bracket, a
    user before an @, a port that is no port.
    """
    found = _HOST.fullmatch(host.lower())
    if found is None or len(host) > 262:
        return None
    port = found["port"]
    if port is not None and not 0 < int(port) < 65536:
        return None
    if found["six"] is None:
        return found["name"]
    with contextlib.suppress(ValueError):
        return f"[{ipaddress.IPv6Address(found['six'])}]"
    return None


def bucket_of(address: str) -> str:
    """Return what stands for all addresses that one connection to the internet has: of IPv6, its first 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
