"""The routes of the page, and what is refused."""

from __future__ import annotations

import json
import logging
import mimetypes
import threading
import time
from collections.abc import Collection, Iterator
from typing import Any

import flask
import numpy as np
from werkzeug.exceptions import HTTPException, abort

from lenet_fast import __version__, checks
from lenet_fast.data.arrays import look_inverted
from lenet_fast.web import drawings, lessons, names
from lenet_fast.web.learning import BusyError, Learning
from lenet_fast.web.names import is_ours

MAX_BYTES = 256 * 1024
"""No request's body may be larger."""

MAX_LISTENERS = 12
"""How many may be told of a training as it goes on; the others have to ask."""

_STREAM_SECONDS, _BEAT_SECONDS = 60.0, 2.0
"""How long a listener is served before it must come again, and how often it hears of nothing."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_log = logging.getLogger(__name__)


def create(
    learning: Learning, host: str = "127.0.0.1", allowed: Collection[str] = ()
) -> flask.Flask:
    """Return the page as a WSGI application.

    Parameters
    ----------
    learning : Learning
        What is shown.
    host : str
        What the server listens on. Requests must be for it, or for this machine: a page from
        elsewhere whose name leads here (DNS rebinding) is refused. Where the server listens on all
        addresses, any numeric address will do.
    allowed : collection of str
        Further names by which the page may be opened, and whose TLS proxy may stand before it.

    Raises
    ------
    ValueError
        If one of `allowed` is no host name.
    """
    # Some systems take the type from a registry in which programs leave nonsense.
    mimetypes.add_type("text/javascript", ".js")
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # ask again: a new version may have come
    _guard(app, host, frozenset(map(names.checked, allowed)))
    _errors(app)
    _reading(app, learning)
    _training(app, learning)
    _events(app, learning)
    return app


def _guard(app: flask.Flask, host: str, allowed: Collection[str]) -> None:
    @app.before_request
    def refuse_strangers() -> None:
        request = flask.request
        header = request.headers.get("Host", "")
        if not is_ours(header, host, allowed):
            abort(403, f"host: expected the address of this server; {_way_in(header)}")
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return  # a link on another site may lead here, and shows nobody what is here
        # Browsers send this where they trust the connection: to this machine, or with TLS.
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if site not in ("same-origin", "none"):
            abort(403, "sec-fetch-site: expected a request of this page's own, not another site's")
        origin = request.headers.get("Origin")  # programs send none
        if origin is not None and not names.is_own_origin(origin, header, allowed):
            abort(
                403,
                "origin: expected a request of this page's own; behind a proxy, start the server "
                "with --allow-host and the proxy's name, and let the proxy pass on the Host header",
            )

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response


def _way_in(header: str) -> str:
    """Return what to do, so that the page may be opened by the name in a Host header."""
    try:
        name = names.checked(names.given(header))
    except ValueError:
        name = "NAME"
    return f"to open it by another name, start it with: lenet-fast serve --allow-host {name}"


def _errors(app: flask.Flask) -> None:
    def answer(status: int, reason: object) -> tuple[flask.Response, int]:
        return flask.jsonify(error=str(reason)[:300]), status

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[flask.Response, int]:
        return answer(error.code or 500, error.description)

    @app.errorhandler(Exception)
    def other(error: Exception) -> tuple[flask.Response, int]:
        _log.error("the page", exc_info=error)
        return answer(500, "something went wrong here; the server's terminal says what")

    @app.errorhandler(ImportError)  # an engine that is not to be had here
    @app.errorhandler(TypeError)
    @app.errorhandler(ValueError)
    def wrong(error: Exception) -> tuple[flask.Response, int]:
        return answer(400, error)

    @app.errorhandler(BusyError)
    def busy(error: BusyError) -> tuple[flask.Response, int]:
        return answer(409, error)


def _body() -> dict[str, Any]:
    """Return the request's JSON object."""
    request = flask.request
    if request.mimetype != "application/json":
        abort(415, "expected application/json")
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        abort(400, "body: expected JSON")
    if not isinstance(body, dict):
        abort(400, "body: expected a JSON object")
    return body


