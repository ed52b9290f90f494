"""The page in a real browser: Chromium, without a window."""

from __future__ import annotations

import base64
import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import page_cases
import pytest
from drawn_digits import DIGITS, placed
from helpers import require
from page_cases import serving

from lenet_fast import data, models
from lenet_fast.layers import Conv2D, Dense, Layer
from lenet_fast.network import Network

require("playwright")

from playwright.sync_api import Browser, BrowserContext, Page, expect  # noqa: E402

from lenet_fast.web import server  # noqa: E402
from lenet_fast.web.manager import TrainingManager  # noqa: E402

SAMPLE = data.load("sample")
NOTHING = "\N{EN DASH}"
SEEN = "try { localStorage.setItem('lenet-fast tour', 'seen'); } catch { }"
"""The tour is for a browser that does not know the page."""


@pytest.fixture(scope="module")
def learning(
    page_network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TrainingManager, str]]:
    """Yield what the page shows, and its address."""
    taught = TrainingManager(
        SAMPLE, tmp_path_factory.mktemp("saved") / "page", page_network, "a model"
    )
    with serving(taught) as served:
        yield taught, server.address(served, "127.0.0.1")


class Visit:
    """A page as it is open in a browser, and what has happened to it."""

    def __init__(
        self, context: BrowserContext, url: str, ready: str = "#layer-names button"
    ) -> None:
        self.url = url
        self.said: list[str] = []
        self.asked: list[str] = []
        context.add_init_script(SEEN)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        page_cases.visit(self.page, f"{url}#view=learn")
        expect(self.page.locator(ready).first).to_be_visible()
        # The page begins with a test digit; what is tested begins with blank paper.
        self.page.locator("#clear").click()
        self.reads(NOTHING)

    def draw(self, digit: int, place: str = "centre") -> None:
        """Draw a digit with the mouse."""
        page = self.page
        strokes, pen = placed(digit, place)
        page.locator("#pen").fill(f"{max(1, round(100 * pen))}")
        page.locator("#pad").scroll_into_view_if_needed()
        box = page.locator("#pad").bounding_box()
        assert box is not None
        for stroke in strokes:
            points = [
                (box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in stroke
            ]
            page.mouse.move(*points[0])
            page.mouse.down()
            for point in [*points[1:-1:2], points[-1]]:
                page.mouse.move(*point)
            page.mouse.up()

    def reads(self, what: object) -> None:
        """Check what it reads, once it has come to rest."""
        expect(self.page.locator("#digit")).to_have_text(f"{what}")

    def overflows(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.fixture
def visit(browser: Browser, learning: tuple[TrainingManager, str]) -> Iterator[Any]:
    """Yield a function that opens the page in a window of its own; afterwards, check that nothing
    went wrong there and that no request left the machine."""
    taught, url = learning
    taught.stop()
    thread = taught._thread
    if thread is not None:
        thread.join()
    taught.use(0)
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def go(**options: Any) -> Visit:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, **options))
        contexts[-1].set_default_timeout(15_000)
        visits.append(Visit(contexts[-1], url))
        return visits[-1]

    yield go
    for context in contexts:
        context.close()
    for each in visits:
        assert each.said == []
        assert len(each.asked) > 5
        assert [asked for asked in each.asked if not asked.startswith(url)] == []


@pytest.mark.quick
def test_ten_drawn_digits_are_read(visit: Any) -> None:
    opened = visit()
    for digit in DIGITS:
        opened.draw(digit, ("centre", "corner")[digit % 2])
        opened.reads(digit)
        opened.page.locator("#clear").click()
        opened.reads(NOTHING)


def test_blank_paper_undo_and_clear(visit: Any) -> None:
    opened = visit()
    page = opened.page
    opened.reads(NOTHING)
    expect(page.locator("#hint")).to_be_visible()
    expect(page.locator("#undo")).to_be_disabled()
    opened.draw(1)
    opened.reads(1)
    expect(page.locator("#hint")).to_be_hidden()
    opened.draw(0, "large")  # a ring around it
    expect(page.locator("#digit")).not_to_have_text("1")
    page.locator("#undo").click()
    opened.reads(1)
    page.locator("#undo").click()
    opened.reads(NOTHING)
    expect(page.locator("#second")).to_have_text("Nothing is drawn yet.")
    opened.draw(7)
    opened.reads(7)
    page.locator("#clear").click()
    opened.reads(NOTHING)


def test_a_drawing_from_before_the_page_knows_its_network_is_read(visit: Any) -> None:
    opened = visit()
    page = opened.page
    held: list[Any] = []
    page.route("**/api/about", lambda route: held.append(route))
    page.reload(wait_until="commit")
    while not held:
        page.wait_for_timeout(20)
    opened.draw(3)
    opened.reads(NOTHING)
    held[0].continue_()
    opened.reads(3)


