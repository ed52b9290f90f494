"""The ten digits as strokes of a pen, for tests of what is drawn by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np

Stroke = list[tuple[float, float]]


def _arc(
    x: float, y: float, across: float, down: float, first: float, last: float, points: int = 24
) -> Stroke:
    """Return part of an ellipse about (x, y), between two angles in degrees: 0 is on the right,
    90 below."""
    angles = [math.radians(first + (last - first) * k / points) for k in range(points + 1)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


DIGITS: dict[int, list[Stroke]] = {
    0: [_arc(0.5, 0.5, 0.33, 0.5, -90, 270, 40)],
    1: [[(0.36, 0.2), (0.52, 0.0), (0.5, 1.0)]],
    2: [[*_arc(0.48, 0.28, 0.34, 0.28, -170, 35), (0.14, 0.98), (0.86, 0.97)]],
    3: [_arc(0.45, 0.26, 0.34, 0.26, -150, 90) + _arc(0.45, 0.75, 0.4, 0.25, -90, 150)],
    4: [[(0.3, 0.0), (0.14, 0.56), (0.86, 0.53)], [(0.68, 0.16), (0.64, 1.0)]],
    5: [[(0.82, 0.02), (0.27, 0.03), (0.22, 0.45), *_arc(0.44, 0.69, 0.36, 0.3, -110, 140)]],
    6: [[(0.68, 0.02), (0.36, 0.3), *_arc(0.49, 0.73, 0.27, 0.27, 190, -170, 36)]],
    7: [[(0.12, 0.05), (0.86, 0.03), (0.6, 0.45), (0.42, 1.0)]],
    8: [
        _arc(0.5, 0.25, 0.26, 0.25, -60, -270, 24)
        + _arc(0.5, 0.75, 0.31, 0.25, -90, 270, 36)
        + _arc(0.5, 0.25, 0.26, 0.25, 90, -60, 18)
    ],
    9: [[*_arc(0.48, 0.27, 0.29, 0.27, -20, -340, 36), (0.76, 0.3), (0.68, 1.0)]],
}
"""Strokes of each digit: points (x, y) in a square of side 1, y downwards."""

PLACES: dict[str, tuple[float, float, float, float]] = {
    "centre": (0.26, 0.2, 0.6, 0.055),
    "corner": (0.58, 0.57, 0.38, 0.055),
    "small": (0.1, 0.62, 0.2, 0.035),
    "large": (0.06, 0.05, 0.9, 0.055),
    "thin": (0.26, 0.2, 0.6, 0.014),
    "thick": (0.2, 0.16, 0.66, 0.1),
}
"""Where and how large a digit is drawn on a canvas of side 1: left, top, size, and the pen."""


def placed(digit: int, place: str) -> tuple[list[Stroke], float]:
    """Return the strokes of a digit on a canvas of side 1, and how wide the pen is."""
    left, top, size, pen = PLACES[place]
    return [[(left + size * x, top + size * y) for x, y in each] for each in DIGITS[digit]], pen


def painted(strokes: list[Stroke], pen: float, side: int = 112) -> np.ndarray:
    """Return the canvas, (side, side) uint8, on which a round pen has drawn the strokes."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side
    nearest = np.full((side, side), np.inf)
    for stroke in strokes:
        for (x1, y1), (x2, y2) in itertools.pairwise(stroke):
            length = (x2 - x1) ** 2 + (y2 - y1) ** 2
            along = ((columns - x1) * (x2 - x1) + (rows - y1) * (y2 - y1)) / max(length, 1e-12)
            along = along.clip(0, 1)
            distance = np.hypot(columns - x1 - along * (x2 - x1), rows - y1 - along * (y2 - y1))
            nearest = np.minimum(nearest, distance)
    return np.rint(255 * (0.5 + side * (pen / 2 - nearest)).clip(0, 1)).astype(np.uint8)
