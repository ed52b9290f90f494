"""The page's server, asked over HTTP: what it answers, what it refuses, what it survives."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from drawn_digits import DIGITS, PLACES, painted, placed
from helpers import started
from page_cases import QUICK, Page, serving

from lenet_fast import cures, data, disk, files, models
from lenet_fast.layers import Dense
from lenet_fast.network import Network
from lenet_fast.training import Constant, Cosine, LinearDecay, OneCycle, runs
from lenet_fast.web import app, drawings, manager, records, server, snapshots, training_requests
from lenet_fast.web.manager import TrainingManager
from lenet_fast.web.training_requests import TrainingRequest

SAMPLE = data.load("sample")

STREAM = b"Transfer-Encoding: chunked"
"""What an answer that goes on has; one that tells the state once has a length."""


@pytest.fixture(scope="module")
def page(page_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Yield a page with a network that can read."""
    taught = TrainingManager(
        SAMPLE, tmp_path_factory.mktemp("saved") / "page", page_network, "a model"
    )
    with pytest.MonkeyPatch.context() as patch, serving(taught) as served:
        patch.setattr(app, "_BEAT_SECONDS", 0.1)
        yield Page(taught, served.effective_port)


@pytest.fixture
def fresh(page: Page) -> Page:
    """Return the page with the network that it began with."""
    page.learning.stop()
    thread = page.learning._thread
    if thread is not None:
        thread.join()
    page.learning.use(0)
    return page


# --- reading  ---


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("place", PLACES)
def test_drawn_digits_are_read_wherever_and_however_they_are_drawn(
    fresh: Page, place: str, digit: int
) -> None:
    assert fresh.read(painted(*placed(digit, place)))["digit"] == digit


def test_the_answer_is_what_the_network_makes_of_the_image(
    fresh: Page, page_network: Network
) -> None:
    drawing = painted(*placed(4, "corner"))
    answer = fresh.read(drawing)
    image = np.array(answer["image"], np.uint8)
    np.testing.assert_array_equal(image, data.centre(drawing, invert=False))
    penalties = page_network.predict(image)
    np.testing.assert_allclose(answer["values"], penalties, rtol=1e-4, atol=1e-3)
    assert [answer["digit"], answer["second"]] == penalties.argsort()[:2].tolist()
    found = page_network.activations(image)
    for name in ("C1", "S2", "C3", "S4", "C5", "F6"):
        stage = answer["stages"][name]
        values = np.frombuffer(base64.b64decode(stage["values"]), np.int8) * (stage["limit"] / 127)
        expected = found[f"{name}.activation"].ravel()
        np.testing.assert_allclose(values, expected, rtol=0, atol=0.51 * 1.7159 / 127)
        assert np.ptp(expected) > 0.1  # or any picture would do


def test_a_test_digit_is_not_fitted_again(fresh: Page) -> None:
    status, answer, _ = fresh.ask("/api/read", {"digit": 7})
    assert (status, answer["index"], answer["label"]) == (200, 7, SAMPLE.test.labels[7])
    np.testing.assert_array_equal(answer["image"], SAMPLE.test.images[7])


def test_blank_paper_is_not_read(fresh: Page) -> None:
    for drawing in (np.zeros((112, 112), int), np.full((28, 28), 5)):
        answer = fresh.read(drawing)
        assert answer == {"blank": True, "number": 0}


def test_a_drawing_without_a_difference_is_blank_whatever_its_grey(fresh: Page) -> None:
    for grey in (0, 1.5, 5, 128, 255):
        assert fresh.read(np.full((112, 112), grey)) == {"blank": True, "number": 0}
    assert fresh.read(np.arange(784).reshape(28, 28) % 15 + 230)["blank"]  # noise


@pytest.mark.parametrize("most", [16, 30, 255])
def test_faint_ink_is_read_too(fresh: Page, most: int) -> None:
    drawing = painted(*placed(4, "corner")) * (most / 255)
    assert fresh.read(drawing)["digit"] == 4


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda drawing: drawing / 255, "multiply by 255"),
        (lambda drawing: (drawing > 127) * 1, "multiply by 255"),
        (lambda drawing: 255.0 - drawing, "subtract the values from 255"),
        (lambda drawing: 200 - drawing / 2, "subtract the values from 255"),
    ],
    ids=["floats", "bits", "swapped", "swapped-grey"],
)
@pytest.mark.parametrize("place", ["centre", "corner", "large"])
def test_a_drawing_of_another_scale_is_refused(
    page: Page, change: Callable[[np.ndarray], np.ndarray], word: str, place: str
) -> None:
    drawing = change(painted(*placed(3, place)))
    status, answer, _ = page.ask("/api/read", {"pixels": drawing.tolist()})
    assert (status, word in answer["error"]) == (400, True)