def test_what_ends_a_stroke_under_the_pen_leaves_no_ink_of_it(visit: Any) -> None:
    """The rest of the stroke would be on the paper, but not in the drawing."""
    opened = visit()
    page = opened.page
    painted = "document.getElementById('pad').toDataURL()"
    blank = page.evaluate(painted)
    box = page.locator("#pad").bounding_box()
    assert box is not None
    for end in ("Backspace", "Delete", "a test digit"):
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 90, box["y"] + 20)
        assert page.evaluate(painted) != blank
        if end == "a test digit":
            page.locator("#random").press("Enter")
            expect(page.locator("#source")).to_contain_text("Test digit")
        else:
            page.locator("#pad").press(end)
        before = page.evaluate(painted)
        assert (before == blank) == (end != "a test digit")
        page.mouse.move(box["x"] + 20, box["y"] + 150)
        page.mouse.up()
        assert page.evaluate(painted) == before, end


def test_a_finger_draws_too(visit: Any) -> None:
    opened = visit(has_touch=True)
    opened.page.locator("#pad").evaluate(
        """(pad, points) => {
            const box = pad.getBoundingClientRect();
            pad.setPointerCapture = () => {};  // there is no such finger
            points.forEach(([x, y], k) => pad.dispatchEvent(new PointerEvent(
                k === 0 ? "pointerdown" : k === points.length - 1 ? "pointerup" : "pointermove",
                { pointerId: 7, pointerType: "touch", button: 0, bubbles: true,
                  clientX: box.left + x * box.width, clientY: box.top + y * box.height })));
        }""",
        placed(2, "centre")[0][0] + [(0.5, 0.5)],
    )
    opened.reads(2)


@pytest.mark.quick
def test_by_keyboard_alone(visit: Any) -> None:
    """From the first control to the last; draw a 1; through the layers; see what feeds a map."""
    opened = visit()
    page = opened.page
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "[document.activeElement.id || document.activeElement.name || "
                "document.activeElement.className, "
                "getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    names = [name for name, _ in reached]
    for name in ("pad", "pen", "random", "wrong", "index", "show", "tile large at", "model"):
        assert name in names, names
    for name in (
        "output",
        "engine",
        "distort",
        "schedule",
        "rate",
        "epochs",
        "start",
        "step",
    ):
        assert name in names, names
    # Around all but the body, which comes after the last one.
    assert {style for name, style in reached if name != "ready"} == {"solid"}
    page.locator("#pad").focus()
    page.keyboard.press("Space")
    for _ in range(28):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    opened.reads(1)
    page.keyboard.press("Backspace")
    opened.reads(NOTHING)
    # To hold the space bar is to press it once; with Alt, the keys are the browser's.
    page.locator("#pad").focus()
    page.keyboard.down("Space")
    page.keyboard.down("Space")
    for _ in range(28):
        page.keyboard.press("ArrowDown")
    opened.reads(1)
    assert page.locator("#pad").evaluate(
        """pad => pad.dispatchEvent(new KeyboardEvent(
            "keydown", { key: "ArrowLeft", altKey: true, cancelable: true }))"""
    )
    page.keyboard.press("Delete")
    opened.reads(NOTHING)
    page.locator("#layer-names [aria-checked=true]").focus()
    for name in ("S4", "C5", "F6"):
        page.keyboard.press("ArrowRight")
        chosen = page.locator("#layer-names [aria-checked=true]")
        expect(chosen).to_have_text(name)
        expect(chosen).to_be_focused()
        assert name in chosen.get_attribute("aria-label")


def test_which_maps_feed_a_map(visit: Any) -> None:
    opened = visit()
    page = opened.page
    opened.draw(3)
    opened.reads(3)
    large = page.locator(".tile.large")
    expect(large).to_have_count(16)
    large.nth(3).hover()
    before = page.locator("#glance [aria-label*='of S2;']")
    lit = before.evaluate_all("tiles => tiles.map(t => t.className)")
    assert [("lit" in name, "dim" in name) for name in lit] == [
        *[(False, True)] * 3,
        *[(True, False)] * 3,
    ]
    expect(page.locator("#seen")).to_have_text("C3, map 3 sees maps 3, 4, 5 of S2.")
    # A screen reader says it as the button's name, and not a second time.
    assert large.nth(3).get_attribute("aria-label") == "map 3 of C3; it sees maps 3, 4, 5 of S2"
    expect(page.locator("#seen[role=status], #seen[aria-live]")).to_have_count(0)
    large.nth(3).press("ArrowRight")
    expect(page.locator("#seen")).to_have_text("C3, map 4 sees maps 0, 4, 5 of S2.")
    # The pictures are there, and they differ.
    pictures = page.locator(".tile.large canvas").evaluate_all("all => all.map(c => c.toDataURL())")
    assert len(set(pictures)) > 12
    page.locator("#layer-names button", has_text="F6").click()
    expect(page.locator(".bitmaps figure:visible")).to_have_count(10)
    expect(page.locator(".bitmaps .best figcaption")).to_have_text(re.compile(r"^3: "))


