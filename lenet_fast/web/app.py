"""The routes of the page, and its checks of requests."""

from __future__ import annotations

import json
import logging
import mimetypes
import threading
import time
from collections.abc import Collection, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import flask
from werkzeug.exceptions import HTTPException, abort
from werkzeug.local import LocalProxy

from lenet_fast import __version__, checks
from lenet_fast.data.arrays import look_inverted
from lenet_fast.web import drawings, names, pupils, snapshots, training_requests
from lenet_fast.web.manager import TrainingManager
from lenet_fast.web.names import is_ours
from lenet_fast.web.pupils import Pupils
from lenet_fast.web.shared import RefusedError

MAX_BYTES = 256 * 1024
"""Largest body of a request."""

MAX_LISTENERS = 12
"""Most clients that receive the progress of a training as it happens; others poll."""

MAX_IMAGES = 1000
"""Most test images in one answer."""

_STREAM_SECONDS, _BEAT_SECONDS = 60.0, 2.0
"""Longest life of a stream of events, and longest silence in it."""

_RETRY = "retry: 1000\n\n"
"""What tells a browser to open a stream that has ended again, after a second."""

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
    states: Pupils,
    host: str = "127.0.0.1",
    allowed: Collection[str] = (),
    token: str = "",
) -> flask.Flask:
    """Return the page as a WSGI application.

    Requests must name `host`, the address the server listens on, or this machine: a page from
    another site whose name resolves to this server (DNS rebinding) is refused. If the server
    listens on all addresses, any numeric address is accepted. `allowed` are further host names
    under which the page may be opened, also behind a proxy with TLS; ValueError for any other text.

    With a `token`, everything but the page's own files needs it: in the address that opens the
    page, which then keeps it in a cookie, or from other programs in the header ``Authorization:
    Bearer TOKEN``.
    """
    # Some systems read the type from a registry, in which programs leave wrong entries.
    mimetypes.add_type("text/javascript", ".js")
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 0  # revalidate: the package may have been updated
    _guard(app, host, frozenset(map(names.checked, allowed)))
    if token:
        _ask_for_token(app, pupils.checked_token(token))
    manager = _states(app, states)
    _errors(app)
    _reading(app, manager)
    _training(app, manager)
    _events(app, manager)
    return app


def _guard(app: flask.Flask, host: str, allowed: Collection[str]) -> None:
    @app.before_request
    def refuse_strangers() -> None:
        request = flask.request
        header = request.headers.get("Host", "")
        if not is_ours(header, host, allowed):
            abort(403, f"host: expected the address of this server; {_way_in(header)}")
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return  # a link on another site may lead here; it reveals nothing to that site
        # Browsers send this header on trusted connections: to this machine, or with TLS.
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if site not in ("same-origin", "none"):
            abort(403, "sec-fetch-site: expected a request from this page, not from another site")
        origin = request.headers.get("Origin")  # other programs send none
        if origin is not None and not names.is_own_origin(origin, header, allowed):
            abort(
                403,
                "origin: expected a request from this page; behind a proxy, start the server with "
                "--allow-host and the proxy's name, and let the proxy pass on the Host header",
            )

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response


def _cookie(name: str) -> str:
    """Return the name of a cookie; browsers share them between the ports of a machine."""
    return f"{name}_{urlsplit(flask.request.host_url).port or 80}"


def _ask_for_token(app: flask.Flask, token: str) -> None:
    refused = (
        "token: expected the whole address that lenet-fast serve has printed, with ?token=, in a "
        "browser that accepts cookies"
    )

    @app.before_request
    def refuse_without() -> flask.Response | None:
        request = flask.request
        if request.path == "/" and (given := request.args.get("token")) is not None:
            if not pupils.same(given, token):
                abort(403, refused)
            response = flask.Response(status=303)  # the token leaves the address bar
            response.headers["Location"] = "/"
            response.set_cookie(_cookie("token"), token, httponly=True, samesite="Strict")
            return response
        if request.path.startswith("/api/"):
            sent = request.authorization
            bearer = sent.token if sent is not None and sent.type == "bearer" else None
            given = bearer or request.cookies.get(_cookie("token"), "")
            if not pupils.same(given, token):
                raise RefusedError(refused, "token", 403)
        return None


def _states(app: flask.Flask, states: Pupils) -> TrainingManager:
    """Return the state of whoever sends the current request."""

    @app.before_request
    def find() -> None:
        if flask.request.path.startswith("/api/"):
            key = flask.request.cookies.get(_cookie("pupil"), "")
            flask.g.manager = states.of(key, flask.request.remote_addr or "")

    @app.after_request
    def give_key(response: flask.Response) -> flask.Response:
        if states.most and flask.request.path == "/" and response.status_code < 400:
            name = _cookie("pupil")
            if not states.knows(flask.request.cookies.get(name, "")):
                # Lax: a link on another site leads a pupil to the state from before. It gives no
                # rights; the cookie of the token is strict.
                response.set_cookie(name, states.new_key(), httponly=True, samesite="Lax")
        return response

    def current() -> TrainingManager:
        if flask.has_request_context():
            return cast(TrainingManager, flask.g.get("manager", states.first))
        return states.first

    return cast(TrainingManager, LocalProxy(current))


def _way_in(header: str) -> str:
    """Return how to open the page under the name in a Host header."""
    try:
        name = names.checked(names.given(header))
    except ValueError:
        name = "NAME"
    return f"to open it under another name, start it with: lenet-fast serve --allow-host {name}"


