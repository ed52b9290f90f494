"""Where the network fails, in Chromium: the page's tables and pictures against Python's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import require
from page_cases import CONTRAST, visit

from lenet_fast import data
from lenet_fast.network import Network
from lenet_fast.reproduce.training import rejected

require("playwright")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

TEST = data.load("sample").test
SLOW = 40_000
"""Milliseconds that a busy machine may need for an occlusion map."""


@pytest.fixture
def see(browser: Browser, page_url: str) -> Iterator[Any]:
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
        visit(page, f"{page_url}#view=fails&{hash_}")
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


def passed_back(network: Network, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Return the gradient at the input (1, 1, rows, columns) from that at the outputs (1, k)."""
    xs = [x]
    for layer in network.layers:
        xs.append(layer.forward(xs[-1], "numpy"))
    for k, layer in reversed([*enumerate(network.layers)]):
        dy = layer.backward(dy.reshape(xs[k + 1].shape), xs[k], xs[k + 1], "numpy")[0]
    return dy


def test_saliency_and_occlusion_are_those_of_the_engine(see: Any, page_network: Network) -> None:
    page = see("fails=look&digit=7&place=14.16&patch=7")
    x = data.prepare(TEST.images[7:8]).astype(page_network.dtype)
    penalties = page_network.predict(x)[0]
    best, second = penalties.argsort()[:2]
    dy = np.zeros((1, 10), page_network.dtype)
    dy[0, [best, second]] = -1, 1
    range_ = page_network.pixel_range[1] - page_network.pixel_range[0]
    slopes = range_ * passed_back(page_network, x, dy).ravel()

    found = page.evaluate(
        """async ({ x, best }) => {
            const { openSource } = await import("/static/source.js");
            const { occlusion, saliency } = await import("/static/probes.js");
            const network = await (await openSource()).network();
            const trace = network.forward(Float32Array.from(x));
            const drops = new Float32Array(x.length);
            for (const _ of occlusion(network, trace, best, 7, drops));
            return [saliency(network, trace, best), drops].map((each) => Array.from(each));
        }""",
        {"x": x.ravel().tolist(), "best": int(best)},
    )
    np.testing.assert_allclose(found[0], slopes, atol=1e-4 * np.abs(slopes).max())
    # A patch of 7 x 7 pixels around row 14, column 16, and one in a corner.
    for row, column in ((14, 16), (0, 31)):
        hidden = x.copy()
        hidden[0, 0, max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = np.mean(
            page_network.pixel_range
        )
        covered = page_network.predict(hidden)[0]
        lead = np.delete(covered, best).min() - covered[best]
        before = penalties[second] - penalties[best]
        assert found[1][32 * row + column] == pytest.approx(before - lead, abs=1e-3)
        if row:
            told = page.locator("#look-told")
            expect(told).to_contain_text(f"With the patch it reads {covered.argmin()}")
            words = told.inner_text().replace("\N{MINUS SIGN}", "-").rstrip(".")
            said = [float(each) for each in re.findall(r"-?\d+\.\d+", words)]
            assert said == pytest.approx([before, lead], abs=0.011)
    expect(page.locator("#occlusion")).to_have_attribute("aria-busy", "false", timeout=SLOW)
    # The map that is shown has its strongest colour where the lead falls most.
    red, blue = page.locator("#occlusion").evaluate(
        """(canvas, at) => {
            const { data } = canvas.getContext("2d").getImageData(at % 32, at >> 5, 1, 1);
            return [data[0], data[2]];
        }""",
        int(np.argmax(np.abs(found[1]))),
    )
    assert (red > blue) == (found[1][int(np.argmax(np.abs(found[1])))] > 0)


PIXELS = """canvas => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height);
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, k) => 255 - data[4 * k]);
}"""
"""The grey values of an image that is shown."""


def test_the_deception_deceives_the_engine_too(see: Any, page_network: Network) -> None:
    """Of a 3 that is read rightly: the least ink that makes it an 8, and a little less."""
    read = page_network.classify_outputs(page_network.predict(TEST.images))
    index = int(np.flatnonzero((TEST.labels == 3) & (read == 3))[0])
    page = see(f"fails=deceive&digit={index}&target=8")
    expect(page.locator("#result-name")).to_have_text("result: reads 8")

    def seen(name: str) -> np.ndarray:
        pixels = page.locator(name).evaluate(PIXELS)
        return np.array(pixels, np.uint8).reshape(32, 32)

    original, result = seen("#original"), seen("#result")
    np.testing.assert_array_equal(original, np.pad(TEST.images[index], 2))
    assert page_network.classify(original) == 3
    assert page_network.classify(result) == 8
    ink = 100 * np.abs(result.astype(int) - original).sum() / original.sum()
    assert 0 < ink < 40
    words = f"{ink:.1f}" if ink < 10 else f"{ink:.0f}"
    expect(page.locator("#changed")).to_contain_text(f"Changed ink: {words} % of")
    expect(page.locator("#enough")).to_contain_text(f"makes it read 8: {words} %")
    # A little weaker, and it is not enough: the mark is where the answer turns over.
    strength = page.locator("#strength")
    least = float(strength.input_value())
    strength.evaluate(
        "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')); }", least - 0.05
    )
    expect(page.locator("#result-name")).not_to_have_text("result: reads 8")
    assert page_network.classify(seen("#result")) != 8
    expect(page).to_have_url(re.compile(r"strength="))
    assert page.locator("#strip .target").count() == 1


def test_rejection_has_the_figures_of_the_reports(see: Any, page_network: Network) -> None:
    outputs = page_network.predict(TEST.images)
    wrong = outputs.argmin(axis=1) != TEST.labels
    order = np.argsort(margins_of(outputs), kind="stable")
    page = see("fails=reject&digit=0")
    needed = rejected(-outputs, TEST.labels, 0.5)
    expect(page.locator("#aim")).to_contain_text(f"{needed:.2f} % have to be rejected")
    count = round(needed * len(TEST) / 100)
    expect(page.locator("#rejecting")).to_have_text(f"Rejected: {count} of 1,000, {needed:.2f} %.")
    error = 100 * wrong[order[count:]].mean()
    expect(page.locator("#remaining")).to_contain_text(f"{error:.2f} %")
    # Another threshold, half-way between two digits.
    margins = np.sort(margins_of(outputs))
    threshold = float(margins[19:21].mean())
    page.locator("#threshold").evaluate(
        "(e, value) => { e.value = value; e.dispatchEvent(new Event('input')); }", threshold
    )
    expect(page.locator("#rejecting")).to_have_text("Rejected: 20 of 1,000, 2.00 %.")
    error = 100 * wrong[order[20:]].mean()
    expect(page.locator("#remaining")).to_contain_text(f"{error:.2f} %")
    gallery = page.locator("#rejected-digits .gallery button")
    expect(gallery).to_have_count(20)
    shown = gallery.evaluate_all("all => all.map(each => Number(each.dataset.index))")
    assert shown == order[:20].tolist()
    assert page.locator("#rejected-digits .wrong").count() == wrong[order[:20]].sum()
    expect(page).to_have_url(re.compile(r"threshold="))


def test_what_nobody_sees_is_not_computed(browser: Browser, page_url: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 1200})
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    visit(page, f"{page_url}#view=learn&fails=look&digit=3")
    expect(page.locator("#digit")).to_have_text(re.compile(r"^\d$"))
    page.locator("#random").click()
    page.wait_for_timeout(300)
    occlusion = page.locator("#occlusion")
    assert occlusion.get_attribute("aria-busy") is None
    page.locator("#tab-fails").click()
    expect(occlusion).to_have_attribute("aria-busy", "false", timeout=SLOW)
    assert "predictions" not in asked
    page.locator("#tab-reject").click()
    expect(page.locator("#rejecting")).not_to_be_empty()
    assert asked.count("predictions") == 1
    context.close()