def test_test_digits(visit: Any) -> None:
    opened = visit()
    page = opened.page
    page.locator("#index").fill("7")
    page.locator("#show").click()
    label = SAMPLE.test.labels[7]
    expect(page.locator("#source")).to_have_text(f"Test digit 7, labelled {label}")
    opened.reads(label)
    page.locator("#wrong").click()
    expect(page.locator("#source")).not_to_have_text(f"Test digit 7, labelled {label}")
    label = page.locator("#source").inner_text()[-1]
    expect(page.locator("#digit")).not_to_have_text(label)
    opened.draw(4)  # instead of it
    opened.reads(4)
    expect(page.locator("#source")).to_have_text("")


def test_whatever_the_digit_the_words_about_it_are_right(visit: Any) -> None:
    opened = visit()
    page = opened.page
    for label in range(10):
        index = int(np.flatnonzero(SAMPLE.test.labels == label)[0])
        page.locator("#index").fill(f"{index}")
        page.locator("#show").click()
        expect(page.locator("#source")).to_have_text(f"Test digit {index}, labelled {label}")


def test_what_is_no_number_of_a_test_digit_is_told_so(visit: Any) -> None:
    """Without a question to the server; and of the next drawing, nothing is said."""
    opened = visit()
    page = opened.page
    for index in ("", "-1", "1.5", "1000", "1e9"):
        page.locator("#index").fill(index)
        page.locator("#show").click()
        expect(page.locator("#source")).to_have_text(
            "Number of the test digit: expected a whole number from 0 to 999."
        )
        opened.draw(1)
        opened.reads(1)
        expect(page.locator("#source")).to_have_text("")
        page.locator("#clear").click()


def train(
    visit: Any, learning: tuple[TrainingManager, str], settings: dict[str, Any]
) -> dict[str, Any]:
    """Train at the server, to the end; return the run, which the page knows then."""
    taught = learning[0]
    taught.start(settings)
    thread = taught._thread
    if thread is not None:
        thread.join()
    run: dict[str, Any] = taught.current()["run"]
    expect(visit.page.locator("#told")).to_contain_text(f"Run {run['number']} is done")
    return run


def test_runs_are_overlaid_by_their_names(
    visit: Any, learning: tuple[TrainingManager, str]
) -> None:
    """Each once, so that none is compared with itself."""
    opened = visit()
    page = opened.page
    quick = {"model": "lenet1", "distort": "none", "epochs": 1}
    for _ in range(3):
        train(opened, learning, quick)
    rows, lines = page.locator("#runs tr"), page.locator("#chart path:not(.training)")
    shown = rows.count()
    expect(lines).to_have_count(shown)
    boxes, names = rows.locator("[type=checkbox]"), rows.locator("[type=text]")
    boxes.nth(1).uncheck()
    expect(lines).to_have_count(shown - 1)
    expect(page.locator("#losses path:not(.training)")).to_have_count(shown - 1)
    number = learning[0].current()["run"]["number"]
    page.wait_for_function("number => location.hash.includes(`hide=${number}`)", arg=number - 1)
    names.first.fill("<b>slow</b>  one")
    names.first.press("Enter")
    expect(page.locator("#network option").last).to_have_text("<b>slow</b> one")
    expect(names.first).to_have_value("<b>slow</b> one")
    assert learning[0].current()["run"]["name"] == "<b>slow</b> one"
    page.reload()
    expect(names.first).to_have_value("<b>slow</b> one")
    assert [box.is_checked() for box in boxes.all()][:3] == [True, False, True]
    # Of more than eight runs the first are forgotten.
    for _ in range(6):
        train(opened, learning, quick)
    expect(rows).to_have_count(8)
    expect(names.last).not_to_have_value("<b>slow</b> one")


def test_a_training_is_stopped_at_a_single_image(visit: Any) -> None:
    opened = visit()
    page = opened.page
    step, told = page.locator("#step"), page.locator("#told")
    page.locator("[name=model]").select_option("lenet1")
    page.locator("[name=distort]").select_option("none")
    expect(step).to_have_text("One batch")
    page.locator("[name=engine]").select_option("online")
    expect(step).to_have_text("One image")
    expect(page.locator("#update")).to_contain_text("Pause the training")
    step.click()
    expect(told).to_contain_text("is paused")
    expect(page.locator("#images")).to_have_text("1")
    expect(page.locator("#update")).to_contain_text(re.compile(r"It met a \d and read \d"))
    expect(page.locator("#update li")).to_have_count(5)
    pictures = "[...document.querySelectorAll('#update canvas')].map(each => each.toDataURL())"
    before = page.evaluate(pictures)
    assert len({*before}) == 3
    step.click()
    expect(page.locator("#images")).to_have_text("2")
    assert page.evaluate(pictures)[0] != before[0]
    page.locator("#rate-now").fill("0.0005")
    page.locator("#rate-now").press("Enter")
    page.locator("#pause").click()
    expect(page.locator("#pause")).to_have_text("Pause")
    expect(page.locator("#update")).to_contain_text("Pause the training")
    expect(page.locator("#runs tr").first).to_contain_text("→ 0.0005")
    page.locator("#stop").click()
    expect(told).to_contain_text("was stopped")
    expect(step).to_have_text("One image")


