"""Make docs/serve.webp: the page of ``lenet-fast serve`` in motion.

    python tools/page_picture.py

A digit is drawn, the layers are visited, a unit is computed, misread digits are found, and a
network learns, in Chromium, without a window. Needs the extra `test`, Chromium and MNIST, and an
idle machine, whose speed the picture shows. Look at the result before you commit it.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Error, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from drawn_digits import placed  # noqa: E402

OUT = ROOT / "docs" / "serve.webp"
URL = "http://localhost:8790/"
WINDOW = {"width": 1280, "height": 1080}
SIZE = (960, 810)  # of the picture


class Film:
    """Frames of a page, each with the time for which it stays."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[bytes] = []
        self.milliseconds: list[int] = []

    def shoot(self, milliseconds: int) -> None:
        """Add a frame; one that shows no change lengthens the one before."""
        frame = self.page.screenshot()
        if self.frames and frame == self.frames[-1]:
            self.milliseconds[-1] += milliseconds
        else:
            self.frames.append(frame)
            self.milliseconds.append(milliseconds)

    def save(self) -> None:
        """Write the picture."""
        first, *rest = (
            Image.open(io.BytesIO(frame)).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
            for frame in self.frames
        )
        durations = self.milliseconds
        form = {"quality": 50, "method": 6, "duration": durations, "loop": 0}
        first.save(OUT, save_all=True, append_images=rest, **form)
        print(f"{OUT}: {OUT.stat().st_size / 1e6:.1f} MB, {sum(durations) / 1000:.0f} s")


def draw(film: Film, digit: int) -> None:
    """Draw a digit with the mouse, with a frame every few points."""
    mouse, box = film.page.mouse, film.page.locator("#pad").bounding_box()
    assert box is not None
    for stroke in placed(digit, "centre")[0]:
        points = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in stroke]
        mouse.move(*points[0])
        mouse.down()
        for number, point in enumerate(points):
            mouse.move(*point)
            if number % 4 == 3:
                film.page.wait_for_timeout(40)  # for the answer
                film.shoot(100)
        mouse.up()


def play(film: Film) -> None:
    """Draw, look at the layers and closer, find where it fails, and train."""
    page = film.page
    idle = page.locator("#stop:disabled")
    told = page.locator("#told")
    page.locator("#tab-learn").click()
    expect(told).to_contain_text("is done", timeout=120_000)  # the page begins with a training
    page.locator("#tab-steps").click()
    page.wait_for_timeout(300)
    film.shoot(1500)
    page.locator("#clear").click()
    film.shoot(500)
    draw(film, 3)
    film.shoot(1200)
    for name in ("C1", "C3", "F6"):
        page.locator("#layer-names button", has_text=name).click()
        page.wait_for_timeout(150)
        film.shoot(900)
    page.locator("#layer-names button", has_text="C3").click()
    page.locator(".tile.large").nth(9).click()
    page.mouse.move(5, 5)
    for _ in range(8):
        page.locator("#unit-next").click()
        page.wait_for_timeout(150)
        film.shoot(350)
    film.shoot(1200)
    page.locator("#tab-fails").click()
    page.locator("#cell-digits .gallery button").first.wait_for()
    page.wait_for_timeout(300)
    film.shoot(1800)
    page.locator("#cell-digits .gallery button").first.click()
    page.wait_for_timeout(300)
    film.shoot(2200)
    page.locator("#tab-learn").click()
    page.locator("[name=model]").select_option("lenet5-max")
    page.locator("[name=output]").select_option("softmax")
    page.locator("[name=distort]").select_option("none")
    page.locator("[name=epochs]").fill("2")
    film.shoot(700)
    page.locator("#start").click()
    expect(page.locator("#stop:enabled")).to_be_visible()
    before = time.perf_counter()
    while not idle.is_visible():
        page.wait_for_timeout(600)
        now = time.perf_counter()
        film.shoot(round(1000 * (now - before)))
        before = now
    film.shoot(3000)


def main() -> None:
    """Serve the page, play and save."""
    serve = [sys.executable, "-m", "lenet_fast", "serve", "--dataset", "mnist", "--no-browser"]
    names = ("chromium", "chromium-browser", "google-chrome")
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*serve, "--port", "8790"], cwd=folder) as server,
        sync_playwright() as playwright,
    ):
        try:
            browser = playwright.chromium.launch(
                executable_path=next(filter(None, map(shutil.which, names))),
                args=["--no-sandbox"],
            )
            page = browser.new_page(viewport=WINDOW, locale="en-GB")
            page.add_init_script("localStorage.setItem('lenet-fast tour', 'seen')")
            for attempt in range(100):
                try:
                    page.goto(URL)
                    break
                except Error:  # it does not listen yet
                    if attempt == 99:
                        raise
                    time.sleep(0.2)
            film = Film(page)
            play(film)
            film.save()
            browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
