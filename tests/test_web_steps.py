"""How it computes, in a real browser: the numbers that are shown for a unit, and the steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import new_rng, require
from page_cases import serving, visit

from lenet_fast import data, layers, models
from lenet_fast.network import Network

require("playwright")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from lenet_fast.web import server  # noqa: E402
from lenet_fast.web.manager import TrainingManager  # noqa: E402

SAMPLE = data.load("sample")
DIGIT = 7
SHOWN = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map(e => e.textContent);
    const [image, frame] = ['#unit-image', '#unit-image + .frame']
        .map(name => document.querySelector(name).getBoundingClientRect());
    const pixel = image.height / document.querySelector('#unit-image').height;
    done({
        name: texts('#unit-name')[0], parts: texts('.part .number'), formula: texts('#formula b'),
        sum: texts('#formula .sum b').at(-1), value: texts('#formula .value b').at(-1),
        field: [frame.top - image.top, frame.bottom - image.top, frame.left - image.left,
            frame.right - image.left].map(each => Math.round(each / pixel)),
    });
})))"""


class Shown:
    """A page that shows how a network reads a test digit."""

    def __init__(self, page: Page, network: Network) -> None:
        self.page, self.network = page, network
        self.found = network.activations(fitted(network)[0])

    def unit(self, layer: str, unit: tuple[int, ...]) -> dict[str, Any]:
        """Show a unit; return what the page tells."""
        choices = {"layer": layer, "map": None, "unit": f"{unit[0]}"}
        if unit[1:]:
            choices |= {"map": unit[0], "unit": f"{unit[1]}.{unit[2]}"}
        self.page.evaluate(
            """async (choices) => {
                const { state } = await import('/static/state.js');
                for (const [key, value] of Object.entries(choices)) state.set(key, value);
            }""",
            choices,
        )
        where = "map {}, row {}, column {}" if unit[1:] else "(?:unit|class) {}"
        expect(self.page.locator("#unit-name")).to_have_text(
            re.compile(f"{layer}, {where.format(*unit)}$")
        )
        return self.page.evaluate(SHOWN)


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: Any) -> Iterator[Any]:
    """Yield a function that opens the page of a network; afterwards, check that it was content."""
    closing: list[Any] = []
    said: list[str] = []

    def go(network: Network, hash_: str = "layer=C1", **options: Any) -> Shown:
        saved = tmp_path_factory.mktemp("saved") / "page"
        served = serving(TrainingManager(SAMPLE, saved, network, "a model"))
        url = server.address(served.__enter__(), "127.0.0.1")
        options = {"reduced_motion": "reduce", "locale": "en-GB", **options}
        context = browser.new_context(viewport={"width": 1280, "height": 1400}, **options)
        closing.extend([context.close, lambda: served.__exit__(None, None, None)])
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        visit(page, f"{url}#lang=en&view=steps&digit={DIGIT}&{hash_}")
        expect(page.locator("#unit-name")).not_to_be_empty()
        return Shown(page, network)

    yield go
    for close in closing:
        close()
    assert said == []


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


def defined(shown: Shown, layer: Any, unit: tuple[int, ...]) -> tuple[list[float], float]:
    """Return, by loops from the definition, what a unit makes of each map, and its sum."""
    network = shown.network
    names = list(shown.found)
    at = names.index(layer.name)
    x = shown.found[names[at - 1]] if at else seen(network)
    w, b = (layer.parameters.get(name) for name in ("w", "b"))
    if isinstance(layer, layers.Dense | layers.RBF):
        x, w = x.ravel(), w[unit[0]]
        terms = [w[i] * x[i] for i in range(len(x))]
        if isinstance(layer, layers.RBF):
            terms = [(x[i] - w[i]) ** 2 for i in range(len(x))]
        return [sum(terms)], sum(terms) + (0 if b is None else b[unit[0]])
    o, r, s = (*unit, 0, 0)[:3]
    if isinstance(layer, layers.Subsample2D):
        total = sum(x[o, 2 * r + u, 2 * s + v] for u in range(2) for v in range(2))
        return [total], w[o] * total + b[o]
    if isinstance(layer, layers.MaxPool2D):
        largest = max(x[o, 2 * r + u, 2 * s + v] for u in range(2) for v in range(2))
        return [largest], largest
    top, bottom, left, right = layer.padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=layer.pad_value)
    parts = []
    for c in np.flatnonzero(layer.links[o]):
        part = 0.0
        for u in range(5):
            for v in range(5):
                part += w[o, c, u, v] * x[c, r * layer.stride[0] + u, s * layer.stride[1] + v]
        parts.append(part)
    return parts, sum(parts) + (b[o, r, s] if b.ndim == 3 else b[o])