TOO_HIGH = re.compile(
    r"It has learned nothing: at the end it misreads (8[6-9]|9\d)\.\d % .*; guesses miss 90 %\. "
    "The rate is too high: "
)
"""What is said of a softmax network, which does not diverge."""


def test_a_rate_that_is_too_high_is_seen_in_the_curves(visit: Any) -> None:
    opened = visit()
    page = opened.page
    told = page.locator("#told")
    for output, said in (("softmax", TOO_HIGH), ("linear", "has diverged")):
        page.locator("[name=model]").select_option("lenet5-max")
        page.locator("[name=output]").select_option(output)
        page.locator("[name=recipe]").select_option("tooHigh")
        assert float(page.locator("[name=rate]").input_value()) in (0.3, 0.075)
        page.locator("[name=epochs]").fill("1")
        page.locator("#start").click()
        expect(page.locator("#start")).to_be_disabled()
        expect(page.locator("#start")).to_be_enabled(timeout=30_000)
        expect(told).to_contain_text(said)
    expect(page.locator("#losses text", has_text="\N{MULTIPLICATION SIGN}")).to_have_count(1)
    # A recipe of the command line fills the form; a change makes it the visitor's own.
    page.locator("[name=recipe]").select_option("lenet1989")
    form = {
        name: page.locator(f"[name={name}]")
        for name in ("model", "schedule", "warmup", "rate", "recipe")
    }
    expect(form["model"]).to_have_value("lenet1989")
    expect(form["schedule"]).to_have_value("one_cycle")
    expect(form["rate"]).to_have_value("0.015")
    expect(form["warmup"]).to_have_value("30")
    form["schedule"].select_option("constant")
    expect(form["recipe"]).to_have_value("")
    expect(form["warmup"]).to_be_hidden()
    form["model"].select_option("lenet5-max")
    form["schedule"].select_option("cosine")
    form["warmup"].fill("25")
    page.locator("[name=epochs]").fill("1")
    with page.expect_request("**/api/training") as asked:
        page.locator("#start").click()
    assert asked.value.post_data_json["warmup"] == 0.25
    expect(page.locator("#start")).to_be_enabled(timeout=30_000)


def test_kernels_and_histograms_move_while_it_learns(visit: Any) -> None:
    opened = visit()
    page = opened.page
    page.locator("#weights").scroll_into_view_if_needed()
    expect(page.locator("#weights canvas")).to_have_count(2)
    expect(page.locator("#weights svg")).to_have_count(6)
    kernels = "document.querySelector('#weights canvas').toDataURL()"
    before = page.evaluate(kernels)
    page.locator("[name=distort]").select_option("none")
    page.locator("[name=epochs]").fill("2")
    page.locator("#start").click()
    expect(page.locator("#told")).to_contain_text("is done", timeout=30_000)
    page.locator("#weights").scroll_into_view_if_needed()
    assert page.evaluate(kernels) != before
    paths = (
        page.locator("#weights svg")
        .last.locator("path")
        .evaluate_all("all => all.map(path => path.getAttribute('d'))")
    )
    assert paths[0] != f"{paths[1]}Z"
    expect(page.locator("#gradients path")).to_have_count(6)


def test_a_stopped_run_has_the_error_that_was_measured_last(visit: Any) -> None:
    """At the head and in the table; before the end of an epoch, and after one."""
    opened = visit()
    page = opened.page
    cell = page.locator("#runs tr").first.locator("td").first
    current = "fetch('/api/training').then(answer => answer.json()).then(({run}) => run)"
    for epochs in (0, 1):
        page.locator("[name=model]").select_option("lenet5")
        page.locator("[name=engine]").select_option("layers")  # the slowest
        page.locator("[name=epochs]").fill("100")
        page.locator("#start").click()
        while True:
            run = page.evaluate(current)
            if run and run["state"] == "running" and run["images"] and len(run["epochs"]) >= epochs:
                break
            page.wait_for_timeout(50)
        page.locator("#stop").click()
        expect(page.locator("#told")).to_contain_text("was stopped")
        run = page.evaluate(current)
        assert len(run["epochs"]) >= epochs
        images, _, error, *_ = run["points"][-1]
        assert images == run["images"] > 0
        shown = page.locator("#error").inner_text()
        expect(cell).to_have_text(shown)
        assert float(shown.removesuffix(" %")) == pytest.approx(100 * error, abs=0.051)


