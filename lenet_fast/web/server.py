"""The server of the page: waitress, for as long as it is wanted."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Collection
from typing import Any

import waitress
from waitress.channel import HTTPChannel

from lenet_fast.web import app, names
from lenet_fast.web.learning import Learning

THREADS = 24
"""Each listener takes one, so there are twice as many as listeners."""

PORT = 8000

_TIMEOUT_SECONDS = 20
"""A connection on which nothing has come or gone for so long is closed, and one whose request is
still not there in full."""


class _Channel(HTTPChannel):
    """A connection on which the bytes of a request that drips in are no activity."""

    last_activity: float  # when; waitress does not say

    def handle_read(self) -> None:
        before, halfway = self.last_activity, self.request is not None
        super().handle_read()
        if halfway and self.request is not None:
            self.last_activity = before


def create(
    learning: Learning,
    host: str,
    port: int | None = None,
    timeout: int = _TIMEOUT_SECONDS,
    allowed: Collection[str] = (),
) -> Any:
    """Return a waitress server of the page, which listens already; its ``run`` serves.

    Parameters
    ----------
    learning : Learning
        What is shown.
    host : str
        Address to listen on.
    port : int, optional
        0 for any that is free. By default 8000, or any that is free if that is taken.
    timeout : int
        Seconds after which a connection without any traffic is closed, and what a request may
        take to arrive.
    allowed : collection of str
        Further names by which the page may be opened.

    Raises
    ------
    OSError
        If that address is not to be had, or the threads are not.
    ValueError
        If one of `allowed` is no host name.
    """
    listening = _listening(host, port)
    try:
        page = app.create(learning, _as_browsers_write(host, listening), allowed)
        server = _created(page, listening, timeout)
    except ValueError:
        listening.close()
        raise
    except RuntimeError as error:  # Python's, where the system has no thread left
        listening.close()
        raise OSError(errno.EAGAIN, f"expected room for {THREADS} threads, got: {error}") from error
    server.channel_class = _Channel
    return server


def _created(page: Callable[..., Any], listening: socket.socket, timeout: int) -> Any:
    return waitress.create_server(
        page,
        sockets=[listening],
        threads=THREADS,
        ident=None,
        max_request_body_size=app.MAX_BYTES + 1,  # waitress takes less than that
        max_request_header_size=16 * 1024,
        channel_timeout=timeout,
        cleanup_interval=max(1, timeout // 4),
        connection_limit=200,
    )


def _listening(host: str, port: int | None) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:  # Python's, of a name that no network can have
        raise OSError(errno.EINVAL, "expected a host name or an address") from error
    # A name may have several addresses: IPv4 is what other programs expect of "localhost".
    family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)

    def listening(port: int) -> socket.socket:
        try:
            return socket.create_server((address[0], port, *address[2:]), family=family)
        except OSError as error:  # whose text repeats the address
            raise OSError(error.errno, os.strerror(error.errno or 0)) from error

    try:
        return listening(PORT if port is None else port)
    except OSError:
        if port is not None:
            raise
    return listening(0)


def _as_browsers_write(host: str, listening: socket.socket) -> str:
    """Return a host; in full if it is a short form of an address, such as 127.1 or 0."""
    try:
        names.checked(host)
    except ValueError:
        return str(listening.getsockname()[0])
    return host


def address(server: Any, host: str) -> str:
    """Return what to type into a browser on this machine."""
    name = _as_browsers_write(host, server.socket)
    if names.is_unspecified(name):
        name = "::1" if ":" in name else "127.0.0.1"
    return f"http://{f'[{name}]' if ':' in name else name}:{server.effective_port}/"


def run(server: Any, learning: Learning, url: str, *, browser: bool) -> None:
    """Serve until Ctrl-C, or a request of the system to end; stop the training then.

    The process is to end afterwards: it ignores further signals.

    Parameters
    ----------
    browser : bool
        Whether to open `url` in the visitor's browser.
    """
    # 200 at once are quite possible, and nothing to warn of.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    if browser:
        # In a thread: a browser in the terminal returns when it is closed. Without a thread to be
        # had, the visitor has the address to type.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    def end(number: int, frame: object) -> None:
        # Once is enough: some send the signal twice, and the second may come until the very end,
        # after Python has put its own handlers back.
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        learning.leave()
        raise KeyboardInterrupt

    for each in _SIGNALS:
        signal.signal(each, end)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # in the first moment
            server.run()
    finally:
        server.close()
        learning.close()


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
