"""The page's server, waitress."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Collection
from typing import Any

import waitress
from waitress.channel import HTTPChannel

from lenet_fast.web import app, names
from lenet_fast.web.pupils import Pupils

THREADS = 24
"""Each event stream occupies one, so there are twice as many as event streams."""

PORT = 8000

_TIMEOUT_SECONDS = 20
"""A connection is closed after this time without traffic, or if its request takes longer than this
to arrive."""


class _Channel(HTTPChannel):
    """A connection on which the bytes of an incomplete request do not count as activity."""

    last_activity: float  # a time; waitress has no annotation

    def handle_read(self) -> None:
        before, halfway = self.last_activity, self.request is not None
        super().handle_read()
        if halfway and self.request is not None:
            self.last_activity = before


def create(
    states: Pupils,
    host: str,
    port: int | None = None,
    timeout: int = _TIMEOUT_SECONDS,
    allowed: Collection[str] = (),
    token: str = "",
) -> Any:
    """Return a waitress server of the page that is already listening; call its ``run``.

    `port`: 0 for any free port; by default 8000, or any free port if that is taken. `allowed` are
    further host names under which the page may be opened; with a `token`, the page asks for it;
    ValueError if one of them is none. OSError if the address is not available, or the threads
    cannot be started.
    """
    listening = _listening(host, port)
    try:
        server = waitress.create_server(
            app.create(states, _as_browsers_write(host, listening), allowed, token),
            sockets=[listening],
            threads=THREADS,
            ident=None,
            max_request_body_size=app.MAX_BYTES + 1,  # waitress requires less than this
            max_request_header_size=16 * 1024,
            channel_timeout=timeout,
            cleanup_interval=max(1, timeout // 4),
            connection_limit=200,
        )
    except ValueError:
        listening.close()
        raise
    except RuntimeError as error:  # from Python, if the system has no thread left
        listening.close()
        raise OSError(errno.EAGAIN, f"expected room for {THREADS} threads, got: {error}") from error
    server.channel_class = _Channel
    return server


def _listening(host: str, port: int | None) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:  # from Python, for an impossible name
        raise OSError(errno.EINVAL, "expected a host name or an address") from error
    # A name may have several addresses; other programs expect IPv4 for "localhost".
    family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)

    def listening(port: int) -> socket.socket:
        try:
            return socket.create_server((address[0], port, *address[2:]), family=family)
        except OSError as error:  # its text repeats the address
            raise OSError(error.errno, os.strerror(error.errno or 0)) from error

    try:
        return listening(PORT if port is None else port)
    except OSError:
        if port is not None:
            raise
    return listening(0)


def _as_browsers_write(host: str, listening: socket.socket) -> str:
    """Return a host, expanded if it is a short form of an address, such as 127.1 or 0."""
    try:
        names.checked(host)
    except ValueError:
        return str(listening.getsockname()[0])
    return host


def address(server: Any, host: str, token: str = "") -> str:
    """Return the URL for a browser on this machine."""
    name = _as_browsers_write(host, server.socket)
    if names.is_unspecified(name):
        name = "::1" if ":" in name else "127.0.0.1"
    return _url(name, server, token)


def addresses(server: Any, host: str, allowed: Collection[str], token: str) -> list[str]:
    """Return the URLs for browsers on other machines."""
    found = list(map(names.checked, allowed))
    if names.is_unspecified(_as_browsers_write(host, server.socket)):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Which address leads out is known without sending anything.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))
            found.insert(0, probe.getsockname()[0])
    return [_url(name, server, token) for name in found]


def is_local(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on a host.

    Examples
    --------
    >>> from lenet_fast.web.server import is_local
    >>> is_local("127.0.0.1"), is_local("LocalHost"), is_local("0.0.0.0")
    (True, True, False)
    """
    if names.plain(host) == "localhost":
        return True
    try:
        return ipaddress.ip_address(
            socket.gethostbyname(host) if ":" not in host else host
        ).is_loopback
    except (OSError, ValueError):
        return False


def _url(name: str, server: Any, token: str) -> str:
    query = f"?token={token}" if token else ""
    return f"http://{f'[{name}]' if ':' in name else name}:{server.effective_port}/{query}"


def run(server: Any, states: Pupils, url: str, *, browser: bool) -> None:
    """Serve until SIGINT (Ctrl-C) or SIGTERM, then stop all trainings.

    The process should end afterwards, because it ignores further signals.
    """
    # 200 connections at once are possible and need no warning.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    if browser:
        # In a thread, because a terminal browser returns only when it is closed. If no thread can
        # start, the user can still open the address.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    def end(number: int, frame: object) -> None:
        # Ignore further signals: some programs send it twice, and the second may arrive after
        # Python has restored its own handlers.
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        states.leave()
        raise KeyboardInterrupt

    for each in _SIGNALS:
        signal.signal(each, end)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # at startup
            server.run()
    finally:
        server.close()
        states.close()


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