def test_it_reads_on_when_the_server_is_gone(visit: Any) -> None:
    opened = visit()
    page = opened.page
    opened.draw(3)
    opened.reads(3)
    page.route("**/*", lambda route: route.abort())
    page.locator("#clear").click()
    opened.draw(7)
    opened.reads(7)
    page.locator("#random").click()
    expect(page.locator("#source")).to_have_text("The server does not answer.")
    opened.reads(7)
    opened.said[:] = [said for said in opened.said if "ERR_FAILED" not in said]  # the browser's own


def test_a_network_without_numbers_reads_nothing(visit: Any) -> None:
    opened = visit()
    page = opened.page
    opened.draw(3)
    opened.reads(3)
    described = page.evaluate("fetch('/api/network').then(answer => answer.json())")
    weights = np.frombuffer(base64.b64decode(described["weights"]), "<f4").copy()
    weights[-1] = np.nan
    described["weights"] = base64.b64encode(weights).decode()
    page.route("**/api/network", lambda route: route.fulfill(json=described))
    page.route("**/api/weights", lambda route: route.abort())
    page.reload()
    opened.draw(3, "corner")
    expect(page.locator("#second")).to_contain_text("are not finite")
    opened.reads(NOTHING)
    opened.said[:] = [said for said in opened.said if "ERR_FAILED" not in said]  # the browser's own


@pytest.mark.parametrize(
    ("layers", "stage", "maps"),
    [
        ([Dense(784, 10)], "This network has no layer before its outputs.", []),
        (
            [Conv2D(1, 1, 5), Conv2D(1, 1, 5), Dense(400, 10)],
            "conv2: convolution, 1 map of 20 \N{MULTIPLICATION SIGN} 20 units",
            ["map 0 of conv2; it sees the map of conv1"],
        ),
        ([Dense(784, 1), Dense(1, 10)], "dense1: fully connected, 1 unit", []),
    ],
    ids=["none", "one-map", "one-unit"],
)
def test_small_networks_are_shown_too(
    browser: Browser, tmp_path: Path, layers: list[Layer], stage: str, maps: list[str]
) -> None:
    taught = TrainingManager(SAMPLE, tmp_path, Network(layers, input_shape=(1, 28, 28)), "small")
    with serving(taught) as served:
        context = browser.new_context()
        opened = Visit(context, server.address(served, "127.0.0.1"), ready="#stage-name")
        page = opened.page
        opened.draw(3)
        expect(page.locator("#digit")).to_have_text(re.compile(r"^\d$"))
        expect(page.locator("#stage-name")).to_have_text(stage)
        buttons = page.locator("button.tile.large")
        assert [each.get_attribute("aria-label") for each in buttons.all()] == maps
        assert opened.said == []
        context.close()


def test_long_names_of_classes_fit_a_narrow_screen(browser: Browser, tmp_path: Path) -> None:
    network = models.lenet1989()
    names = "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker"
    network.classes = (*names, "Bag", "Ankle boot")
    train, test = (replace(each, classes=network.classes) for each in (SAMPLE.train, SAMPLE.test))
    named = replace(SAMPLE, train=train, test=test)
    with serving(TrainingManager(named, tmp_path, network, "a" * 60)) as served:
        context = browser.new_context(viewport={"width": 390, "height": 844}, locale="de-AT")
        opened = Visit(context, server.address(served, "127.0.0.1"))
        parts = [f"fails&fails={part}" for part in ("confusions", "look", "deceive", "reject")]
        for view in ("steps&layer=H1", "steps&layer=H3", "steps&layer=OUTPUT", *parts, "learn"):
            opened.page.evaluate(f"location.hash = '#digit=7&view={view}'")
            opened.page.wait_for_timeout(150)
            assert not opened.overflows(), view
        assert opened.said == []
        context.close()


@pytest.mark.parametrize(
    ("output", "value", "said"),
    [
        ("linear", -0.001, "0.00"),
        ("linear", -0.006, "\N{MINUS SIGN}0.01"),
        ("linear", 1.005e7, "1.0e+7"),
        ("rbf", 0.04, "0.0"),
        ("rbf", 123.44, "123.4"),
        ("softmax", 0.9996, "100.0 %"),
    ],
)
def test_values_are_short_and_have_no_empty_sign(
    visit: Any, output: str, value: float, said: str
) -> None:
    found = visit().page.evaluate(
        "given => import('/static/answer.js').then(answer => answer.format(...given))",
        [value, {"output": output}],
    )
    assert found == said


def test_a_paper_full_of_ink_has_no_digit(visit: Any) -> None:
    opened = visit()
    page = opened.page
    page.locator("#pen").fill("14")
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for x, y in ((1, 0), (1, 1), (0, 1), (0, 0)):  # round the border
        page.mouse.move(
            box["x"] + 2 + x * (box["width"] - 4), box["y"] + 2 + y * (box["height"] - 4)
        )
    page.mouse.up()
    expect(page.locator("#second")).to_have_text("There is no digit in it.")
    opened.reads(NOTHING)


