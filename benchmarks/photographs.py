"""Accuracy on photographed digits, for many kinds of light and paper.

python -m benchmarks.photographs RUN [RUN ...] [--digits N] [--only WORD] [--blank] [--picture FILE]

Test digits are enlarged onto sheets, which are then lit, ruled, folded, framed or laid on a table;
grain and JPEG artefacts are added. Each is read as ``lenet-fast predict`` reads it. The table
shows, per kind of sheet, how many are read correctly, misread, and refused. With --blank there is
no digit, and all should be refused.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.arguments import positive
from lenet_fast import data
from lenet_fast.data.resizing import resize

Array = np.ndarray[Any, Any]
Random = np.random.Generator
Layer = Callable[[Random, Array], Array]
"""A step that draws a sheet: takes a random generator and (rows, columns) float, returns floats."""

PAPER, PEN, PENCIL = 215.0, 40.0, 110.0


@dataclass(frozen=True)
class Sheet:
    """How a sheet is made: what is on the paper, how it is lit, what lies around it."""

    group: str
    paper: tuple[Layer, ...] = ()
    light: tuple[Layer, ...] = ()
    over: tuple[Layer, ...] = ()
    around: tuple[Layer, ...] = ()
    ink: float = PEN
    ground: float = PAPER
    size: tuple[float, float] = (0.5, 0.8)
    """Side of the digit's 28x28, as shares of the shorter side of the sheet."""
    place: tuple[float, float] = (0.1, 0.9)
    """Range of its position, from one end of the sheet (0) to the other (1)."""
    pen: float = 0.0
    """Thickness added to the strokes, in pixels of MNIST; negative for thinner ones."""
    grain: float = 2.0


def made(sheet: Sheet, digit: Array, random: Random) -> Array:
    """Return a photograph, (rows, columns) uint8, of an MNIST digit on a sheet."""
    shape = tuple(int(side) for side in random.integers(240, 520, 2))
    shape = (shape[0], int(np.clip(shape[1], shape[0] * 0.7, shape[0] * 1.4)))
    side = int(random.uniform(*sheet.size) * min(shape))
    ink = np.zeros(shape)
    top, left = (
        int(random.uniform(*sheet.place) * (whole - side)) if side <= whole else 0
        for whole in shape
    )
    large = resize(digit.astype(float) / 255, side, side)
    if sheet.pen and digit.any():
        large = _fatter(large, sheet.pen * side / 28)
    ink[top : top + side, left : left + side] = large
    grey = np.full(shape, sheet.ground)
    for layer in sheet.paper:
        grey = layer(random, grey)
    grey = (
        grey
        + ink * (np.minimum(sheet.ink, grey) if sheet.ink < sheet.ground else sheet.ink)
        - (ink * grey)
    )
    for layer in (*sheet.over, *sheet.light, *sheet.around):
        grey = layer(random, grey)
    grey = grey + random.normal(0, sheet.grain, grey.shape)
    return _jpeg(np.rint(grey.clip(0, 255)).astype(np.uint8))


def _jpeg(grey: Array) -> Array:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=90)
    return np.array(Image.open(file))


def _fatter(ink: Array, by: float) -> Array:
    """Return ink whose strokes are thicker or thinner by a number of pixels on each side."""
    from scipy import ndimage

    inside = ndimage.distance_transform_edt(ink > 0.5) - ndimage.distance_transform_edt(ink <= 0.5)
    return np.clip(inside + by + 0.5, 0, 1)