def seen(network: Network) -> np.ndarray:
    background, ink = network.pixel_range
    size = network.input_shape[1]
    return data.prepare(fitted(network), size=size, background=background, ink=ink)[0]


def fitted(network: Network) -> np.ndarray:
    image = SAMPLE.test.images[DIGIT : DIGIT + 1]
    return data.fitted(image, network.input_shape[1], reduced=network.reduced)


def receptive_field(network: Network, last: str, unit: tuple[int, ...]) -> list[int]:
    """Return the rows and columns of the image that change a unit: those that make it NaN."""
    sides = []
    for axis in (0, 1):
        size = network.input_shape[1 + axis]
        x = np.zeros((size, *network.input_shape))
        for k in range(size):
            x[k, 0][(k,) if axis == 0 else (slice(None), k)] = np.nan
        for layer in network.layers:
            x = layer.forward(x.astype(network.dtype), "numpy")
            if layer.name == last:
                break
        changed = np.flatnonzero(np.isnan(x.reshape(size, *x.shape[1:])[(slice(None), *unit)]))
        sides += [int(changed[0]), int(changed[-1]) + 1]
    return sides


def check(shown: Shown, name: str) -> None:
    """Check what the page tells of random units of a stage."""
    rng = new_rng()
    network = shown.network
    layer = next(each for each in network.layers if each.name == name)
    last = network.stages[name]
    shape = shown.found[name].shape
    for unit in {tuple(int(rng.integers(side)) for side in shape) for _ in range(3)}:
        unit = unit[:1] if shape[1:] == (1, 1) else unit
        told = shown.unit(name, unit)
        parts, total = defined(shown, layer, unit)
        np.testing.assert_allclose([*map(number, told["parts"])], parts, atol=2e-3, rtol=1e-3)
        np.testing.assert_allclose(number(told["sum"]), total, atol=2e-3, rtol=1e-3)
        value = shown.found[last].reshape(shape)[unit if len(unit) == len(shape) else (*unit, 0, 0)]
        np.testing.assert_allclose(number(told["value"]), value, atol=2e-3, rtol=1e-3)
        full = unit if len(unit) == len(shape) else (*unit, 0, 0)
        assert told["field"] == receptive_field(network, last, full)


@pytest.fixture(scope="module")
def lenet5(opened: Any, page_network: Network) -> Shown:
    return opened(page_network)


@pytest.mark.quick
@pytest.mark.parametrize("name", ["C1", "S2", "C3", "S4", "C5", "F6", "OUTPUT"])
def test_the_sums_shown_are_those_of_the_definition(lenet5: Shown, name: str) -> None:
    check(lenet5, name)


def test_strides_padding_and_biases_of_units(opened: Any) -> None:
    network = models.lenet1989()
    for array in network.parameters.values():
        array += new_rng().normal(0, 0.2, array.shape).astype(array.dtype)
    shown = opened(network, "layer=H1")
    for name in ("H1", "H2", "H3", "OUTPUT"):
        check(shown, name)
    shown.unit("H1", (0, 0, 0))
    expect(shown.page.locator("#closer .note")).to_have_text(re.compile("Outside .* reads"))


def test_the_largest_value_and_a_leak(opened: Any) -> None:
    network = models.lenet5(pooling="max", activation="leaky_relu:0.2", output="softmax")
    shown = opened(network, "layer=S2")
    for name in ("C1", "S2", "OUTPUT"):
        check(shown, name)