def test_what_the_page_cannot_be_without_is_missed_aloud(visit: Any) -> None:
    opened = visit()
    page = opened.page
    page.route("**/api/about", lambda route: route.abort())
    page.reload()
    expect(page.locator("#notice")).to_have_text("The server does not answer. Reload the page.")
    opened.said.clear()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (12_345, "12.3 k"),
        (999_499, "999 k"),
        (999_999, "1 M"),
        (6_000_000, "6 M"),
    ],
)
def test_large_numbers_are_short(visit: Any, images: int, said: str) -> None:
    found = visit().page.evaluate(
        "images => import('/static/chart.js').then(chart => chart.thousands(images))", images
    )
    assert found == said


def test_errors_below_half_a_percent_are_drawn_where_they_are(visit: Any) -> None:
    found = visit().page.evaluate(
        """() => import('/static/chart.js').then(({ draw }) => [0.004, 0.02].map(error => {
            const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
            draw(svg, { curves: [{ name: "r0", points: [[0, 0.5], [50, error]] }], most: 100,
                title: "", range: [error < 0.005 ? 0.001 : 0.005, 1],
                format: tick => `${Number((100 * tick).toPrecision(3))} %` });
            const ticks = [...svg.querySelectorAll('text')].map(
                text => [text.textContent, Number(text.getAttribute('y')) - 4]);
            const path = svg.querySelector('path').getAttribute('d');
            return [Object.fromEntries(ticks), Number(path.split(' ').at(-1))];
        }))"""
    )
    (low, y), (high, _) = found
    assert low["0.5 %"] < y < low["0.2 %"]
    assert "0.2 %" not in high


@pytest.mark.quick
def test_a_training_can_be_watched_to_its_end(visit: Any) -> None:
    opened = visit()
    page = opened.page
    opened.draw(5)
    opened.reads(5)
    for name, value in (("model", "lenet5-max"), ("output", "softmax"), ("distort", "none")):
        page.locator(f"[name={name}]").select_option(value)
    assert page.locator("[name=rate]").input_value() == "0.01"
    page.locator("[name=epochs]").fill("8")
    maps = "[...document.querySelectorAll('#glance canvas')].map(c => c.toDataURL()).join()"
    page.evaluate(
        "() => { window.seen = new Set(); new MutationObserver(() => "
        f"window.seen.add({maps})).observe(document.getElementById('images'), "
        "{ childList: true }); }"
    )
    page.evaluate("scrollTo(0, 0)")
    page.locator("[name=epochs]").press("Enter")
    for name in ("#stop", "#chart", "#losses"):  # without scrolling
        expect(page.locator(name)).to_be_in_viewport(ratio=1)
    expect(page.locator("#told")).to_contain_text("is done", timeout=60_000)
    assert page.evaluate("window.seen.size") >= 2, "the maps have not changed meanwhile"
    opened.reads(5)
    expect(page.locator("#value-name")).to_contain_text("probability")
    assert float(page.locator("#error").inner_text().rstrip(" %")) < 10
    assert float(page.locator("#speed").inner_text().replace(",", "")) > 100
    row = page.locator("#runs tr").first
    own = row.locator(".swatch").get_attribute("class")
    assert own is not None
    own = own.split()[-1]
    for chart in ("#chart", "#losses"):
        expect(page.locator(f"{chart} path.{own}")).to_have_count(2)
        expect(page.locator(f"{chart} circle.{own}")).to_have_count(8)
    expect(page.locator("#done")).to_have_js_property("value", 1)
    for box in page.locator("#runs tr:not(:first-child) [type=checkbox]").all():
        box.uncheck()
    ticks = page.locator("#chart text").all_text_contents()
    assert ticks[-5:] == ["0", "10 k", "20 k", "30 k", "40 k"]
    page.locator("#save").click()
    expect(page.locator("#told")).to_contain_text("Saved to /")
    assert Path(page.locator("#told").inner_text().removeprefix("Saved to ")).is_dir()
    # Another one beside it.
    page.locator("[name=distort]").select_option("paper")
    page.locator("[name=epochs]").fill("100")
    page.locator("#start").click()
    expect(page.locator("#stop")).to_be_enabled()
    page.locator("#stop").click()
    expect(page.locator("#told")).to_contain_text("was stopped")
    expect(page.locator("#chart path:not(.training)")).to_have_count(2)
    expect(row).to_contain_text("as in 1998")
    # Back to the network that was there first.
    page.locator("#network").select_option("0")
    expect(page.locator("#value-name")).to_contain_text("penalty")
    opened.reads(5)


def test_an_answer_that_was_overtaken_changes_nothing(visit: Any) -> None:
    """That a training has begun may be heard after that it is over."""
    opened = visit()
    page = opened.page
    held: list[Any] = []

    def hold(route: Any) -> None:
        if route.request.method == "POST":
            held.append((route, route.fetch()))
        else:
            route.continue_()

    page.route("**/api/training", hold)
    page.locator("[name=distort]").select_option("none")
    page.locator("[name=epochs]").fill("1")
    page.locator("#start").click()
    expect(page.locator("#told")).to_contain_text("is done")
    route, answer = held[0]
    assert answer.json()["run"]["state"] == "running"
    with page.expect_response("**/api/training"):
        route.fulfill(response=answer)
    page.locator("#random").click()
    expect(page.locator("#source")).to_contain_text("Test digit")
    expect(page.locator("#told")).to_contain_text("is done")
    expect(page.locator("#start")).to_be_enabled()


