"""Where the network fails, in Chromium: the page's tables and pictures against Python's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import require
from page_cases import serving

from lenet_fast import data
from lenet_fast.network import Network

require("playwright")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from lenet_fast.web import server  # noqa: E402
from lenet_fast.web.manager import TrainingManager  # noqa: E402

TEST = data.load("sample").test


@pytest.fixture(scope="module")
def url(page_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("saved") / "page"
    taught = TrainingManager(data.load("sample"), folder, page_network, "a model")
    with serving(taught) as served:
        yield server.address(served, "127.0.0.1")


@pytest.fixture
def see(browser: Browser, url: str) -> Iterator[Any]:
    """Yield a function that opens the page at an address in a new window."""
    contexts: list[Any] = []
    said: list[str] = []

    def go(hash_: str, **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 1200}, "locale": "en-GB", **options}
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(15_000)
        page: Page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{url}#view=fails&{hash_}")
        expect(page.locator("#digit")).to_have_text(re.compile(r"^\d$"))
        return page

    yield go
    for context in contexts:
        context.close()
    assert said == []


def margins_of(outputs: np.ndarray) -> np.ndarray:
    """Return by how much the smallest penalty is smaller than the next one."""
    best = np.sort(outputs, axis=1)
    return best[:, 1] - best[:, 0]


def test_the_matrix_and_the_digits_of_its_cells(see: Any, page_network: Network) -> None:
    outputs = page_network.predict(TEST.images)
    read, margins = outputs.argmin(axis=1), margins_of(outputs)
    matrix = np.zeros((10, 10), int)
    np.add.at(matrix, (TEST.labels, read), 1)
    page = see("digit=0")
    cells = page.locator("#matrix button")
    expect(page.locator("#cell-digits .gallery button").first).to_be_visible()
    found = [int(text or 0) for text in cells.all_inner_texts()]
    np.testing.assert_array_equal(np.reshape(found, (10, 10)), matrix)
    expect(page.locator("#confused")).to_contain_text(f"{(read != TEST.labels).sum()} of 1,000")
    shown = "all => all.map(each => Number(each.dataset.index))"
    gallery = page.locator("#cell-digits .gallery button")

    def worst(which: np.ndarray, sign: int) -> list[int]:
        indices = np.flatnonzero(which)
        return indices[np.argsort(sign * margins[indices], kind="stable")][:48].tolist()

    assert gallery.evaluate_all(shown) == worst(read != TEST.labels, -1)
    # A cell of the diagonal begins with its most doubtful digits.
    cells.nth(44).click()
    expect(page).to_have_url(re.compile(r"cell=4\.4"))
    expect(page.locator("#cell-name")).to_have_text(f"4, read rightly: {matrix[4, 4]}")
    expect(gallery).to_have_count(48)
    assert gallery.evaluate_all(shown) == worst((TEST.labels == 4) & (read == 4), 1)
    page.locator("#cell-digits .more").click()
    expect(gallery).to_have_count(min(96, matrix[4, 4]))
    # By keys: up to a cell of errors, and one of its digits on the paper.
    label = int(np.argmax((matrix - np.diag(np.diag(matrix))).sum(axis=1)))
    wrong = int(np.argmax(np.where(np.arange(10) == label, 0, matrix[label])))
    cells.nth(0).focus()
    for key, count in (("ArrowDown", label), ("ArrowRight", wrong)):
        for _ in range(count):
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#cell-name")).to_have_text(
        f"{label}, read as {wrong}: {matrix[label, wrong]}"
    )
    index = worst((TEST.labels == label) & (read == wrong), -1)[0]
    expect(gallery.first).to_have_attribute("data-index", str(index))
    page.locator("#all-errors").focus()
    page.keyboard.press("Tab")  # the term
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#digit")).to_have_text(f"{wrong}")
    expect(page.locator("#verdict")).to_have_text(f"read {wrong}, is {label}")
    expect(gallery.first).to_have_attribute("aria-pressed", "true")
    expect(page).to_have_url(re.compile(rf"digit={index}\b"))
