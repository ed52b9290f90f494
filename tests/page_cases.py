"""A page that is served while a test asks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from helpers import require

for library in ("flask", "waitress"):
    require(library)

from waitress import wasyncore  # noqa: E402

from lenet_fast.web import server  # noqa: E402
from lenet_fast.web.manager import TrainingManager  # noqa: E402
from lenet_fast.web.pupils import Pupils  # noqa: E402

JSON = {"Content-Type": "application/json"}
LETTERS = """[...document.querySelectorAll('body *')]
    .filter(e => e.checkVisibility({ visibilityProperty: true }) && !e.closest('.unseen'))
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))"""
"""Elements whose text is visible."""

CONTRAST = (
    """() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const bytes = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
    const ground = e => {
        for (; e; e = e.parentElement) {
            const colour = bytes(getComputedStyle(e).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255];
    };
    return LETTERS.filter(e => !e.closest(':disabled')).map(e => {
        const style = getComputedStyle(e);
        const colour = e instanceof SVGElement ? style.fill : style.color;
        const [a, b] = [light(bytes(colour)), light(ground(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 120)];
    });
}"""
).replace("LETTERS", LETTERS)
"""Returns the contrast of each of these, with the element."""

QUICK = {"model": "lenet5-max", "output": "softmax", "distort": "none", "epochs": 1}


def visit(page: Any, address: str) -> None:
    """Open an address in a browser's page, and wait until all of it works."""
    page.goto(address)
    page.wait_for_selector("main:not([aria-busy])")


class Page:
    """A server on a free port, and the ways to ask it."""

    def __init__(self, taught: TrainingManager, port: int, host: str = "127.0.0.1") -> None:
        self.learning, self.port, self.host = taught, port, host

    def ask(
        self,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Return status, body and headers of an answer; a body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        given = (JSON if body is not None else {}) | (headers or {})
        connection.request(method or ("GET" if body is None else "POST"), path, body, given)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(text) if kind == "application/json" else text, answer.msg

    def read(self, drawing: np.ndarray) -> dict[str, Any]:
        """Return what the page reads on a canvas."""
        status, answer, _ = self.ask("/api/read", {"pixels": drawing.tolist()})
        assert status == 200, answer
        return answer

    def raw(self, text: bytes) -> socket.socket:
        """Return a connection on which these bytes were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(text)
        return connection

    def wait_for(self, state: str) -> dict[str, Any]:
        """Wait until the training is in a state; return its run."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            run = self.ask("/api/training")[1]["run"]
            if run["state"] == state:
                return run
            time.sleep(0.02)
        raise AssertionError(run)


@contextlib.contextmanager
def serving(
    taught: TrainingManager,
    timeout: int = 20,
    port: int = 0,
    host: str = "127.0.0.1",
    allowed: Collection[str] = (),
    token: str = "",
    pupils: int = 0,
) -> Iterator[Any]:
    """Yield a waitress server, by default on a free port, which answers as long as the block
    lasts."""
    states = Pupils(taught, pupils)
    made = server.create(states, host, port, timeout, allowed, token)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        states.leave()
        made.task_dispatcher.shutdown()
        # In the server's own thread, which must not find its sockets closed; it may have done so
        # before the call returns.
        with contextlib.suppress(OSError):
            made.trigger.pull_trigger(lambda: wasyncore.close_all(made._map))
        thread.join(10)
        assert not thread.is_alive()
        states.close()