def _reading(app: flask.Flask, learning: Learning) -> None:
    test = learning.splits.test
    test_inverted = look_inverted(test.images)

    @app.get("/")
    def page() -> flask.Response:
        return app.send_static_file("index.html")

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        splits = learning.splits
        return {
            "version": __version__,
            "notice": splits.notice,
            "train_images": len(splits.train),
            "test_images": len(test),
            "folder": str(learning.folder),
            "max_side": drawings.MAX_SIDE,
            **lessons.choices(len(splits.train)),
        }

    @app.get("/api/network")
    def network() -> dict[str, Any]:
        return learning.mind.describe()

    @app.post("/api/read")
    def read() -> flask.Response:
        started = time.perf_counter()
        body = _body()
        known: dict[str, Any] = {}
        if set(body) == {"pixels"}:
            image, inverted = drawings.from_canvas(body["pixels"]), False
        elif set(body) == {"digit"}:
            index = checks.integer("digit", body["digit"], 0, len(test) - 1)
            image, inverted = test.images[index], test_inverted
            known = {"index": index, "label": int(test.labels[index])}
        else:
            raise ValueError("body: expected either pixels or digit")
        if image is None:
            answer: dict[str, Any] = {"blank": True, "number": learning.mind.number}
        else:
            thought = learning.mind.think(image, inverted=inverted)
            answer = {"blank": False, "image": image.tolist(), **thought}
        response = flask.jsonify(answer | known)
        seconds = time.perf_counter() - started
        response.headers["Server-Timing"] = f"read;dur={1000 * seconds:.2f}"
        return response

    @app.get("/api/digit")
    def digit() -> dict[str, Any]:
        which = checks.choice("which", flask.request.args.get("which"), ("random", "wrong"))
        chosen = np.arange(len(test)) if which == "random" else learning.mind.mistakes(test)
        index = int(np.random.default_rng().choice(chosen)) if len(chosen) else None
        return {"index": index, "of": len(chosen)}


def _training(app: flask.Flask, learning: Learning) -> None:
    @app.get("/api/training")
    def training() -> dict[str, Any]:
        return learning.everything()

    @app.post("/api/training")
    def start() -> dict[str, Any]:
        learning.start(_body())
        return learning.everything()

    @app.post("/api/stop")
    def stop() -> dict[str, Any]:
        _body()
        learning.stop()
        return learning.current()

    @app.post("/api/use")
    def use() -> dict[str, Any]:
        learning.use(_body().get("number"))
        return learning.everything()

    @app.post("/api/save")
    def save() -> dict[str, Any]:
        _body()
        try:
            return {"folder": str(learning.save())}
        except OSError as error:
            abort(500, f"{learning.folder}: {error.strerror}")


def _events(app: flask.Flask, learning: Learning) -> None:
    free = threading.BoundedSemaphore(MAX_LISTENERS)

    def stream() -> Iterator[str]:
        end = time.monotonic() + _STREAM_SECONDS
        version = -1
        yield "retry: 1000\n\n"
        while time.monotonic() < end and not learning.closed:
            if learning.wait(version, _BEAT_SECONDS):
                state = learning.current()
                version = state["version"]
                yield f"data: {json.dumps(state)}\n\n"
                time.sleep(0.1)  # what changes in the meantime is told at once
            else:
                yield ":\n\n"  # finds out whether the listener is still there

    @app.get("/api/events")
    def events() -> flask.Response:
        if not free.acquire(blocking=False):
            abort(503, f"at most {MAX_LISTENERS} listeners at a time; ask /api/training instead")
        response = flask.Response(stream(), mimetype="text/event-stream")
        response.call_on_close(free.release)
        return response