def test_a_tab_in_the_background_takes_no_connection(
    visit: Any, learning: tuple[TrainingManager, str]
) -> None:
    """A browser has six to a server, for all of its tabs: with six that listen, none reads."""
    opened = visit()
    page = opened.page
    told = page.locator("#told")

    def hide(hidden: bool) -> None:
        page.evaluate(
            "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, "
            "configurable: true }); document.dispatchEvent(new Event('visibilitychange')); }",
            hidden,
        )

    for _ in range(2):  # the second ends like the first, and is to be told of, too
        hide(True)
        learning[0].start({"distort": "none", "epochs": 1, "output": "softmax"})
        while (run := learning[0].current()["run"])["state"] == "running":
            page.wait_for_timeout(20)
        assert f"Run {run['number']} " not in told.inner_text()
        before = len(opened.asked)
        hide(False)
        expect(told).to_have_text(f"Run {run['number']} is done.")
        assert f"{opened.url}api/events" in opened.asked[before:]


def test_a_server_that_goes_and_another_that_comes(
    browser: Browser, page_network: Network, tmp_path: Path
) -> None:
    context = browser.new_context()
    with serving(TrainingManager(SAMPLE, tmp_path / "page", page_network, "one")) as served:
        port = int(served.effective_port)
        opened = Visit(context, server.address(served, "127.0.0.1"))
        told, network = opened.page.locator("#told"), opened.page.locator("#network option")
        expect(network).to_have_text("one")
    expect(told).to_have_text("The server does not answer.")
    opened.draw(2)
    opened.reads(2)
    with serving(TrainingManager(SAMPLE, tmp_path / "page", page_network, "another"), port=port):
        expect(network).to_have_text("another")
        expect(told).not_to_contain_text("answer")
        opened.draw(2)
        opened.reads(2)
        context.close()


def test_by_an_allowed_name_the_page_is_whole(
    browser: Browser, page_network: Network, tmp_path: Path
) -> None:
    """What a browser sends by that name is taken; by a name that is not allowed, nothing is."""
    taught = TrainingManager(SAMPLE, tmp_path / "page", page_network, "one")
    # Browsers have it that all names below localhost are this machine's.
    with serving(taught, allowed=["lab.localhost"]) as served:
        port = served.effective_port
        context = browser.new_context()
        opened = Visit(context, f"http://lab.localhost:{port}/")
        opened.draw(2)
        opened.reads(2)
        opened.page.locator("[name=distort]").select_option("none")
        opened.page.locator("[name=epochs]").fill("1")
        opened.page.locator("#start").click()
        expect(opened.page.locator("#told")).to_contain_text("is done", timeout=30_000)
        assert opened.said == []
        answer = opened.page.goto(f"http://other.localhost:{port}/")
        assert answer is not None
        assert answer.status == 403
        assert "serve --allow-host other.localhost" in answer.text()
        context.close()


def test_a_class_has_a_token_a_queue_and_runs_of_its_pupils(
    browser: Browser, page_network: Network, tmp_path: Path
) -> None:
    taught = TrainingManager(SAMPLE, tmp_path / "page", page_network, "the class's")
    with serving(taught, token="class-5b", pupils=2) as served:
        url = server.address(served, "127.0.0.1")
        pupils = [browser.new_context() for _ in range(2)]
        one, two = (Visit(each, f"{url}?token=class-5b") for each in pupils)
        for each in (one, two):
            assert each.page.evaluate("location.search + document.cookie") == ""
            each.page.locator("[name=epochs]").fill("100")
            each.page.locator("#start").click()
            expect(each.page.locator("#runs tr")).to_have_count(1)
        told = [each.page.locator("#told") for each in (one, two)]
        expect(told[0]).to_contain_text("Run 1 is learning")
        expect(told[1]).to_have_text("Run 1 waits: 1 before you.")
        one.page.locator("#pause").click()
        expect(told[0]).to_have_text("Run 1 is paused.")
        expect(told[1]).to_contain_text("Run 1 is learning")
        for each in (one, two):
            each.page.locator("#stop").click()
            expect(each.page.locator("#told")).to_have_text("Run 1 was stopped.")
            assert each.said == []
        stranger = browser.new_context().new_page()
        stranger.goto(url)
        expect(stranger.locator("#notice")).to_contain_text("needs the whole address")
        stranger.context.close()
        for context in pupils:
            context.close()