def _grid(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the rows and columns of all pixels, as fractions of the sides."""
    rows, columns = (np.arange(side) / max(side - 1, 1) for side in shape)
    return rows[:, None] + 0 * columns, columns + 0 * rows[:, None]


# --- light -----------------------------------------------------------------------------------


def falls(share: float, *ways: tuple[int, int]) -> Layer:
    """Light that decreases by a share towards a side or a corner; (0, 1) is to the right."""

    def layer(random: Random, grey: Array) -> Array:
        down, across = ways[random.integers(len(ways))]
        rows, columns = _grid(grey.shape)
        along = sum(
            (each if way > 0 else 1 - each)
            for each, way in ((rows, down), (columns, across))
            if way
        )
        return grey * (1 - share * along / np.max(along))

    return layer


SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))
CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


def both_sides(share: float) -> Layer:
    return lambda random, grey: grey * (1 - share * np.abs(2 * _grid(grey.shape)[1] - 1))


def vignette(share: float) -> Layer:
    def layer(random: Random, grey: Array) -> Array:
        rows, columns = _grid(grey.shape)
        return grey * (1 - share * ((2 * rows - 1) ** 2 + (2 * columns - 1) ** 2) / 2)

    return layer


def lamp(share: float, width: float = 0.35) -> Layer:
    """A bright spot somewhere, and darkness around it."""

    def layer(random: Random, grey: Array) -> Array:
        rows, columns = _grid(grey.shape)
        middle = random.uniform(0.2, 0.8, 2)
        away = np.hypot(rows - middle[0], columns - middle[1]) / width
        return grey * (1 - share * (1 - np.exp(-(away**2) / 2)))

    return layer


def corner_shadow(share: float, soft: float = 0.08) -> Layer:
    """A shadow over one corner; the width of its edge is a share of the sheet."""

    def layer(random: Random, grey: Array) -> Array:
        rows, columns = _grid(grey.shape)
        rows = rows if random.random() < 0.5 else 1 - rows
        columns = columns if random.random() < 0.5 else 1 - columns
        edge = (rows + columns - random.uniform(0.5, 1.0)) / max(soft, 1e-3)
        return grey * (1 - share / (1 + np.exp(4 * edge.clip(-30, 30))))

    return layer


def hand_shadow(share: float, soft: float = 0.02, count: int = 1) -> Layer:
    """The shadow of a hand, an arm or a phone: a broad bar that enters from one side."""

    def layer(random: Random, grey: Array) -> Array:
        rows, columns = _grid(grey.shape)
        dark = np.ones_like(grey)
        for _ in range(count):
            angle = random.uniform(0, 2 * np.pi)
            middle = random.uniform(0.3, 0.7, 2)
            along = (rows - middle[0]) * np.sin(angle) + (columns - middle[1]) * np.cos(angle)
            beside = (rows - middle[0]) * np.cos(angle) - (columns - middle[1]) * np.sin(angle)
            away = np.maximum(-along, np.abs(beside) - random.uniform(0.15, 0.3))
            dark *= 1 - share / (1 + np.exp(4 * (away / max(soft, 1e-3)).clip(-30, 30)))
        return grey * dark

    return layer


def glare(random: Random, grey: Array) -> Array:
    """A reflection, which adds light to everything beneath it."""
    rows, columns = _grid(grey.shape)
    middle = random.uniform(0.1, 0.9, 2)
    away = np.hypot(rows - middle[0], columns - middle[1]) / 0.15
    return np.minimum(grey + 60 * np.exp(-(away**2) / 2), 255)


# --- paper -----------------------------------------------------------------------------------


def lines(
    grey_of_line: float,
    gap: float = 0.08,
    width: float = 0.004,
    angles: tuple[float, ...] = (0.0,),
    tilt: float = 0.0,
    dotted: bool = False,
) -> Layer:
    """Parallel lines, at angles in degrees to the horizontal, gap and width as shares."""

    def layer(random: Random, grey: Array) -> Array:
        rows, columns = np.indices(grey.shape)
        side = min(grey.shape)
        turn = random.uniform(-tilt, tilt)
        on = []
        for angle in angles:
            theta = np.deg2rad(angle + turn)
            across = rows * np.cos(theta) - columns * np.sin(theta)
            phase = (across / (gap * side) + random.random()) % 1
            away = np.minimum(phase, 1 - phase) * gap * side
            on.append(np.clip(max(width * side, 1) / 2 + 0.5 - away, 0, 1))
        share = np.minimum.reduce(on) if dotted else np.maximum.reduce(on)
        return grey + share * (np.minimum(grey_of_line, grey) - grey)

    return layer


def margin(random: Random, grey: Array) -> Array:
    """The red line at the margin of an exercise book."""
    at = int(random.uniform(0.08, 0.16) * grey.shape[1])
    at = at if random.random() < 0.5 else grey.shape[1] - at
    grey = grey.copy()
    grey[:, at - 1 : at + 1] = np.minimum(grey[:, at - 1 : at + 1], 150)
    return grey


def fold(value: float, *angles: float, near_edge: bool = False, step: float = 0.0) -> Layer:
    """A line across the whole sheet, with a step in brightness at it."""

    def layer(random: Random, grey: Array) -> Array:
        grey = grey.copy()
        rows, columns = _grid(grey.shape)
        for angle in angles:
            theta = np.deg2rad(angle)
            away = rows * np.cos(theta) - columns * np.sin(theta)
            low, high = away.min(), away.max()
            share = random.uniform(0.04, 0.12) if near_edge else random.uniform(0.2, 0.8)
            away = (away - low - share * (high - low)) * min(grey.shape)
            grey *= 1 - step * (away > 0)
            on = np.clip(1.5 - np.abs(away), 0, 1)
            grey += on * (np.minimum(value, grey) - grey)
        return grey

    return layer


def crumpled(share: float) -> Layer:
    """Facets that lie in different light."""

    def layer(random: Random, grey: Array) -> Array:
        rows, columns = _grid(grey.shape)
        light = np.ones_like(grey)
        for _ in range(12):
            angle = random.uniform(0, 2 * np.pi)
            side = (rows - random.random()) * np.cos(angle) + (columns - random.random()) * np.sin(
                angle
            )
            light += random.uniform(-share, share) / 2 * np.clip(side / 0.03, -1, 1)
        return grey * light

    return layer


def texture(random: Random, grey: Array) -> Array:
    from scipy import ndimage

    rough = ndimage.gaussian_filter(random.normal(size=grey.shape), 2)
    return grey + 5 * rough / rough.std()


def specks(share: float) -> Layer:
    def layer(random: Random, grey: Array) -> Array:
        odd = random.random(grey.shape)
        return np.where(odd < share / 2, 0.0, np.where(odd < share, 255.0, grey))

    return layer


def holes(random: Random, grey: Array) -> Array:
    """Two punched holes at the left, dark inside."""
    image = Image.fromarray(grey.astype(np.float32))
    draw = ImageDraw.Draw(image)
    radius = 0.02 * min(grey.shape)
    for share in (0.35, 0.65):
        x, y = 0.05 * grey.shape[1], share * grey.shape[0]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=50)
    return np.array(image, float)


def staple(random: Random, grey: Array) -> Array:
    grey = grey.copy()
    top, left = int(0.03 * grey.shape[0]), int(0.04 * grey.shape[1])
    grey[top : top + 3, left : left + int(0.07 * grey.shape[1])] = 90
    return grey


# --- around ----------------------------------------------------------------------------------


def frame(width: int, value: float, inside: int = 0) -> Layer:
    def layer(random: Random, grey: Array) -> Array:
        grey = grey.copy()
        ring = np.zeros(grey.shape, bool)
        ring[inside : grey.shape[0] - inside, inside : grey.shape[1] - inside] = True
        far = inside + width
        ring[far : grey.shape[0] - far, far : grey.shape[1] - far] = False
        grey[ring] = value
        return grey

    return layer


def rounded(width: int, value: float) -> Layer:
    """A frame with round corners, and the same beyond them."""

    def layer(random: Random, grey: Array) -> Array:
        image = Image.new("L", grey.shape[::-1], 0)
        box = (width, width, grey.shape[1] - width, grey.shape[0] - width)
        ImageDraw.Draw(image).rounded_rectangle(box, radius=0.12 * min(grey.shape), fill=1)
        return np.where(np.array(image) > 0, grey, value)

    return layer


def bars(share: float, value: float, *sides: str) -> Layer:
    """Strips beside the sheet, a share of it wide, at "top", "bottom", "left" or "right"."""

    def layer(random: Random, grey: Array) -> Array:
        down, across = (max(round(share * side), 1) for side in grey.shape)
        width = (
            (down * ("top" in sides), down * ("bottom" in sides)),
            (across * ("left" in sides), across * ("right" in sides)),
        )
        return np.pad(grey, width, constant_values=value)

    return layer


ALL_SIDES = ("top", "bottom", "left", "right")


def table(value: float, share: float, *sides: str, wood: float = 0.0, tilt: float = 0.0) -> Layer:
    """A table, visible on some sides of the sheet, which may be rotated by some degrees."""

    def layer(random: Random, grey: Array) -> Array:
        wide = bars(share, -1.0, *sides)(random, grey)
        angle = random.uniform(-tilt, tilt)
        wide = np.array(
            Image.fromarray(wide.astype(np.float32)).rotate(
                angle, Image.Resampling.BILINEAR, fillcolor=-1.0
            ),
            float,
        )
        below = np.full(wide.shape, float(value))
        if wood:
            from scipy import ndimage

            rough = ndimage.gaussian_filter(random.normal(size=wide.shape), (1.5, 25))
            below += wood * rough / rough.std()
        # Pixels in which the sheet's edge is blended with the -1 beside it belong to the table.
        return np.where(wide < 0.5 * grey.min(), below, wide)

    return layer


# --- the sheets ------------------------------------------------------------------------------


def _sheets() -> dict[str, Sheet]:
    found: dict[str, Sheet] = {}

    def add(group: str, name: str, **options: Any) -> None:
        found[name] = Sheet(group, **options)

    for ink, name in ((PEN, ""), (PENCIL, ", pencil")):
        add("even", f"even light{name}", ink=ink)
        for share in (0.1, 0.15, 0.2, 0.3, 0.5):
            percent = f"{100 * share:.0f} %{name}"
            add(
                "light",
                f"light falls to the right by {percent}",
                light=(falls(share, (0, 1)),),
                ink=ink,
            )
            add(
                "light",
                f"light falls to a corner by {percent}",
                light=(falls(share, *CORNERS),),
                ink=ink,
            )
            add(
                "light",
                f"soft shadow over a corner, {percent}",
                light=(corner_shadow(share),),
                ink=ink,
            )
            add("light", f"vignette of {percent}", light=(vignette(share),), ink=ink)
        for share in (0.3, 0.5):
            percent = f"{100 * share:.0f} %{name}"
            add(
                "light",
                f"light falls to any side by {percent}",
                light=(falls(share, *SIDES),),
                ink=ink,
            )
            add(
                "light",
                f"light falls to both sides by {percent}",
                light=(both_sides(share),),
                ink=ink,
            )
            add("light", f"spot of a lamp, {percent}", light=(lamp(share),), ink=ink)
            add(
                "light",
                f"sharp shadow over a corner, {percent}",
                light=(corner_shadow(share, 0.002),),
                ink=ink,
            )
            add(
                "light",
                f"very soft shadow over a corner, {percent}",
                light=(corner_shadow(share, 0.3),),
                ink=ink,
            )
            add("light", f"shadow of a hand, {percent}", light=(hand_shadow(share, 0.05),), ink=ink)
            add(
                "light",
                f"sharp shadow of a phone, {percent}",
                light=(hand_shadow(share, 0.004),),
                ink=ink,
            )
        add("light", f"two shadows of 25 %{name}", light=(hand_shadow(0.25, 0.03, 2),), ink=ink)
        add(
            "light",
            f"light falls by 30 %, and a shadow of 30 %{name}",
            light=(falls(0.3, *SIDES, *CORNERS), corner_shadow(0.3)),
            ink=ink,
        )

        for width in (1, 2, 3, 8, 20):
            add("around", f"black frame of {width} px{name}", around=(frame(width, 0),), ink=ink)
        for value, colour in ((70, "dark red"), (110, "blue"), (160, "grey"), (255, "white")):
            for width in (1, 4, 12):
                add(
                    "around",
                    f"{colour} frame of {width} px{name}",
                    around=(frame(width, value),),
                    ink=ink,
                )
        for width, inside in ((1, 8), (2, 15), (3, 20)):
            add(
                "around",
                f"black frame of {width} px, {inside} px inside{name}",
                over=(frame(width, 0, inside),),
                ink=ink,
                size=(0.5, 0.7),
                place=(0.3, 0.7),
            )
        add("around", f"rounded frame{name}", around=(rounded(4, 0),), ink=ink, place=(0.25, 0.75))
        for value, colour in ((0, "black"), (120, "grey"), (255, "white")):
            add(
                "around",
                f"{colour} bars left and right{name}",
                around=(bars(0.2, value, "left", "right"),),
                ink=ink,
            )
            add(
                "around",
                f"{colour} bars top and bottom{name}",
                around=(bars(0.2, value, "top", "bottom"),),
                ink=ink,
            )
            add(
                "around",
                f"{colour} strip on one side{name}",
                around=(bars(0.04, value, "left"),),
                ink=ink,
            )
            add(
                "around",
                f"{colour} strip on three sides{name}",
                around=(bars(0.05, value, "left", "top", "right"),),
                ink=ink,
            )
            add(
                "around",
                f"wide {colour} bars{name}",
                around=(bars(0.6, value, "left", "right"),),
                ink=ink,
            )
        for value in (20, 60, 100):
            add(
                "around",
                f"on a table of {value}{name}",
                around=(table(value, 0.2, *ALL_SIDES),),
                ink=ink,
            )
        add("around", f"small on a dark table{name}", around=(table(60, 0.6, *ALL_SIDES),), ink=ink)
        add(
            "around",
            f"on a dark table, two sides{name}",
            around=(table(60, 0.2, "left", "top"),),
            ink=ink,
        )
        add(
            "around",
            f"on a wooden table{name}",
            around=(table(90, 0.2, *ALL_SIDES, wood=12),),
            ink=ink,
        )
        add(
            "around",
            f"askew on a dark table{name}",
            around=(table(60, 0.25, *ALL_SIDES, tilt=12),),
            ink=ink,
        )
        add(
            "around",
            f"askew on a wooden table{name}",
            around=(table(90, 0.25, *ALL_SIDES, wood=12, tilt=12),),
            ink=ink,
        )
        add(
            "around",
            f"on a dark table, light falls by 30 %{name}",
            around=(table(60, 0.2, *ALL_SIDES), falls(0.3, *SIDES, *CORNERS)),
            ink=ink,
        )

        for value in (205, 190, 150, 110):
            add("lines", f"ruled sheet, lines {value}{name}", paper=(lines(value),), ink=ink)
            add(
                "lines",
                f"squared sheet, lines {value}{name}",
                paper=(lines(value, angles=(0, 90)),),
                ink=ink,
            )
        add("lines", f"ruled upright, lines 190{name}", paper=(lines(190, angles=(90,)),), ink=ink)
        add("lines", f"ruled askew, lines 170{name}", paper=(lines(170, tilt=4),), ink=ink)
        add("lines", f"thick lines 170{name}", paper=(lines(170, width=0.012),), ink=ink)
        add("lines", f"fine squares 190{name}", paper=(lines(190, 0.04, angles=(0, 90)),), ink=ink)
        add(
            "lines",
            f"coarse squares 170, askew{name}",
            paper=(lines(170, 0.16, angles=(0, 90), tilt=4),),
            ink=ink,
        )
        add(
            "lines",
            f"isometric paper 190{name}",
            paper=(lines(190, angles=(30, 90, 150)),),
            ink=ink,
        )
        add(
            "lines",
            f"dotted paper 150{name}",
            paper=(lines(150, 0.06, 0.01, (0, 90), dotted=True),),
            ink=ink,
        )
        add("lines", f"ruled with a margin{name}", paper=(lines(180), margin), ink=ink)
        add(
            "lines",
            f"ruled, light falls by 30 %{name}",
            paper=(lines(180),),
            light=(falls(0.3, *SIDES),),
            ink=ink,
        )
        add(
            "lines",
            f"squared, a soft shadow of 30 %{name}",
            paper=(lines(180, angles=(0, 90)),),
            light=(corner_shadow(0.3),),
            ink=ink,
        )
        for value in (150, 120):
            add(
                "folds",
                f"fold of {value} near the edge{name}",
                paper=(fold(value, 90, near_edge=True),),
                ink=ink,
            )
            add("folds", f"fold of {value} anywhere{name}", paper=(fold(value, 0),), ink=ink)
        add("folds", f"folded twice{name}", paper=(fold(160, 0, 90, step=0.06),), ink=ink)
        add("folds", f"fold askew{name}", paper=(fold(160, 35, step=0.06),), ink=ink)
        add(
            "folds",
            f"fold without a line, 15 % darker{name}",
            paper=(fold(255, 90, step=0.15),),
            ink=ink,
        )
        add("folds", f"crumpled, 6 %{name}", paper=(crumpled(0.06),), ink=ink)
        add("folds", f"crumpled, 12 %{name}", paper=(crumpled(0.12),), ink=ink)
        add("folds", f"rough paper{name}", paper=(texture,), ink=ink)
        add("folds", f"punched holes{name}", over=(holes,), ink=ink, place=(0.5, 0.9))
        add("folds", f"staple{name}", over=(staple,), ink=ink, size=(0.5, 0.7), place=(0.6, 0.9))
        add("folds", f"specks, 0.2 %{name}", over=(specks(0.002),), ink=ink)

    add("digits", "tiny digit", size=(0.12, 0.2))
    add("digits", "tiny digit, light falls by 40 %", size=(0.12, 0.2), light=(falls(0.4, *SIDES),))
    add("digits", "digit fills the sheet", size=(1.0, 1.0))
    add(
        "digits",
        "digit fills the sheet, light falls by 40 %",
        size=(1.0, 1.0),
        light=(falls(0.4, *SIDES),),
    )
    add("digits", "in a corner", size=(0.3, 0.5), place=(0.0, 0.05))
    add(
        "digits",
        "in a corner, a soft shadow",
        size=(0.3, 0.5),
        place=(0.0, 0.05),
        light=(corner_shadow(0.3),),
    )
    add("digits", "thick marker", pen=1.2)
    add("digits", "thick marker, light falls by 40 %", pen=1.2, light=(falls(0.4, *SIDES),))
    add("digits", "thin pen, light falls by 40 %", pen=-0.4, light=(falls(0.4, *SIDES),))
    add(
        "digits", "faint pencil of 150, light falls by 30 %", ink=150.0, light=(falls(0.3, *SIDES),)
    )
    for name, ground, ink in (("blackboard", 50.0, 220.0), ("dark screen", 15.0, 200.0)):
        add("chalk", name, ground=ground, ink=ink)
        add(
            "chalk",
            f"{name}, light falls by 50 %",
            ground=ground,
            ink=ink,
            light=(falls(0.5, *SIDES),),
        )
        add(
            "chalk",
            f"{name}, shadow of a hand",
            ground=ground,
            ink=ink,
            light=(hand_shadow(0.3, 0.05),),
        )
        add("chalk", f"{name}, lamp", ground=ground, ink=ink, light=(lamp(0.4),))
        add("chalk", f"{name}, reflection", ground=ground, ink=ink, light=(glare,))
        add("chalk", f"{name}, white frame", ground=ground, ink=ink, around=(frame(4, 230),))
        add(
            "chalk",
            f"{name}, bright wall around",
            ground=ground,
            ink=ink,
            around=(table(200, 0.2, *ALL_SIDES),),
        )
        add("chalk", f"{name}, ruled", ground=ground, ink=ink, paper=(bright_lines(90),))
    add(
        "chalk", "whiteboard, reflection", ground=235.0, ink=60.0, light=(glare, falls(0.3, *SIDES))
    )
    return found


def bright_lines(value: float) -> Layer:
    return lambda random, grey: 255 - lines(255 - value)(random, 255 - grey)


SHEETS = _sheets()


# --- reading ---------------------------------------------------------------------------------


@dataclass
class Count:
    right: int = 0
    wrong: int = 0
    refused: int = 0
    reasons: set[str] = field(default_factory=set)


def photographs(
    name: str, digits: int, test: data.Dataset, blank: bool = False
) -> list[tuple[Array, int]]:
    """Return photographs of the first test digits on a kind of sheet, with their labels.

    Blank sheets have no digit, and the label -1, which no answer fits.
    """
    return [
        (
            made(
                SHEETS[name],
                0 * digit if blank else digit,
                np.random.default_rng([k, *name.encode()]),
            ),
            -1 if blank else int(label),
        )
        for k, (digit, label) in enumerate(zip(test.images, test.labels[:digits], strict=False))
    ]


def count(pictures: list[tuple[Array, int]], readers: dict[str, Any]) -> dict[str, Count]:
    """Return the results of each network in `readers`, by name, on the pictures."""
    found = {name: Count() for name in readers}
    for picture, label in pictures:
        try:
            image = data.centre(picture)
        except ValueError as error:
            for each in found.values():
                each.refused += 1
                each.reasons.add(str(error))
            continue
        for name, read in readers.items():
            if read(image) == label:
                found[name].right += 1
            else:
                found[name].wrong += 1
    return found


def reader(run: str) -> Callable[[Array], int]:
    from lenet_fast.cli.common import read_model

    _, network, _ = read_model(Path(run))
    return lambda image: int(network.classify(image[np.newaxis])[0])


def contact_sheet(name: str, test: data.Dataset, count: int = 6, side: int = 110) -> Array:
    """Return photographs of a kind of sheet in a row, each with the digit cut out of it."""
    cells = []
    for picture, _ in photographs(name, count, test):
        scale = side / max(picture.shape)
        small = resize(picture.astype(float), *(max(1, int(scale * x)) for x in picture.shape))
        cell = np.full((side, side + 60), 128.0)
        cell[: small.shape[0], : small.shape[1]] = small
        try:
            cell[:56, side + 2 : side + 58] = np.kron(data.centre(picture), np.ones((2, 2)))
        except ValueError:
            cell[:56, side + 2 : side + 58] = 200
        cells.append(cell)
    return np.hstack(cells).astype(np.uint8)


PICTURED = (
    *("light falls to the right by 50 %", "light falls to a corner by 50 %, pencil"),
    *("soft shadow over a corner, 30 %", "sharp shadow of a phone, 30 %", "spot of a lamp, 50 %"),
    *("black frame of 3 px, 20 px inside", "black bars left and right", "askew on a dark table"),
    *("ruled askew, lines 170", "squared sheet, lines 150", "isometric paper 190, pencil"),
    *("folded twice", "crumpled, 12 %", "blackboard, lamp"),
)
"""Kinds of sheets for the picture in the documentation."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photographs", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or a model file")
    parser.add_argument("--digits", type=positive, default=60, help="digits per kind (60)")
    parser.add_argument("--only", default="", help="only kinds whose group or name contains this")
    parser.add_argument(
        "--picture", help="only write sheets, and the digits cut out of them, to a PNG"
    )
    parser.add_argument("--blank", action="store_true", help="without a digit on the sheets")
    parser.add_argument("--data", help="folder with the MNIST files")
    options = parser.parse_args()
    test = data.load("auto", options.data).test
    readers = {Path(run).name: reader(run) for run in options.runs}
    names = [name for name, sheet in SHEETS.items() if options.only in f"{sheet.group}: {name}"]
    if options.picture:
        rows = [contact_sheet(name, test) for name in (names if options.only else PICTURED)]
        Image.fromarray(np.vstack(rows)).quantize(128).save(options.picture, optimize=True)
        return
    print("| sheet | " + " | ".join(f"{name}: right | wrong" for name in readers) + " | refused |")
    print("|---|" + "---:|" * (2 * len(readers) + 1))
    for name in names:
        found = count(photographs(name, options.digits, test, options.blank), readers)
        cells = [f"{each.right} | {each.wrong}" for each in found.values()]
        any_of = next(iter(found.values()))
        why = f" ({'; '.join(sorted(any_of.reasons))})" if any_of.reasons else ""
        print(f"| {name} | {' | '.join(cells)} | {any_of.refused}{why} |", flush=True)


if __name__ == "__main__":
    main()