def _errors(app: flask.Flask) -> None:
    def answer(status: int, reason: object, **more: object) -> tuple[flask.Response, int]:
        return flask.jsonify(error=str(reason)[:300], **more), status

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[flask.Response, int]:
        code = error.code or 500
        accepted = flask.request.accept_mimetypes
        if accepted.best_match(("application/json", "text/html")) == "text/html":  # opened by hand
            text = f"The page does not open at this address.\n\n{error.description}\n"
            return flask.Response(text, mimetype="text/plain"), code
        return answer(code, error.description)

    @app.errorhandler(Exception)
    def other(error: Exception) -> tuple[flask.Response, int]:
        _log.error("the page", exc_info=error)
        return answer(500, "the server failed; its terminal shows the error", key="failed")

    @app.errorhandler(ImportError)  # an engine that is missing here
    @app.errorhandler(TypeError)
    @app.errorhandler(ValueError)
    def wrong(error: Exception) -> tuple[flask.Response, int]:
        return answer(400, error)

    @app.errorhandler(RefusedError)
    def refused(error: RefusedError) -> tuple[flask.Response, int]:
        return answer(error.status, error, key=error.key, values=error.values)


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


def _reading(app: flask.Flask, manager: TrainingManager) -> None:
    test = manager.splits.test
    test_inverted = look_inverted(test.images)

    @app.get("/")
    def page() -> flask.Response:
        return app.send_static_file("index.html")

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        splits = manager.splits
        return {
            "version": __version__,
            "notice": splits.notice,
            "sample": splits.train.name == "sample",
            "train_images": len(splits.train),
            "test_images": len(test),
            "digits": test.classes == checks.DIGITS,
            "inverted": test_inverted,
            "folder": str(manager.folder),
            "zip_codes": manager.shared.has_zip_codes,
            "max_side": drawings.MAX_SIDE,
            **training_requests.choices(len(splits.train), len(splits.train.classes)),
        }

    @app.get("/api/network")
    def network() -> dict[str, Any]:
        return manager.snapshot.describe()

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
            label = int(test.labels[index])
            known = {"index": index, "label": label, "name": test.classes[label]}
        else:
            raise ValueError("body: expected either pixels or digit")
        if image is None:
            answer: dict[str, Any] = {"blank": True, "number": manager.snapshot.number}
        else:
            outputs = manager.snapshot.inspect(image, inverted=inverted)
            answer = {"blank": False, "image": image.tolist(), **outputs}
        response = flask.jsonify(answer | known)
        seconds = time.perf_counter() - started
        response.headers["Server-Timing"] = f"read;dur={1000 * seconds:.2f}"
        return response

    @app.get("/api/weights")
    def weights() -> flask.Response:
        snapshot = manager.snapshot
        response = flask.Response(snapshot.weights(), mimetype="application/octet-stream")
        response.headers["Network-Number"] = str(snapshot.number)
        return response

    @app.get("/api/predictions")
    def predictions() -> dict[str, Any]:
        snapshot = manager.snapshot
        return {"number": snapshot.number, **snapshot.predictions(test).to_json(test)}

    @app.get("/api/images")
    def images() -> dict[str, Any]:
        given = flask.request.args.get("indices", "").split(",")
        if len(given) > MAX_IMAGES or not all(index.isdecimal() for index in given):
            raise ValueError(f"indices: expected 1 to {MAX_IMAGES} numbers with commas between")
        indices = [checks.integer("indices", int(index), 0, len(test) - 1) for index in given]
        return snapshots.images_json(test, indices)


def _training(app: flask.Flask, manager: TrainingManager) -> None:
    @app.get("/api/training")
    def training() -> dict[str, Any]:
        return manager.everything()

    @app.post("/api/training")
    def start() -> dict[str, Any]:
        body = _body()
        name, paused = body.pop("name", ""), body.pop("paused", False)
        manager.start(body, name=name, paused=paused)
        return manager.everything()

    @app.post("/api/<any(stop, pause, go_on, step):action>")
    def control(action: str) -> dict[str, Any]:
        _body()
        getattr(manager, action)()
        return manager.current()

    @app.post("/api/rate")
    def rate() -> dict[str, Any]:
        manager.set_rate(_body().get("rate"))
        return manager.current()

    @app.post("/api/name")
    def name() -> dict[str, Any]:
        body = _body()
        manager.rename(body.get("number"), body.get("name"))
        return manager.everything()

    @app.post("/api/use")
    def use() -> dict[str, Any]:
        manager.use(_body().get("number"))
        return manager.everything()

    @app.post("/api/save")
    def save() -> dict[str, Any]:
        _body()
        try:
            return {"folder": str(manager.save())}
        except OSError as error:
            folder, why = str(manager.folder), error.strerror
            raise RefusedError(
                f"{folder}: {why}", "unsaved", 500, folder=folder, why=why
            ) from error


def _event(state: dict[str, Any]) -> str:
    return f"data: {json.dumps(state)}\n\n"


def _events(app: flask.Flask, manager: TrainingManager) -> None:
    free = threading.BoundedSemaphore(MAX_LISTENERS)

    def stream(manager: TrainingManager) -> Iterator[str]:
        end = time.monotonic() + _STREAM_SECONDS
        version = -1
        yield _RETRY
        while time.monotonic() < end and not manager.closed:
            if manager.wait(version, _BEAT_SECONDS):
                state = manager.current()
                version = state["version"]
                yield _event(state)
                time.sleep(0.1)  # changes meanwhile are sent together
            else:
                yield ":\n\n"  # fails if the client has gone

    @app.get("/api/events")
    def events() -> flask.Response:
        state = flask.g.manager  # the proxy ends with the request
        if not free.acquire(blocking=False):
            # Browsers then ask once a second; an error would end that, and fill their consoles.
            return flask.Response(_RETRY + _event(state.current()), mimetype="text/event-stream")
        response = flask.Response(stream(state), mimetype="text/event-stream")
        response.call_on_close(free.release)
        return response