def test_units_by_keys_and_by_pointing(lenet5: Shown) -> None:
    page = lenet5.page
    lenet5.unit("C1", (2, 10, 10))
    page.locator("#units").focus()
    name = page.locator("#unit-name")
    for key, where in (
        ("ArrowRight", "10, column 11"),
        ("ArrowDown", "11, column 11"),
        ("ArrowLeft", "11, column 10"),
        ("ArrowUp", "10, column 10"),
        ("Home", "0, column 0"),
        ("ArrowLeft", "0, column 0"),
        ("End", "27, column 27"),
        ("ArrowRight", "27, column 27"),
    ):
        page.keyboard.press(key)
        expect(name).to_have_text(f"C1, map 2, row {where}")
    page.locator("#unit-back").click()
    expect(name).to_have_text("C1, map 2, row 27, column 26")
    box = page.locator("#units").bounding_box()
    assert box is not None
    page.locator("#units").click(position={"x": box["width"] * 3.5 / 28, "y": box["height"] / 2.1})
    expect(name).to_have_text("C1, map 2, row 13, column 3")
    expect(page.locator("#unit-spoken")).to_have_text(
        re.compile(r"^C1, map 2, row 13, column 3: image .* bias .* = value")
    )
    page.wait_for_function("location.hash.includes('unit=13.3')")
    page.locator("#step-layer").select_option("S2")
    expect(name).to_have_text("S2, map 0, row 7, column 7")
    page.locator("#step-map").select_option("5")
    expect(name).to_have_text("S2, map 5, row 7, column 7")
    lenet5.unit("C3", (15, 0, 0))
    page.locator("button.part").nth(3).click()
    expect(page.locator("#closer figcaption").first).to_have_text("S2, map 3: window")


def test_it_plays_to_the_end_and_fills_the_map(opened: Any, page_network: Network) -> None:
    shown = opened(page_network, "layer=S4&map=3&speed=20", reduced_motion="no-preference")
    page = shown.page
    page.evaluate(
        """() => {
            window.met = [];
            const canvas = document.querySelectorAll('#units canvas')[1];
            const read = new OffscreenCanvas(5, 5).getContext('2d', { willReadFrequently: true });
            new MutationObserver(() => {
                read.clearRect(0, 0, 5, 5);
                read.drawImage(canvas, 0, 0);
                const { data } = read.getImageData(0, 0, 5, 5);
                const filled = data.filter((_, k) => k % 4 === 3 && data[k]).length;
                met.push([document.getElementById('unit-name').textContent, filled]);
            }).observe(document.getElementById('unit-name'), { childList: true });
        }"""
    )
    page.locator("#unit-play").click()
    expect(page.locator("#unit-play")).to_have_text("Pause")
    expect(page.locator("#unit-play")).to_have_text("Play")
    met = page.evaluate("met")
    steps = [name for k, (name, _) in enumerate(met) if not k or name != met[k - 1][0]]
    steps = steps[-25:]  # it may have been painted again before
    assert steps == [f"S4, map 3, row {k // 5}, column {k % 5}" for k in range(25)]
    for name, filled in met[-25:-1]:
        row, column = (int(each) for each in re.findall(r"\d+", name)[2:])
        assert filled == 5 * row + column + 1
    assert met[-1][1] == 25
    page.locator("#unit-speed").fill("1")
    page.locator("#unit-play").click()
    expect(page.locator("#unit-name")).to_have_text(re.compile("row 0, column [12]$"))
    page.locator("#unit-play").click()
    paused = page.locator("#unit-name").text_content()
    page.wait_for_timeout(600)
    assert page.locator("#unit-name").text_content() == paused


def test_nothing_moves_by_itself_for_those_who_want_it_still(
    opened: Any, page_network: Network
) -> None:
    shown = opened(page_network, "layer=S4&map=3&unit=1.1&play=1")
    shown.page.wait_for_timeout(700)
    expect(shown.page.locator("#unit-name")).to_have_text("S4, map 3, row 1, column 1")
    expect(shown.page.locator("#unit-play")).to_have_text("Play")


def test_a_blank_paper_has_kernels_but_no_sums(lenet5: Shown) -> None:
    lenet5.unit("C1", (0, 5, 5))
    lenet5.page.locator("#clear").click()
    expect(lenet5.page.locator("#formula .value b")).to_have_text("\N{EN DASH}")
    expect(lenet5.page.locator("#closer canvas")).to_have_count(3)


def test_it_plays_at_the_screens_own_pace(opened: Any, page_network: Network) -> None:
    """Of six windows that slide; a quarter of the frames, as a test machine has other work, too."""
    shown = opened(page_network, "layer=C3&map=15&speed=60", reduced_motion="no-preference")
    shown.page.locator("#unit-play").click()
    frames = shown.page.evaluate(
        """() => new Promise(done => {
            const times = [];
            const next = time => {
                if (times.push(time) > 60) done(times.slice(1).map((each, k) => each - times[k]));
                else requestAnimationFrame(next);
            };
            requestAnimationFrame(next);
        })"""
    )
    assert np.quantile(frames, 0.25) < 20
    row, column = (int(each) for each in re.findall(r"\d+", name_of(shown))[2:])
    assert 10 * row + column > 10


def name_of(shown: Shown) -> str:
    return shown.page.locator("#unit-name").text_content() or ""