def test_misread_digits_are_those_that_the_network_misreads(
    fresh: Page, page_network: Network
) -> None:
    found = page_network.classify(SAMPLE.test.images)
    wrong = np.flatnonzero(found != SAMPLE.test.labels)
    assert 0 < len(wrong) < 100
    _, answer, _ = fresh.ask("/api/predictions")
    first, second, labels = (
        np.frombuffer(base64.b64decode(answer[name]), "<i2")
        for name in ("first", "second", "labels")
    )
    np.testing.assert_array_equal(np.flatnonzero(first != labels), wrong)
    outputs = page_network.predict(SAMPLE.test.images)
    best = np.sort(outputs, axis=1)
    np.testing.assert_array_equal(outputs[np.arange(len(second)), second], best[:, 1])
    margins = np.frombuffer(base64.b64decode(answer["margins"]), "<f4")
    np.testing.assert_allclose(margins, best[:, 1] - best[:, 0], atol=1e-4)
    assert fresh.ask("/api/images?indices=7,3")[1]["labels"] == SAMPLE.test.labels[[7, 3]].tolist()


def test_thin_lines_become_as_thick_as_those_of_mnist_and_others_stay() -> None:
    def inner(image: np.ndarray) -> float:
        ink = image >= 128
        core = ink[1:-1, 1:-1] & ink[:-2, 1:-1] & ink[2:, 1:-1] & ink[1:-1, :-2] & ink[1:-1, 2:]
        return core.sum() / ink.sum()

    for digit in DIGITS:
        thin, thick = (painted(*placed(digit, place)) for place in ("thin", "thick"))
        prepared = drawings.from_canvas(thin.tolist())
        assert inner(prepared) > 0.1 > 0.03 > inner(data.centre(thin, invert=False))
        assert [np.ptp(np.flatnonzero((prepared > 0).any(axis=k))) + 1 for k in (0, 1)] <= [20, 20]
        again = drawings.from_canvas(thick.tolist())
        np.testing.assert_array_equal(again, data.centre(thick, invert=False))


def test_the_first_touch_of_the_pen_is_no_shadow() -> None:
    page = np.zeros((112, 112))
    page[50:59, 40:49] = 255
    page[51:58, [39, 49]] = 255
    image = drawings.from_canvas(page.tolist())
    assert image is not None
    assert image.max() == 255
    assert np.flatnonzero(image.any(axis=1)).tolist() == list(range(6, 22))


def test_links_are_those_of_the_papers_table(fresh: Page) -> None:
    stages = {stage["name"]: stage for stage in fresh.ask("/api/network")[1]["stages"]}
    assert stages["C3"]["links"][:7] == [
        *([0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [0, 4, 5], [0, 1, 5]),
        [0, 1, 2, 3],
    ]
    assert stages["S2"]["links"] == [[k] for k in range(6)]
    assert stages["C1"]["links"] is stages["F6"]["links"] is None
    lenet4 = snapshots.NetworkSnapshot(models.lenet4(), 1, "").describe()["stages"]
    assert lenet4[1]["links"] == [[k // 2] for k in range(8)]


@pytest.mark.parametrize(
    "network",
    [
        models.lenet5(pooling=None, activation="relu", output="softmax"),
        models.lenet4(),
        models.lenet1(),
        models.lenet1989(),
    ],
    ids=["relu", "lenet4", "lenet1", "lenet1989"],
)
def test_other_networks_can_be_looked_at_too(network: Network) -> None:
    snapshot = snapshots.NetworkSnapshot(network, 3, "other")
    described, seen = snapshot.describe(), snapshot.inspect(SAMPLE.test.images[0])
    assert json.loads(json.dumps(described, allow_nan=False))["bitmaps"] is None
    for stage in described["stages"]:
        values = base64.b64decode(seen["stages"][stage["name"]]["values"])
        assert len(values) == np.prod(stage["shape"])
    images = data.fitted(SAMPLE.test.images, network.input_shape[1])
    found = network.classify(images)
    assert seen["digit"] == found[0]
    np.testing.assert_array_equal(snapshot.predictions(SAMPLE.test).first, found)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("weight", [np.nan, np.inf, 1e30, 1e-45])
@pytest.mark.parametrize("activation", ["relu", "scaled_tanh"])
def test_a_network_that_overflows_gives_numbers_that_json_has(
    weight: float, activation: str
) -> None:
    """Where nothing bounds the maps, too."""
    network = models.lenet5(pooling=None, activation=activation)
    for array in network.parameters.values():
        array[...] = weight
    snapshot = snapshots.NetworkSnapshot(network, 0, "wild")
    for answer in (snapshot.inspect(SAMPLE.test.images[0]), snapshot.describe()):
        json.dumps(answer, allow_nan=False)


def test_a_network_for_other_images_is_refused() -> None:
    network = Network([Dense(64 * 3, 10)], input_shape=(3, 8, 8))
    with pytest.raises(ValueError, match=r"square images of one map, got one for 3 x 8 x 8"):
        snapshots.NetworkSnapshot(network, 0, "of colours")


# --- limits  ---

ROWS = [[0] * 28] * 27


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[1]", "object"),
        (b"{}", "either"),
        (b'{"pixels": [[0]], "digit": 1}', "either"),
        (b'{"path": "/etc/passwd"}', "either"),
        ({"pixels": None}, "list of rows"),
        ({"pixels": [1, 2]}, "list of rows"),
        ({"pixels": []}, "0 rows"),
        ({"pixels": [[]]}, "rows of one length"),
        ({"pixels": [[0] * 7] * 7}, "7 rows of 7"),
        ({"pixels": [[0] * 161] * 161}, "161 rows"),
        ({"pixels": [*ROWS, [0] * 27]}, "one length"),
        ({"pixels": [*ROWS, [0] * 27 + ["1"]]}, "numbers only"),
        ({"pixels": [*ROWS, [0] * 27 + [None]]}, "numbers only"),
        ({"pixels": [*ROWS, [0] * 27 + [True]]}, "numbers only"),
        ({"pixels": [*ROWS, [0] * 27 + [[1]]]}, "numbers only"),
        ({"pixels": [*ROWS, [0] * 27 + [float("nan")]]}, "finite"),
        ({"pixels": [*ROWS, [0] * 27 + [float("inf")]]}, "finite"),
        ({"pixels": [*ROWS, [0] * 27 + [-1]]}, "-1 to 0"),
        ({"pixels": [*ROWS, [0] * 27 + [255.1]]}, "255.1"),
        ({"pixels": [*ROWS, [0] * 27 + [10**400]]}, "finite"),
        ({"digit": -1}, "digit"),
        ({"digit": 1000}, "digit"),
        ({"digit": 1.0}, "digit"),
        ({"digit": "../model"}, "digit"),
    ],
)
def test_what_is_no_drawing_gets_400_and_a_reason(page: Page, body: Any, word: str) -> None:
    status, answer, _ = page.ask("/api/read", body)
    assert status == 400
    assert word in answer["error"]
    assert len(answer["error"]) <= 300


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"model": "resnet"}, "model"),
        ({"model": ["lenet5"]}, "model"),
        ({"model": "lenet1", "output": "rbf"}, "output"),
        ({"engine": "gpu"}, "engine"),
        ({"distort": "paper "}, "distort"),
        ({"schedule": "rate_list"}, "schedule"),
        ({"schedule": "constant", "warmup": 0.1}, "warmup"),
        ({"schedule": "one_cycle", "warmup": 1}, "warmup"),
        ({"warmup": "0.1"}, "warmup"),
        ({"recipe": "slow"}, "recipe"),
        ({"recipe": ["fast"]}, "recipe"),
        ({"recipe": "fast", "model": "lenet4"}, "model"),
        ({"recipe": "paper", "output": "softmax"}, "output"),
        ({"data": "../usps"}, "data"),
        ({"name": 3}, "name"),
        ({"name": "a" * 41}, "name"),
        ({"name": "a\u0000"}, "name"),
        ({"paused": 1}, "paused"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 101}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"rate": 0}, "rate"),
        ({"rate": 11}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": "1"}, "rate"),
        ({"out": "/tmp/elsewhere"}, "out"),
    ],
)
def test_what_is_no_lesson_gets_400_and_a_reason(page: Page, settings: Any, word: str) -> None:
    status, answer, _ = page.ask("/api/training", settings)
    assert status == 400
    assert word in answer["error"]