def test_another_site_takes_no_listeners_place_but_may_lead_here(
    browser: Browser, learning: tuple[TrainingManager, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = learning[1]
    events = f"{url}api/events"
    site = (
        f"<a href='{url}'>to the page</a><img src='{events}'><script src='{events}'></script>"
        f"<link rel=stylesheet href='{url}api/about'><iframe src='{events}'></iframe>"
    )

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(site.encode())

        def log_message(self, *_: object) -> None:
            pass

    # On this machine: to others, a browser does not even lend the way to this one.
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=other.serve_forever, daemon=True)
    thread.start()
    context = browser.new_context()
    page = context.new_page()
    heard: list[int] = []

    def wait(version: int, seconds: float) -> bool:
        if version == -1:  # a new listener; that of a page closed before may not be gone yet
            heard.append(version)
        return wait_before(version, seconds)

    wait_before = learning[0].wait
    monkeypatch.setattr(learning[0], "wait", wait)  # whoever has a place calls it
    page.goto(f"http://localhost:{other.server_address[1]}/")
    outcome = page.evaluate(
        """url => Promise.all(Array.from({ length: 15 }, () => new Promise(tell => {
            const source = new EventSource(`${url}api/events`);
            source.onopen = () => tell("open");
            source.onerror = () => tell("refused");
        })))""",
        url,
    )
    assert set(outcome) == {"refused"}
    assert heard == []
    page.locator("a").click()
    expect(page.locator("#layer-names button").first).to_be_visible()
    expect(page.locator("#network option").first).to_have_text("a model")
    deadline = time.monotonic() + 15
    while not heard and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert heard
    context.close()
    other.shutdown()
    other.server_close()
    thread.join()


def test_a_narrow_screen(visit: Any) -> None:
    opened = visit()
    page = opened.page
    page.set_viewport_size({"width": 360, "height": 740})
    for layer in range(6):
        page.locator("#layer-names button").nth(layer).click()
        assert not opened.overflows(), f"layer {layer}"
    opened.draw(2)
    opened.reads(2)
    assert not opened.overflows()


def test_a_dark_screen(visit: Any) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        opened = visit(color_scheme=scheme)
        ground, text = opened.page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, "
            "getComputedStyle(document.body).color]"
        )
        grounds[scheme] = [sum(map(int, re.findall(r"\d+", colour))) for colour in (ground, text)]
    assert grounds["light"][0] > 600 > 150 > grounds["light"][1]
    assert grounds["dark"][1] > 600 > 150 > grounds["dark"][0]


def test_a_screen_with_the_systems_own_colours(visit: Any) -> None:
    """The bars and the scale stay visible there."""
    opened = visit(forced_colors="active")
    opened.draw(7)
    opened.reads(7)
    bars = opened.page.locator("#bars .bar, #bars .bar span").evaluate_all(
        "bars => bars.map(bar => getComputedStyle(bar).backgroundColor)"
    )
    track, rest, first = bars[0], bars[1], bars[15]
    assert len({track, rest, first}) == 3, bars
    scale = opened.page.locator("#scale").evaluate("e => getComputedStyle(e).backgroundImage")
    assert scale.startswith("linear-gradient")
    # A line is drawn in many grey values, which pixels of another size than the canvas's lose.
    assert opened.page.locator("#pad").evaluate("e => getComputedStyle(e).imageRendering") == "auto"


def test_nothing_jumps(visit: Any) -> None:
    """Where things are does not depend on what is drawn, said or chosen."""
    opened = visit()
    page = opened.page
    where = (
        "[...document.querySelectorAll('section, #bars, #glance, #chart, button.main, #second')]"
        ".map(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })"
    )
    before = json.dumps(page.evaluate(where))
    opened.draw(8)
    opened.reads(8)
    assert json.dumps(page.evaluate(where)) == before
    for layer in range(6):
        page.locator("#layer-names button").nth(layer).click()
        assert json.dumps(page.evaluate(where)) == before, f"layer {layer}"
    page.locator("#random").click()
    expect(page.locator("#source")).to_contain_text("Test digit")
    assert json.dumps(page.evaluate(where)) == before


def test_every_control_has_a_name(visit: Any) -> None:
    page = visit().page
    controls = "input, select, button:not([hidden]), canvas#pad, progress, svg#chart"
    for control in page.locator(controls).all():
        name = control.evaluate(
            "e => e.getAttribute('aria-label') || [...(e.labels ?? [])].map(l => l.innerText)"
            ".join(' ') || e.innerText"
        )
        assert (name or "").strip(), control.evaluate("e => e.outerHTML")


def test_an_answer_is_timed_from_the_pen_to_the_picture(visit: Any) -> None:
    """What a developer's timeline shows; how long it is, no test judges."""
    opened = visit()
    opened.draw(6)
    opened.reads(6)
    durations: list[float] = []
    deadline = time.monotonic() + 15
    while not durations and time.monotonic() < deadline:
        durations = opened.page.evaluate(
            "performance.getEntriesByName('answer').map(entry => entry.duration)"
        )
    assert durations
    assert durations[0] > 0
