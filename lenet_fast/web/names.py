"""The names under which the page may be opened, and the sites that may send requests to it.

A browser tells sites apart by name only. Another site can make its name resolve to this machine
(DNS rebinding); its scripts would then count as the page's own. So each request must give a name
that belongs to this server. Numeric addresses cannot be rebound, names can: each name is allowed
separately.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_AMBIGUOUS = "ßς\u200c\u200d"
"""Letters that Python and browsers translate differently."""

_LOCAL = ("localhost", "127.0.0.1", "::1")


def checked(name: str) -> str:
    """Return a name under which the page may be opened, in the form that a browser sends.

    Case and a final dot do not matter; letters beyond ASCII become punycode. ValueError unless it
    is a host name or a numeric address, without scheme, port and path.

    Examples
    --------
    >>> from lenet_fast.web import names
    >>> names.checked("LabPC.local.")
    'labpc.local'
    >>> try:
    ...     names.checked("http://labpc.local:8000/")
    ... except ValueError as error:
    ...     print(str(error).partition(",")[0])
    expected one host name such as labpc.local
    """
    what = "expected one host name such as labpc.local"
    if "*" in name or name.startswith("."):
        raise ValueError(
            f"{what}, got {name!r}; wildcards are not allowed: whoever owns a name under it could "
            "take over the page. Give each name in full"
        )
    if any(letter in name for letter in _AMBIGUOUS):
        raise ValueError(f"{what}, got {name!r}; give it in punycode (xn--...)")
    found = plain(name)
    address = _address(found)
    if address is not None:
        if address.is_unspecified or "%" in found:
            raise ValueError(f"{what}, got {name!r}, which no browser can open from elsewhere")
        return found
    labels = found.split(".")
    if (
        len(found) > 253
        or not all(_LABEL.fullmatch(label) for label in labels)
        or _NUMBER.fullmatch(labels[-1])  # browsers read it as an address
    ):
        raise ValueError(f"{what}, without scheme, port (any will do) and path, got {name!r}")
    return found


def plain(name: str) -> str:
    """Return a host name or address in the form in which names are compared.

    Examples
    --------
    >>> from lenet_fast.web import names
    >>> names.plain("LocalHost."), names.plain("[::0:1]"), names.plain("bücher.example")
    ('localhost', '::1', 'xn--bcher-kva.example')
    """
    name = name.lower().removesuffix(".")
    address = _address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    if address is not None:
        return str(address)
    try:
        return name.encode("idna").decode("ascii") if not name.isascii() else name
    except UnicodeError:
        return name


def given(header: str) -> str:
    """Return the name in a Host header, without the port; empty if there is none.

    Examples
    --------
    >>> from lenet_fast.web import names
    >>> names.given("labpc.local:8000"), names.given("[::1]:8000")
    ('labpc.local', '::1')
    """
    parts = _split(f"http://{header}")
    return plain(parts.hostname or "") if parts else ""


def is_ours(header: str, host: str, allowed: Collection[str] = ()) -> bool:
    """Return whether a Host header names this server, at any port.

    If `host`, on which the server listens, is all addresses, any numeric address is ours. `allowed`
    are further names, as from :func:`checked`.
    """
    name = given(header)
    everywhere = is_unspecified(host) and _address(name) is not None
    return name in (*_LOCAL, plain(host)) or name in allowed or everywhere


def is_own_origin(origin: str, header: str, allowed: Collection[str] = ()) -> bool:
    """Return whether an Origin header is that of the page, given a Host header that is ours.

    Behind a proxy, a browser sends the proxy's origin. It is trusted if its name is allowed: with
    TLS at any port, without TLS only at port 80, because other programs may use other ports of
    that machine.
    """
    if origin == f"http://{header}":
        return True
    parts = _split(origin)
    return (
        parts is not None
        and plain(parts.hostname or "") in allowed
        and (parts.scheme == "https" or (parts.scheme == "http" and parts.port is None))
    )


def is_unspecified(host: str) -> bool:
    """Return whether listening on a host means listening on all addresses."""
    address = _address(host)
    return address is not None and address.is_unspecified


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL that consists only of a scheme, a host and perhaps a port."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    alone = url == f"{parts.scheme}://{parts.netloc}" and "@" not in url and "\\" not in url
    return parts if has_host and alone else None