def test_a_body_has_at_most_256_kilobytes(page: Page) -> None:
    most = 256 * 1024
    text = json.dumps({"digit": 1}).encode()
    assert page.ask("/api/read", text.ljust(most))[0] == 200
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # before all was sent
        assert page.ask("/api/read", text.ljust(most + 1))[0] == 413
    # With no length given, and with one that is a threat.
    chunk = b"%x\r\n" % most + bytes(most) + b"\r\n"
    head = b"POST /api/read HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for rest in (
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk + chunk + b"0\r\n\r\n",
        b"Content-Length: 99999999999\r\n\r\n" + b"x" * 4096,
    ):
        with contextlib.suppress(ConnectionResetError), page.raw(head + rest) as connection:
            assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert page.ask("/api/about")[0] == 200


def test_only_json_is_taken(page: Page) -> None:
    """A form of another site can send other types without being asked first."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert page.ask("/api/training", b"{}", {"Content-Type": kind})[0] == 415
        assert page.ask("/api/stop", b"{}", {"Content-Type": kind})[0] == 415


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80@localhost", "", "0.0.0.0"]
)
def test_other_hosts_are_refused(page: Page, host: str) -> None:
    for path, body in (("/", None), ("/api/about", None), ("/api/read", {"digit": 1})):
        status, answer, _ = page.ask(path, body, {"Host": host})
        assert (status, "host" in answer["error"]) == (403, True)
    with page.raw(b"GET / HTTP/1.0\r\n\r\n") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.0 403 ")


def test_this_host_by_any_of_its_names_is_not(page: Page) -> None:
    hosts = ("localhost", f"127.0.0.1:{page.port}", "LOCALHOST:1", "[::1]:8000", "localhost.:1")
    for host in hosts:
        assert page.ask("/", headers={"Host": host})[0] == 200
    assert app.is_ours("192.168.1.5:8000", "0.0.0.0")
    assert app.is_ours("[fe80::1]:8000", "0.0.0.0")
    assert app.is_ours("board.example:8000", "board.example")
    assert app.is_ours("board.example.:8000", "Board.example")
    assert not app.is_ours("evil.example", "0.0.0.0")
    assert not app.is_ours("localhost:99999", "0.0.0.0")


@pytest.fixture(scope="module")
def named(page_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Yield a page that may be opened by two more names."""
    taught = TrainingManager(
        SAMPLE, tmp_path_factory.mktemp("saved") / "page", page_network, "a model"
    )
    names = ("LabPC", "xyz-8790.app.github.dev.", "bücher.local", "[fd00::5]")
    with serving(taught, allowed=names) as served:
        yield Page(taught, served.effective_port)


