"""``lenet-fast page``: the file, and the page in Chromium, opened from disk and from a server."""

from __future__ import annotations

import copy
import http.server
import itertools
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import require
from page_cases import visit

from lenet_fast import data, models
from lenet_fast.network import Network
from lenet_fast.web import still
from lenet_fast.web.snapshots import NetworkSnapshot

SAMPLE = data.load("sample")


# --- the command  ---


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "lenet1.safetensors"
    models.lenet1().save(path)
    return path


def test_the_command_writes_one_file(lenet_fast: Any, model: Path, tmp_path: Path) -> None:
    result = lenet_fast("page", model, "--out", "demo/page", "--dataset", "sample", "--digits", 20)
    assert (result.status, result.err) == (0, "")
    assert "the bundled sample of MNIST, 20 test images" in result.out
    [file] = (tmp_path / "demo" / "page").iterdir()
    assert file.name == "index.html"
    assert f"{file.stat().st_size / 1000:,.0f} kB" in result.out
    html = file.read_text("utf-8")
    assert str(tmp_path) not in html  # the page may go anywhere
    assert "CC BY-SA 3.0" in html
    assert "/static/" not in re.sub(r"base64,[\w+/=]+", "", html)
    # Once more, the same bytes; other arguments, other bytes.
    before = file.read_bytes()
    again = ("page", model, "--out", "demo/page", "--dataset", "sample", "--digits")
    assert lenet_fast(*again, 21).status == 0
    assert file.read_bytes() != before
    assert lenet_fast(*again, 20).status == 0
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["index.html", "thesis.tex"])
def test_another_folder_is_left_alone(
    lenet_fast: Any, model: Path, tmp_path: Path, name: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / name).write_text("<p>mine</p>")
    call = ("page", model, "--out", other, "--dataset", "sample", "--digits", 3)
    result = lenet_fast(*call)
    assert result.status == 2
    assert "--overwrite writes there" in result.err
    assert [(each.name, each.read_text()) for each in other.iterdir()] == [(name, "<p>mine</p>")]
    assert lenet_fast(*call, "--overwrite").status == 0
    assert still.MARK in (other / "index.html").read_text("utf-8")
    assert lenet_fast(*call).status == 0  # now it is ours


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--dataset", "usps"], "usps, which come without a licence"),
        (["--dataset", "sample", "--digits", "1001"], "--digits: expected at most 1000, got 1001"),
        (["--dataset", "sample", "--digits", "0"], "--digits"),
    ],
)
def test_what_the_command_refuses(
    lenet_fast: Any, model: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    result = lenet_fast("page", model, "--out", "page", *options)
    assert (result.status, words in result.err) == (2, True)
    assert not (tmp_path / "page").exists()


def test_a_file_in_the_place_of_the_folder(lenet_fast: Any, model: Path, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("a file")
    result = lenet_fast("page", model, "--out", "page", "--dataset", "sample", "--digits", 3)
    assert (result.status, "expected a folder" in result.err) == (2, True)


def test_names_of_classes_end_no_script() -> None:
    network = models.lenet1()
    network.classes = ["</script><script>alert(1)</script>", *"abcdefghi"]
    html = still.page(NetworkSnapshot(network, 0, "<!--"), SAMPLE.test, 3).decode()
    assert "alert(1)</script" not in html
    assert "<!--" not in html.partition('id="still"')[2]


# --- the page  ---


@pytest.fixture(scope="module")
def folder(page_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a page")
    html = still.page(NetworkSnapshot(page_network, 0, "LeNet-5"), SAMPLE.test, 1000)
    (path / "index.html").write_bytes(html)
    return path


@pytest.fixture(params=["file", "http"])
def address(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "file":
        yield (folder / "index.html").as_uri()
        return

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}/"
        served.shutdown()
        thread.join()


def test_the_page_without_a_server(
    browser: Any, page_network: Network, folder: Path, address: str
) -> None:
    """It shows and reads 1,000 digits as the engine does, and asks for nothing but itself."""
    expect = require("playwright.sync_api").expect
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    visit(page, f"{address}#digit=7")
    label = int(SAMPLE.test.labels[7])
    expect(page.locator("#digit")).to_have_text(str(page_network.classify(SAMPLE.test.images[7])))
    expect(page.locator("#source")).to_contain_text(f"7, labelled {label}")
    expect(page.locator("#network")).to_have_text("LeNet-5")
    expect(page.locator("#credit")).to_contain_text("CC BY-SA 3.0")
    expect(page.locator("#tab-learn")).to_have_count(0)
    found = page.evaluate(
        """async () => {
            const { openSource } = await import("page/source.js");
            const { prepare } = await import("page/images.js");
            const source = await openSource();
            const [about, network] = [await source.about(), await source.network()];
            const images = await source.images([...Array(about.test_images).keys()]);
            const { first, second, labels } = await source.predictions();
            return {
                first: Array.from(first),
                second: Array.from(second),
                labels: Array.from(labels),
                outputs: images.map(({ image }) =>
                    Array.from(network.forward(prepare(image, network)).outputs.at(-1))),
            };
        }"""
    )
    expected = page_network.predict(SAMPLE.test.images)
    np.testing.assert_allclose(found["outputs"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["labels"], SAMPLE.test.labels)
    np.testing.assert_array_equal(found["first"], page_network.classify_outputs(expected))
    np.testing.assert_array_equal(found["second"], np.argsort(expected, axis=1)[:, 1])
    page.locator("#wrong").click()
    expect(page.locator("#answer")).to_have_class("misread")
    expect(page).to_have_url(re.compile(r"#digit=(?!7$)\d+$"))
    page.reload()
    expect(page.locator("#answer")).to_have_class("misread")  # the address holds the digit
    assert said == []
    assert {each.partition("#")[0] for each in asked if not each.startswith("data:")} <= {
        address,
        f"{address}favicon.ico",
    }
    context.close()


def test_long_names_of_classes_stay_apart(
    browser: Any, page_network: Network, tmp_path: Path
) -> None:
    names = ("zero", "one", "a name of many words", *(f"number {k}" for k in range(3, 10)))
    named = copy.deepcopy(page_network)
    named.classes = names
    test = replace(SAMPLE.test, classes=names)
    (tmp_path / "page.html").write_bytes(still.page(NetworkSnapshot(named, 0, "n"), test, 10))
    context = browser.new_context()
    page = context.new_page()
    visit(page, (tmp_path / "page.html").as_uri() + "#layer=C1")
    tiles = page.locator(".tile.named span")
    require("playwright.sync_api").expect(tiles).to_have_text(list(names))
    boxes = [box for each in tiles.all() if (box := each.bounding_box())]
    for above, below in itertools.pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"]
    edge = page.locator("#think").bounding_box()
    assert edge is not None
    assert max(box["x"] + box["width"] for box in boxes) < edge["x"] + edge["width"]
    claim = page.locator(".claim")
    require("playwright.sync_api").expect(claim).to_have_text("Draw. Watch it think.")
    context.close()
