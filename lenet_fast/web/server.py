"""The server of the page: waitress, for as long as it is wanted."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from typing import Any

import waitress
from waitress.channel import HTTPChannel

from lenet_fast.web import app
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
    learning: Learning, host: str, port: int | None = None, timeout: int = _TIMEOUT_SECONDS
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

    Raises
    ------
    OSError
        If that address is not to be had.
    """
    server = waitress.create_server(
        app.create(learning, host),
        sockets=[_listening(host, port)],
        threads=THREADS,
        ident=None,
        max_request_body_size=app.MAX_BYTES + 1,  # waitress takes less than that
        max_request_header_size=16 * 1024,
        channel_timeout=timeout,
        cleanup_interval=max(1, timeout // 4),
        connection_limit=200,
    )
    server.channel_class = _Channel
    return server


def _listening(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, PORT if port is None else port), family=family)
    except OSError:
        if port is not None:
            raise
    return socket.create_server((host, 0), family=family)


def address(server: Any, host: str) -> str:
    """Return what to type into a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{server.effective_port}/"


def run(server: Any, learning: Learning, url: str, *, browser: bool) -> None:
    """Serve until Ctrl-C, or a request of the system to end; stop the training then.

    Parameters
    ----------
    browser : bool
        Whether to open `url` in the visitor's browser.
    """
    # 200 at once are quite possible, and nothing to warn of.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    if browser:
        # In a thread: a browser in the terminal returns when it is closed.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    def end(number: int, frame: object) -> None:
        learning.leave()
        raise KeyboardInterrupt

    with _on_signals(end):
        try:
            server.run()
        finally:
            server.close()
            learning.close()


@contextlib.contextmanager
def _on_signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Within the block, let SIGINT and SIGTERM call a function."""
    before = {each: signal.signal(each, handler) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, previous in before.items():
            signal.signal(each, previous)