@pytest.mark.parametrize(
    "host",
    [
        *("labpc", "labpc:8790", "LABPC:1", "labpc.:8790", "xyz-8790.app.github.dev"),
        *("xn--bcher-kva.local", "[fd00::5]:8000", "localhost:4321"),
    ],
)
def test_an_allowed_name_opens_the_page_at_any_port(named: Page, host: str) -> None:
    for path, body in (("/", None), ("/api/about", None), ("/api/read", {"digit": 1})):
        own = {"Host": host, "Origin": f"http://{host}"} if body else {"Host": host}
        assert named.ask(path, body, own)[0] == 200


@pytest.mark.parametrize(
    "host", ["vm.local", "labpc.evil.example", "app.github.dev", "a.labpc", "labpc@evil", "labpc/"]
)
def test_a_name_that_is_not_allowed_is_told_the_option(named: Page, host: str) -> None:
    status, answer, _ = named.ask("/", headers={"Host": host})
    assert status == 403
    assert "lenet-fast serve --allow-host " in answer["error"]
    name = answer["error"].split()[-1]
    assert name == (host if "@" not in host and "/" not in host else "NAME")


@pytest.mark.parametrize("host", ["labpc", "labpc:8443", "127.0.0.1:8790"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://labpc", 200),
        ("https://labpc:8443", 200),
        ("https://xyz-8790.app.github.dev", 200),
        ("http://labpc", 200),
        ("http://labpc:9999", 403),  # another program of that machine
        ("https://labpc.evil.example", 403),
        ("https://vm.local", 403),
        ("ftp://labpc", 403),
        ("https://me@labpc", 403),
        ("https://labpc/", 403),
        ("https://", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_tls_proxy_of_an_allowed_name_may_stand_before_the_page(
    named: Page, host: str, origin: str, status: int
) -> None:
    """Whether or not it passes on the Host header."""
    found, answer, _ = named.ask("/api/read", {"digit": 1}, {"Host": host, "Origin": origin})
    assert found == status
    assert status == 200 or "--allow-host" in answer["error"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "one host name"),
        (" ", "one host name"),
        ("lab pc", "one host name"),
        ("http://labpc", "without scheme"),
        ("labpc:8790", "port"),
        ("labpc/page", "path"),
        ("a,b", "one host name"),
        ("me@labpc", "one host name"),
        ("a..b", "one host name"),
        ("-a", "one host name"),
        ("a" * 64, "one host name"),
        ("a." * 127 + "a", "one host name"),
        ("*", "wildcards"),
        ("*.local", "wildcards"),
        (".local", "wildcards"),
        ("0.0.0.0", "no browser"),
        ("::", "no browser"),
        ("127.1", "one host name"),
        ("[::1", "one host name"),
        ("::1]", "one host name"),
        ("0x7f000001", "one host name"),
        ("straße.example", "punycode"),
    ],
)
def test_what_is_no_name_cannot_be_allowed(
    name: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from lenet_fast import cli

    with pytest.raises(ValueError, match=word):
        app.names.checked(name)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", "--no-browser", "--allow-host", "labpc", "--allow-host", name])
    error = capsys.readouterr().err
    assert "'--allow-host'" in error
    assert word in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1"]
)
def test_other_origins_may_change_nothing(page: Page, origin: str) -> None:
    for path in ("/api/training", "/api/stop", "/api/save", "/api/use", "/api/read"):
        status, answer, _ = page.ask(path, {}, {"Origin": origin})
        assert (status, "origin" in answer["error"]) == (403, True)
    own = {"Origin": f"http://127.0.0.1:{page.port}"}
    assert page.ask("/api/read", {"digit": 1}, own)[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "anything"},
        {"Sec-Fetch-Site": ""},
        {"Origin": "http://evil.example"},  # of a browser that knows no Sec-Fetch-Site
        {"Origin": "null"},
    ],
)
def test_another_site_can_ask_nothing_and_takes_no_listeners_place(
    page: Page, header: dict[str, str]
) -> None:
    paths = ["/api/about", "/api/network", "/api/training", "/api/predictions"]
    for path in paths + ["/api/events"] * (app.MAX_LISTENERS + 1):
        status, answer, _ = page.ask(path, headers=header)
        assert (status, "from this page" in answer["error"]) == (403, True)
    with page.raw(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n") as listener:
        assert STREAM in listener.recv(4096)


def test_the_page_itself_asks_and_a_link_elsewhere_leads_to_it(page: Page) -> None:
    for site in ("same-origin", "none"):
        for path in ("/", "/static/main.js", "/api/about", "/api/training"):
            assert page.ask(path, headers={"Sec-Fetch-Site": site})[0] == 200
        assert page.ask("/api/read", {"digit": 1}, {"Sec-Fetch-Site": site})[0] == 200
    for site in ("same-site", "cross-site"):
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert page.ask("/", headers=link)[0] == 200


def test_every_answer_has_the_headers_that_keep_it_safe(page: Page) -> None:
    for path, status in (
        ("/", 200),
        ("/static/main.js", 200),
        ("/static/style.css", 200),
        ("/api/about", 200),
        ("/api/nothing", 404),
        ("/api/read", 405),
        ("/api/images", 400),
        ("/api/images?indices=-1", 400),
        ("/api/images?indices=1000", 400),
        ("/api/images?indices=1,%D9%A1,x", 400),
        ("/api/images?indices=" + ",".join("0" * 1001), 400),
    ):
        found, _, headers = page.ask(path)
        assert found == status
        assert headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in headers
    assert page.ask("/static/main.js")[2].get_content_type() == "text/javascript"


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "//etc/passwd"),
        *("/static/", "/static/..\\app.py", "/static/%00"),
    ],
)
def test_nothing_but_the_pages_own_files_is_handed_out(page: Page, path: str) -> None:
    status, answer, _ = page.ask(path)
    assert status in (400, 404)
    assert "import" not in str(answer)


