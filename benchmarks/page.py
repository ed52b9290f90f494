"""The page of ``lenet-fast serve`` in Chromium: first picture, answers while one draws, stepping.

    python -m benchmarks.page [--loads 15] [--digits 8]

A server of its own on the loopback, and Debian's Chromium without a window, on one screen's frames
of 16.7 ms. The first picture is what the browser calls first contentful paint: the page is hidden
until a digit and its answer are there. An answer lasts from the event of the pen to the painted
frame, by the page's own measure. Needs the extra `test` and Chromium.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.arguments import positive
from lenet_fast import data, models
from lenet_fast.training import Trainer

WINDOW = {"width": 1280, "height": 1200}
VIEWS = {
    "It learns": "view=learn",
    "How it computes, C1": "view=steps&layer=C1",
    "How it computes, C3": "view=steps&layer=C3",
    "How it computes, RBF": "view=steps&layer=Output",
    "Confusions": "view=fails&fails=confusions",
    "What it looks at": "view=fails&fails=look",
    "Deceive it": "view=fails&fails=deceive",
    "Rejection": "view=fails&fails=reject",
    "Presentation": "mode=present",
}
ANSWERS = """window.answers = [];
new PerformanceObserver(list => answers.push(...list.getEntries()
    .filter(each => each.name === 'answer').map(each => each.duration)))
    .observe({ entryTypes: ['measure'] });"""
PAINT = """() => new Promise(done => new PerformanceObserver(list => {
    for (const each of list.getEntries())
        if (each.name === 'first-contentful-paint') done(each.startTime);
}).observe({ type: 'paint', buffered: true }))"""
FRAMES = """count => new Promise(done => {
    const times = [];
    const next = time => {
        if (times.push(time) > count) done(times.slice(1).map((each, k) => each - times[k]));
        else requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
})"""


def opened(browser: Browser, url: str) -> Page:
    """Return a page in a new window with an empty cache, after the tour has been seen."""
    page = browser.new_context(viewport=WINDOW, locale="en-GB").new_page()
    page.add_init_script("localStorage.setItem('lenet-fast tour', 'seen');" + ANSWERS)
    page.goto(url)
    return page


def loads(browser: Browser, url: str, count: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds from the address to the first picture, and until all of it works."""
    first, whole = [], []
    for _ in range(count):
        page = opened(browser, url)
        page.wait_for_selector("main:not([aria-busy])")
        whole.append(page.evaluate("performance.now()"))
        first.append(page.evaluate(PAINT))
        page.wait_for_timeout(300)  # its own work after that
        page.context.close()
    return first, whole


def answers(browser: Browser, url: str, digits: int) -> list[float]:
    """Return the milliseconds of all answers while eights are drawn, a point a frame."""
    page = opened(browser, url)
    page.wait_for_timeout(1500)
    box = page.locator("#pad").bounding_box()
    assert box is not None
    for _ in range(digits):
        page.keyboard.press("c")
        for k in range(41):
            angle = k * math.pi / 20
            x, y = 0.5 + 0.18 * math.sin(2 * angle), 0.5 - 0.32 * math.cos(angle)
            page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
            if k == 0:
                page.mouse.down()
            page.wait_for_timeout(16)
        page.mouse.up()
    page.wait_for_timeout(200)
    found: list[float] = page.evaluate("answers")
    page.context.close()
    return found


def frames(browser: Browser, url: str) -> list[float]:
    """Return the milliseconds between 180 frames in which windows slide."""
    page = opened(browser, url)
    page.wait_for_timeout(1500)
    page.locator("#unit-play").click()
    page.wait_for_timeout(300)
    found: list[float] = page.evaluate(FRAMES, 180)
    page.context.close()
    return found


def line(name: str, times: list[float], aim: str) -> None:
    last = sorted(times)[math.ceil(0.95 * len(times)) - 1]
    print(
        f"{name:<34}{len(times):>6}{statistics.median(times):>9.1f}{last:>9.1f}"
        f"{max(times):>9.1f}  {aim}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", type=positive, default=15)
    parser.add_argument("--digits", type=positive, default=8)
    options = parser.parse_args(arguments)
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        parser.error(f"expected one of {', '.join(names)} to be installed")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(models.lenet5())
        sample = data.load("sample")
        trainer.fit(sample.train, sample.test, epochs=2, verbose=False)
        trainer.network.save(Path(folder) / "lenet5.safetensors")
        serve = [sys.executable, "-m", "lenet_fast", "serve", "lenet5.safetensors", "--no-browser"]
        with (
            subprocess.Popen(
                [*serve, "--dataset", "sample", "--port", "0"],
                cwd=folder,
                stdout=subprocess.PIPE,
                text=True,
            ) as server,
            sync_playwright() as playwright,
        ):
            try:
                assert server.stdout is not None
                url = next(word for text in server.stdout for word in text.split() if "://" in word)
                browser = playwright.chromium.launch(
                    executable_path=path,
                    args=["--no-sandbox", *__import__("os").environ.get("FL", "").split()],
                )
                print(f"{'milliseconds of':<34}{'times':>6}{'median':>9}{'95 %':>9}{'most':>9}")
                opened(browser, url).context.close()
                time.sleep(2)
                first, whole = loads(browser, url, options.loads)
                line("the first picture", first, "aim: 300")
                line("the whole page", whole, "")
                for name, state in VIEWS.items():
                    found = answers(browser, f"{url}#{state}", options.digits)
                    line(f"an answer, {name}", found, "aim: 50")
                for layer in ("C1", "S2", "C3"):
                    found = frames(browser, f"{url}#view=steps&layer={layer}&speed=60")
                    line(f"a frame, {layer} plays", found, "aim: 16.7")
                browser.close()
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