def test_long_work_waits_until_the_pen_rests(see: Any) -> None:
    page = see("fails=confusions&digit=3")
    page.clock.install(time=0)
    page.clock.pause_at(3_600_000)
    page.evaluate(
        """import('/static/slices.js').then(({ Slices }) => {
            const slices = new Slices();
            window.begun = 0;
            function* work() { begun += 1; }
            window.move = (soon) => slices.run(work(), () => {}, soon);
        })"""
    )
    for _ in range(5):
        page.evaluate("move()")
        page.clock.run_for(140)
    assert page.evaluate("begun") == 0
    page.clock.run_for(140)
    assert page.evaluate("begun") == 1
    page.evaluate("move(true)")  # a network that learns does not rest
    page.clock.run_for(80)
    assert page.evaluate("begun") == 2


@pytest.mark.parametrize("part", ["confusions", "look", "deceive", "reject"])
def test_each_part_is_readable_saved_and_no_wider_than_a_phone(
    see: Any, part: str, tmp_path: Any
) -> None:
    scheme = "dark" if part in ("look", "reject") else "light"
    hash_ = f"lang=de&fails={part}&digit=18&cell=4.4&place=9.9"
    page = see(hash_, color_scheme=scheme, viewport={"width": 390, "height": 900})
    page.locator(f"#{part}").scroll_into_view_if_needed()
    what = {"confusions": "#cell-digits canvas", "reject": "#trade .curve", "look": "#occlusion"}
    expect(page.locator(what.get(part, "#strip .target")).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert [each for each in page.evaluate(CONTRAST) if each[0] < 4.5] == []
    with page.expect_download() as download:
        page.locator(f"#{part} .export").get_by_role("button", name="SVG").click()
    assert download.value.suggested_filename == f"lenet-{part}.svg"
    download.value.save_as(tmp_path / "picture.svg")
    svg = (tmp_path / "picture.svg").read_text("utf-8")
    assert svg.count("<image") >= (3 if part in ("look", "deceive") else 4)