def test_the_page_asks_no_other_address() -> None:
    for path in Path(app.__file__).parent.joinpath("static").iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path.name


# --- many at once, and slow ones  ---


def test_200_at_once_get_the_answers_that_they_get_one_after_the_other(fresh: Page) -> None:
    def ask(index: int) -> dict[str, Any]:
        return fresh.ask("/api/read", {"digit": index})[1]

    alone = [ask(index) for index in range(200)]
    with ThreadPoolExecutor(200) as pool:
        together = list(pool.map(ask, range(200)))
    assert together == alone
    assert len({answer["digit"] for answer in alone}) == 10


def test_listeners_are_few_and_the_rest_is_answered_meanwhile(page: Page) -> None:
    text = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(page.raw(text)) for _ in range(app.MAX_LISTENERS)]
        for listener in listeners:
            heard = b""
            while b"data: {" not in heard:
                heard += listener.recv(4096)
            assert heard.startswith(b"HTTP/1.1 200 ")
            assert b"text/event-stream" in heard
        status, once, _ = page.ask("/api/events")  # which ends at once
        assert (status, once.count(b"data: {"), b"retry: 1000" in once) == (200, 1, True)
        assert page.ask("/api/read", {"digit": 1})[0] == 200
    # All have gone: their places are free again. Who asks for the head alone has none.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with page.raw(text) as listener:
            if STREAM in listener.recv(4096):
                break
        time.sleep(0.05)
    else:
        raise AssertionError("a listener that has gone keeps its place")
    heads = [page.ask("/api/events", method="HEAD")[0] for _ in range(2 * app.MAX_LISTENERS)]
    assert heads == [200] * len(heads)


def test_slow_clients_are_sent_away(page_network: Network, tmp_path: Path) -> None:
    """Half a head, half a body, either by drips, and a listener that never reads."""
    head = b"POST /api/read HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    taught = TrainingManager(SAMPLE, tmp_path, page_network)
    with serving(taught, timeout=1) as served, contextlib.ExitStack() as stack:
        page = Page(taught, served.effective_port)
        half = [
            stack.enter_context(page.raw(text))
            for text in (b"GET / HT", head, head + b"Content-Length: 1000\r\n\r\n{")
            for _ in range(20)
        ]
        stack.enter_context(page.raw(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        assert page.ask("/api/read", {"digit": 1})[0] == 200
        dripping = half[::10]
        end = time.monotonic() + 8
        while dripping and time.monotonic() < end:
            time.sleep(0.1)
            for connection in tuple(dripping):
                try:
                    connection.send(b"a")
                except OSError:
                    dripping.remove(connection)
        assert dripping == []
        for connection in half:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert page.ask("/api/read", {"digit": 1})[0] == 200


# --- learning  ---


def test_a_training_from_start_to_file(fresh: Page) -> None:
    status, state, _ = fresh.ask("/api/training", QUICK)
    assert (status, state["run"]["state"], state["reading"]) == (200, "running", 1)
    number = state["run"]["number"]
    run = fresh.wait_for("done")
    assert run["images"] == run["total"] == len(SAMPLE.train)
    assert run["points"][0][2] > 0.8
    # The curve goes on to the last image, where the error is that of the epoch: the sample's test
    # set is small enough to be measured whole.
    images, _, error, loss, *_ = run["points"][-1]
    assert [images, error] == [run["total"], run["epochs"][-1]["test"]]
    assert loss == pytest.approx(run["epochs"][-1]["test_loss"], rel=1e-5)
    assert run["epochs"][-1]["test"] < 0.12
    status, answer, _ = fresh.ask("/api/save", {"folder": "/tmp/mine"})
    assert status == 200
    folder = Path(answer["folder"])
    assert folder.parent == fresh.learning.folder.parent
    saved = files.load_model(folder / runs.MODEL)
    found = saved.classify(SAMPLE.test.images)
    wrong = (found != SAMPLE.test.labels).mean()
    assert (
        wrong == run["epochs"][-1]["test"] == runs.read_history(folder).rows[-1].test_errors / 1000
    )
    assert Path(fresh.ask("/api/save", {})[1]["folder"]) != folder
    # The network that was there before can read again, and this one after it.
    assert fresh.ask("/api/use", {"number": 0})[1]["reading"] == 0
    assert fresh.ask("/api/save", {})[0] == 409
    assert fresh.ask("/api/use", {"number": number})[1]["reading"] == number
    for other in (99, "1", None, True, False, 0.0, -1):
        assert fresh.ask("/api/use", {"number": other})[0] == 400


def test_one_training_at_a_time_which_can_be_watched_and_stopped(fresh: Page) -> None:
    assert fresh.ask("/api/training", {"epochs": 100})[0] == 200
    status, answer, _ = fresh.ask("/api/training", QUICK)
    assert (status, "in progress" in answer["error"]) == (409, True)
    assert fresh.ask("/api/use", {"number": 0})[0] == 409
    seen: list[dict[str, Any]] = []
    with (
        fresh.raw(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n") as listener,
        listener.makefile("rb") as lines,
    ):
        for line in lines:
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:]))
                fresh.ask("/api/read", {"digit": 3})
            if len(seen) == 8:
                break
    counts = [state["run"]["images"] for state in seen]
    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert fresh.ask("/api/stop", {})[0] == 200
    run = fresh.wait_for("stopped")
    assert 0 < run["images"] < run["total"]
    assert fresh.ask("/api/read", {"digit": 3})[1]["number"] == run["number"]


def test_a_stop_in_the_first_moment_counts(fresh: Page) -> None:
    """Before the training has so much as looked at its data."""
    fresh.learning.start({"epochs": 100})
    fresh.learning.stop()
    assert fresh.wait_for("stopped")["images"] < len(SAMPLE.train)


def test_a_network_that_reads_is_never_half_written(fresh: Page) -> None:
    """What is handed out in training is a copy of one moment, which no batch changes."""
    fresh.learning.start({"epochs": 100})
    try:
        seen = set()
        for _ in range(5):
            snapshot = fresh.learning.snapshot
            before = {name: array.copy() for name, array in snapshot.network.parameters.items()}
            time.sleep(0.15)
            for name, array in snapshot.network.parameters.items():
                np.testing.assert_array_equal(array, before[name])
            seen.add(before["C1.w"].tobytes())
        assert len(seen) > 1  # it does learn meanwhile
    finally:
        fresh.learning.stop()


def test_a_training_that_diverges_leaves_a_network_that_reads(fresh: Page) -> None:
    fresh.ask("/api/training", QUICK | {"rate": 10.0, "output": "linear"})
    run = fresh.wait_for("failed")
    assert "rate 10 is too high" in run["reason"]
    status, answer, _ = fresh.ask("/api/read", {"digit": 3})
    assert status == 200
    assert np.isfinite(answer["values"]).all()


def test_what_diverges_is_marked_and_its_curve_has_only_numbers(fresh: Page) -> None:
    fresh.ask("/api/training", {"model": "lenet5-max", "output": "linear", "rate": 0.02})
    run = fresh.wait_for("failed")
    assert run["diverged"]
    assert run["points"][-1][5] > 1000 * run["points"][0][3]  # training loss, and the first one
    fresh.ask("/api/training", {"rate": 0.007, "epochs": 1, "schedule": "constant"})
    run = fresh.wait_for("done")  # ten times the usual rate: bounded units cannot overflow
    assert not run["diverged"]
    assert run["points"][-1][5] > 2 * run["points"][0][3]
    assert run["points"][-1][2] == 0.9


def test_an_engine_that_cannot_be_had_is_said_so(
    fresh: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENET_FAST_BACKEND", "numpy")
    status, answer, _ = fresh.ask("/api/training", QUICK | {"engine": "lanes"})
    assert (status, "numpy" in answer["error"]) == (400, True)

    def missing(lesson: object, classes: int) -> None:
        raise ImportError("backend: expected Numba")

    with monkeypatch.context() as patch:
        patch.setattr(training_requests.TrainingRequest, "trainer", missing)
        status, answer, _ = fresh.ask("/api/training", QUICK)
    assert (status, answer["error"]) == (400, "backend: expected Numba")
    assert fresh.learning._thread is None


def test_without_a_thread_to_be_had_nothing_is_begun(
    fresh: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fresh.learning.current()
    with monkeypatch.context() as patch:
        patch.setattr(
            manager, "threading", SimpleNamespace(**vars(threading) | {"Thread": NoThread})
        )
        with pytest.raises(manager.BusyError, match="no room for the training: can't start new"):
            fresh.learning.start(QUICK)
    assert fresh.learning.current() == before
    fresh.learning.start(QUICK)
    assert fresh.wait_for("done")["number"] > 0


def test_only_so_many_runs_are_saved(fresh: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.ask("/api/training", QUICK)
    fresh.wait_for("done")
    parent = fresh.learning.folder.parent
    with monkeypatch.context() as patch:
        patch.setattr(manager, "MAX_SAVES", fresh.learning.shared.saved + 2)
        with ThreadPoolExecutor(8) as pool:
            before = len([*parent.iterdir()])
            answers = list(pool.map(lambda _: fresh.ask("/api/save", {}), range(8)))
        assert sorted(status for status, *_ in answers) == [200] * 2 + [409] * 6
        reasons = {answer["error"] for status, answer, _ in answers if status == 409}
        assert len(reasons) == 1
        assert f"{manager.MAX_SAVES} networks have been saved" in reasons.pop()
        assert len([*parent.iterdir()]) == before + 2
    assert fresh.ask("/api/save", {})[0] == 200


def test_where_nothing_can_be_saved_it_says_so(fresh: Page, tmp_path: Path) -> None:
    fresh.ask("/api/training", QUICK)
    fresh.wait_for("done")
    (tmp_path / "file").write_text("")
    before, fresh.learning.folder = fresh.learning.folder, tmp_path / "file" / "page"
    status, answer, _ = fresh.ask("/api/save", {})
    fresh.learning.folder = before
    assert (status, "file" in answer["error"]) == (500, True)


def test_of_what_cannot_be_saved_whole_nothing_stays(
    fresh: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.ask("/api/training", QUICK)
    fresh.wait_for("done")

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    before = sorted(fresh.learning.folder.parent.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_atomic", full)
        status, answer, _ = fresh.ask("/api/save", {})
    assert (status, "No space left" in answer["error"]) == (500, True)
    assert sorted(fresh.learning.folder.parent.iterdir()) == before
    assert fresh.ask("/api/save", {})[0] == 200


def test_of_too_many_points_some_are_forgotten() -> None:
    run = records.Run.__new__(records.Run)
    run.points, run.every, run.reached = [], 0.1, None
    for k in range(10_000):
        run.add(records.Point(k, k / 10, 0.5))
    assert 50 <= len(run.points) <= 151
    assert [point.images for point in run.points] == sorted(point.images for point in run.points)
    assert run.points[0].images == 0
    assert run.points[-1].images > 9_900


def test_the_time_to_ten_percent_stays_when_points_are_forgotten() -> None:
    """Every other point is; the one that counts may be among them."""
    for first in (1, 2, 3, 140, 149):
        run = records.Run.__new__(records.Run)
        run.points, run.every, run.reached = [], 0.1, None
        for k in range(1000):
            run.add(records.Point(k, k / 10, 0.1 if k == first else 0.2 if k < 500 else 0.05))
        assert run.reached == first / 10


def test_a_network_without_numbers_reads_no_digit() -> None:
    network = models.lenet5(output="softmax")
    answer = snapshots.NetworkSnapshot(network, 0, "sound").inspect(SAMPLE.test.images[0])
    assert answer["digit"] in range(10)
    for array in network.parameters.values():
        array[...] = np.nan
    answer = snapshots.NetworkSnapshot(network, 0, "spoilt").inspect(SAMPLE.test.images[0])
    assert (answer["digit"], answer["second"]) == (None, None)
    json.dumps(answer, allow_nan=False)


# --- the command  ---


def command(
    *arguments: str, **environment: str
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return started(
        [sys.executable, "-m", "lenet_fast", "serve", "--dataset", "sample", *arguments],
        env=os.environ | environment,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_end(number: int, tmp_path: Path) -> None:
    """With a training in progress, and a listener."""
    with command("--port", "0", "--no-browser", "--out", str(tmp_path / "page")) as process:
        assert process.stdout is not None
        url = next(line.split()[-1] for line in process.stdout if line.startswith("page "))
        host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as listener:
            listener.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert listener.recv(100).startswith(b"HTTP/1.1 200 ")
            process.send_signal(number)
            time.sleep(0.05)
            process.send_signal(number)  # as `timeout` does, and a finger that is in a hurry
            out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, ""), out
    assert not (tmp_path / "page").exists()


class NoThread(threading.Thread):
    """What the system's limit makes of a thread."""

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line of a command that fails, without the program's name."""
    from lenet_fast import cli

    with pytest.raises(SystemExit, match="1"):
        cli.main(["serve", "--no-browser", "--dataset", "sample", *arguments])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.removeprefix("lenet-fast: error: ")


def test_a_folder_that_nothing_can_be_saved_to(capsys: pytest.CaptureFixture[str]) -> None:
    from lenet_fast import cli

    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", "--no-browser", "--out", "/"])
    assert "--out: expected a folder that can be created, got /" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("nosuch.invalid", "expected a name or an address of this machine"),
        ("[::1]", "expected a name or an address of this machine"),
        ("http://127.0.0.1", "expected a name or an address of this machine"),
        ("ä..b", "expected a host name or an address"),
        ("203.0.113.1", "expected an address of this machine, or 0.0.0.0"),
    ],
)
def test_where_the_command_cannot_listen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: str, reason: str
) -> None:
    error = failing(capsys, "--host", host, "--port", "0", "--out", str(tmp_path / "page"))
    assert error.startswith(f"--host, --port: {host}, 0: ")
    assert reason in error


def test_a_port_that_is_taken_or_privileged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = failing(capsys, "--port", f"{port}")
        assert error.startswith(f"--host, --port: 127.0.0.1, {port}: Address already in use; ")
        assert "choose another --port" in error

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", denied)  # root may, in CI
    error = failing(capsys, "--port", "80")
    assert (
        error
        == "--host, --port: 127.0.0.1, 80: Permission denied; choose a --port of 1024 or more\n"
    )


@pytest.mark.parametrize("module", ["waitress.task", "lenet_fast.web.manager"])
def test_no_threads_for_the_command(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    page_network: Network,
    tmp_path: Path,
    module: str,
) -> None:
    """For the answers, and for the first training."""
    without = SimpleNamespace(**vars(threading) | {"Thread": NoThread})
    monkeypatch.setattr(sys.modules[module], "threading", without)
    model = []
    if module == "waitress.task":
        model = [str(tmp_path / "model.safetensors")]
        files.save_model(tmp_path / "model.safetensors", page_network)
    assert "can't start new thread" in failing(capsys, "--port", "0", *model)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("127.2", "127.0.0.2"),
        ("LOCALHOST", "LOCALHOST"),
    ],
)
def test_the_address_to_type_is_one_that_is_answered(
    page_network: Network, tmp_path: Path, host: str, url: str
) -> None:
    taught = TrainingManager(SAMPLE, tmp_path, page_network)
    with serving(taught, host=host) as served:
        found = server.address(served, host)
        assert found == f"http://{url}:{served.effective_port}/"
        name = urlsplit(found).hostname
        page = Page(taught, served.effective_port, str(name))
        assert page.ask("/")[0] == 200


def test_without_the_libraries_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lenet_fast import cli

    for name in [name for name in sys.modules if name.startswith("lenet_fast.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(SystemExit, match="1"):
        cli.main(["serve", "--no-browser"])
    error = capsys.readouterr().err
    assert f"waitress is missing: {cures.install('lenet_fast[web]')}" in error
    assert error.count("\n") == 1


# --- networks of dark ink  ---


def test_what_a_network_of_dark_ink_is_shown() -> None:
    image = SAMPLE.test.images[0]
    network = models.lenet5(output="softmax", pooling="max", initialiser="glorot_uniform")
    plain = snapshots.NetworkSnapshot(network, 0, "plain").inspect(image)
    network.inverted = True
    snapshot = snapshots.NetworkSnapshot(network, 0, "dark")
    drawn = snapshot.inspect(image)
    assert drawn["values"] != pytest.approx(plain["values"], rel=1e-3)
    assert drawn == snapshot.inspect(255 - image, inverted=True)
    network.inverted = False
    snapshot = snapshots.NetworkSnapshot(network, 0, "bright")
    assert snapshot.inspect(255 - image, inverted=True) == snapshot.inspect(image)


def test_the_page_predicts_as_the_network_learned() -> None:
    network = models.lenet5(output="softmax", pooling="max", initialiser="glorot_uniform")
    expected = snapshots.NetworkSnapshot(network, 0, "plain").predictions(SAMPLE.test)
    network.inverted = True
    turned = data.Dataset(255 - SAMPLE.test.images, SAMPLE.test.labels, "turned")
    snapshot = snapshots.NetworkSnapshot(network, 0, "dark")
    plain = snapshots.NetworkSnapshot(network, 0, "dark").predictions(SAMPLE.test)
    found = snapshot.predictions(turned)
    np.testing.assert_array_equal(found.margins, plain.margins)
    assert not np.array_equal(found.margins, expected.margins)


def test_where_a_network_overflows_it_predicts_nothing() -> None:
    network = models.lenet5(pooling="max", output="softmax")
    network.parameters["F6.b"][3] = np.nan
    found = snapshots.NetworkSnapshot(network, 0, "wild").predictions(SAMPLE.test)
    assert set(found.first) == set(found.second) == {-1}
    assert set(found.margins) == {0}


def test_a_network_too_large_for_a_browser_is_refused() -> None:
    network = Network([Dense(784, 21_400), Dense(21_400, 10)], input_shape=(1, 28, 28))
    with pytest.raises(ValueError, match=r"huge: expected .* at most 16,777,216 weights.* got 17,"):
        snapshots.NetworkSnapshot(network, 0, "huge")


def test_a_network_that_knows_no_bytes_is_refused() -> None:
    network = models.lenet5()
    network.pixel_range_known = False
    with pytest.raises(ValueError, match="set its pixel_range"):
        snapshots.NetworkSnapshot(network, 0, "foreign")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cosine", Cosine(0.02)),
        ("one_cycle", OneCycle(0.02)),
        ("linear_decay", LinearDecay(0.02)),
        ("constant", Constant(0.02)),
    ],
)
def test_a_request_names_its_schedule(name, expected):
    request = TrainingRequest.from_json(QUICK | {"schedule": name, "rate": 0.02, "epochs": 4}, 100)
    assert request.trainer().schedule.config() == expected.config()
    assert request.to_json()["schedule"] == name
    plain = TrainingRequest.from_json(QUICK, 100)
    assert plain.schedule == "cosine"


@pytest.mark.parametrize("schedule", [Cosine(0.02, warmup=0.25), OneCycle(0.02, warmup=0.0)])
def test_a_request_says_how_long_the_rate_rises(schedule):
    config = schedule.config()
    chosen = {"schedule": config["type"], "rate": 0.02, "warmup": config["warmup"]}
    request = TrainingRequest.from_json(QUICK | chosen, 100)
    assert request.trainer().schedule.config() == config
    assert (
        request.schedule_at(0.01).config() == type(schedule)(0.01, warmup=config["warmup"]).config()
    )
    recipe = TrainingRequest.from_json({"recipe": "fast", "warmup": 0.5}, 100)
    assert recipe.trainer().schedule.config() == OneCycle(0.1, warmup=0.5).config()
