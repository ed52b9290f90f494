"""Tell ink from paper in a photograph: light, shadows, tables, frames, ruled lines and folds.

Steps, each of which leaves an even picture as it is:

1. *Paper.* Closing (a maximum, then a minimum, over squares wider than any stroke, in four
   directions) wipes strokes out and leaves what light does to the paper: gradients, shadows and
   their edges, and the table beside the sheet. Ink is what is darker than this by a share of it,
   for light multiplies (Gatos, Pratikakis and Perantonis 2006, "Adaptive degraded document image
   binarization").
2. *Frames.* Rows and columns at the border that are dark nearly all along are no digit.
3. *Lines.* The Hough transform (Duda and Hart 1972) finds thin lines that run right across the
   sheet, as of ruled paper and folds; strokes that they cross are mended from both sides.
4. *Parts.* Of the connected dark parts, the digit is what is left without specks, and without what
   comes in over the border where something else does not.

Where most of the border has one brightness, and nothing is brighter, this is the paper: a drawing,
or a sheet in even light, needs no closing.

The squares grow until no stroke fills one, and stay so narrow that shadows count as paper.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lenet_fast.data.morphology import WAYS, averaged, closed, dilated, eroded, parts

Array = npt.NDArray[Any]

_FAINT = 0.02
"""On even paper, ink is all that has this share of the darkest ink's contrast."""

_BROAD = 0.45
"""No stroke is so wide, as a share of the digit: MNIST's blots, drawn by a marker, have 0.34."""

_BROADER = 0.65
"""In even light, blurred edges included, as much as a marker's strokes may have."""

_FULL = 0.65
"""Ink fills no more than this share of its box; a sheet fills more, even with a digit on it."""

_DOUBTFUL = 0.25
"""Few strokes are so wide: one in a hundred of MNIST."""

_SQUARES = 0.06
"""Side of the smallest squares that wipe strokes out, as a share of the picture's longer side."""

_CLEARLY = 0.1
"""Paper whose light differs by this share is not even."""

_TABLE = 0.4
"""What is this dark, as a share of the brightest paper, is a table, if there is ink elsewhere."""

_CORE = 0.4
"""On paper that is not even, the share that a stroke has; lines, folds and stains have less."""


class Ink(NamedTuple):
    """Ink of a sheet."""

    density: Array
    """(rows, columns) float, 0 for paper."""

    rows: slice
    columns: slice
    """Where there is any."""
    breadth: float = 0.0
    """Side of the largest square in it, as a share of its longer side; 0 if not measured."""

    def touches(self) -> tuple[bool, bool]:
        """Tell whether ink touches the picture's border, and whether on opposite sides of it."""
        ink = self.density
        top, bottom, left, right = (
            bool(side.any()) for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1])
        )
        return top or bottom or left or right, (top and bottom) or (left and right)

    def is_broad(self) -> bool:
        """Tell whether it is a sheet or a shadow: broad, and hardly anything in its box is not ink.

        An upright 1 fills its box, too, but is narrow.
        """
        return self.breadth > _DOUBTFUL and self.fills() > _FULL

    def fills(self) -> float:
        """Return the share of its box that the ink fills."""
        return float((self.density[self.rows, self.columns] > self.density.max() / 2).mean())


def find_ink(grey: Array, *, dark: bool) -> Ink | None:
    """Return the ink of the one digit in a picture.

    Parameters
    ----------
    grey : ndarray, (rows, columns), float
        Grey values, -1 to 1; 0 is black if none is negative.
    dark : bool
        Whether ink is darker than paper.

    Returns
    -------
    Ink, or None if the picture is blank

    Raises
    ------
    ValueError
        If there is something, but it cannot be told what is the digit.
    """
    if not np.ptp(grey):
        return None
    grey = _as_dark(_unframed(grey), dark)
    if min(grey.shape) < _PHOTOGRAPH:
        return _on_even_paper(grey) or _on_paper(grey, False)
    return _on_paper(*_without_lines(grey))


def find_ink_of_either(grey: Array) -> tuple[Ink | None, bool]:
    """Return the ink in a picture, as :func:`find_ink` does, and whether it is darker than paper.

    Where the strokes found are hardly strokes, as of a sheet between bars or on a table, ink of
    the other brightness is looked for, and taken if its strokes are thinner.
    """
    inner = _unframed(grey)
    if min(inner.shape) >= _PHOTOGRAPH:
        for dark in (True, False):
            sheet = _as_dark(inner, dark)
            # Without its lines, which are dark, a sheet's border is no more even.
            drawn = _even_border(sheet) and _in_even_light(*_without_lines(sheet))
            if drawn and drawn.breadth <= _BROADER and drawn.fills() <= _FULL:
                return drawn, dark  # no sheet on a table
    dark = is_dark_on_light(grey)
    why = None
    try:
        ink = find_ink(grey, dark=dark)
        breadth = ink.breadth if ink else 0.0
    except _NoStrokesError as error:
        ink, breadth, why = None, np.inf, error
    if breadth > _DOUBTFUL:
        try:
            other = find_ink(grey, dark=not dark)
        except ValueError:
            other = None
        # After a refusal, strokes alone will do: what is as doubtful is refused, too.
        if other and other.breadth < min(0.7 * breadth, _DOUBTFUL):
            return other, not dark
    if why:
        raise why
    if ink and ink.is_broad():
        raise ValueError("image: expected a digit, got a blank sheet, or a spot as broad as one")
    return ink, dark


def _as_dark(grey: Array, dark: bool) -> Array:
    """Return a picture with its ink, dark or bright, as dark ink."""
    return grey if dark else grey.max() + min(grey.min(), 0.0) - grey


class _NoStrokesError(ValueError):
    """What there is, is no ink."""


class _Found(NamedTuple):
    """What is found with squares of one side."""

    ink: Ink
    strokes: Array
    """Smooth density of its core."""
    thickness: int
    several: bool

    def is_all(self, more: _Found) -> bool:
        """Tell whether `more`, of wider squares, has little that is as dark as these strokes."""
        dark = 0.7 * np.quantile(self.strokes[self.strokes > 0], 0.9)
        return bool((more.strokes > dark).sum() <= 1.3 * (self.strokes > dark).sum())


def _odd(value: float) -> int:
    return 2 * round(value / 2) + 1


def _on_even_paper(grey: Array) -> Ink | None:
    """Return ink on paper of the one brightness that most of the border has, if there is such."""
    low, paper, high = np.quantile(_ring(grey), (0.25, 0.5, 0.75))
    contrast = paper - grey.min()
    if not contrast > 0:
        return None
    noise = high - paper
    if paper - low < 0.05 * contrast:  # else ink, which reaches the border of a close cutting
        noise = max(noise, paper - low)
    least = max(10 * noise, _FAINT * contrast)
    if not least < contrast or noise > _FAINT * contrast:
        return None
    return _boxed(np.where(paper - grey > least, paper - grey, 0.0))


def _boxed(ink: Array) -> Ink:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return Ink(ink, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))


def _on_paper(grey: Array, lined: bool) -> Ink | None:
    """Return ink on paper in any light, from squares as wide as it takes.

    They grow until no stroke fills one, and wider ones find no more. In even light none are needed.
    """
    drawn = _in_even_light(grey, lined)
    if drawn:
        return drawn
    longest = max(grey.shape)
    side = _odd(_SQUARES * longest)
    first = last = _density(grey, side)
    found, thin = _digit(first, lined), None
    while side <= longest:
        wider = _odd(1.6 * side)
        last = _density(grey, wider)
        more = _digit(last, lined)
        if found and found.thickness <= 0.6 * side:
            # Several may be remains of a frame that wider squares wipe out.
            if more and (more.several or not found.several) and found.is_all(more):
                break
            thin = thin or found
        side, found = wider, more
    if found is None:
        if first.uneven > _CLEARLY:
            raise _NoStrokesError(
                "image: expected a digit, got blank paper in uneven light, or ink too faint for it"
            )
        return None
    ink = _one(found)
    touching, across = ink.touches()
    if thin and touching and ink.breadth > _DOUBTFUL:
        # A shadow, which comes in from somewhere; the strokes are what was found before it.
        strokes = _one(thin)
        if strokes.breadth <= _DOUBTFUL and not any(strokes.touches()):
            return strokes
    # Ink that is cut closely touches opposite sides; what comes in over one is a shadow, if the
    # paper is uneven besides, or it is broad.
    light = first if ink.breadth > _DOUBTFUL else last
    if (light.uneven > _CLEARLY and touching and not across) or (
        first.border_uneven > _CLEARLY and ink.breadth > _BROAD
    ):
        raise _NoStrokesError(
            "image: expected a digit, got a shadow as dark as ink; light it evenly"
        )
    return ink


def _one(found: _Found) -> Ink:
    """Return the ink of a digit that is the only one."""
    if found.several:
        raise ValueError("image: expected one digit, got several things on the sheet; cut it out")
    longer = max(part.stop - part.start for part in (found.ink.rows, found.ink.columns))
    return found.ink._replace(breadth=found.thickness / longer)


def _longest_run(mask: Array) -> int:
    """Return how many elements in a row are set, at most."""
    edges = np.flatnonzero(np.diff(np.pad(mask, 1).astype(np.int8)))
    return int(np.diff(edges)[::2].max(initial=0))


class _Border(NamedTuple):
    """Of a border that has one brightness, and nothing is brighter."""

    paper: float
    contrast: float
    """From the darkest ink to the paper."""
    spread: float
    """From the median of the paper to its upper quartile."""
    near: float
    """What differs by so much from the paper is no paper."""


def _even_border(grey: Array) -> _Border | None:
    paper, high = (float(each) for each in np.quantile(_ring(grey), (0.5, 0.75)))
    contrast, spread = paper - float(grey.min()), high - paper
    near = max(_FAINT * contrast, 8 * spread)
    if not contrast > 0 or spread > _FAINT * contrast or grey.max() - paper > near:
        return None
    return _Border(paper, contrast, spread, near)


def _in_even_light(grey: Array, lined: bool) -> Ink | None:
    """Return the ink if nothing is brighter than most of the border: then this is paper."""
    border = _even_border(grey)
    if border is None:
        return None
    paper, contrast, spread, near = border
    dark = [side < paper - near for side in (grey[0], grey[-1], grey[:, 0], grey[:, -1])]
    raw, smooth = paper - grey, paper - averaged(grey, 3)
    core = smooth > 0.7 * contrast
    faint = (smooth > near) & ~core
    narrow = _thickness(faint) / max(_thickness(core), 1) if any(map(np.any, dark)) else 0
    # What runs along the border is a shadow, a bar or the table; or strokes, in a close cutting:
    # they reach it on all sides, and are faint at their edges only, where a shadow is all faint.
    close = all(map(np.any, dark)) and narrow <= 1
    if not (close or (max(map(_longest_run, dark)) <= 0.25 * max(grey.shape) and narrow <= 1.5)):
        return None
    # Of a normal distribution, two thirds of a deviation; averages of nine have a third of it.
    density = _Density(raw, smooth, spread / 2, 0.0, 0.0, np.ones_like(grey))
    found = _digit(density, lined)
    return _one(found) if found else None


class _Density(NamedTuple):
    """How much darker than the paper each pixel is, as a share of the light."""

    raw: Array
    smooth: Array
    """Of a smoothed picture: what the eye of a needle would see is not to decide."""
    noise: float
    """Standard deviation of `smooth` on paper."""
    uneven: float
    """By how much the brightest paper exceeds the darkest, as a share of the light."""
    border_uneven: float
    """The same at the border, where ink that the squares leave is not counted."""
    paper: Array
    """Brightness of the paper, as a share of the most; 1 where it is not known."""


def _density(grey: Array, side: int) -> _Density:
    """Return the density of a picture, from squares of this side as paper."""
    smooth = averaged(grey, 3) if min(grey.shape) >= _PHOTOGRAPH else grey
    upright, *turned = (
        closed(smooth, side, way) for way in (WAYS if min(grey.shape) >= _PHOTOGRAPH else WAYS[:1])
    )
    # Squares turned to fit take less of a shadow's corners for ink.
    paper = np.minimum.reduce([upright, *turned])
    bright = paper / paper.max() if grey.min() >= 0 else np.ones_like(paper)
    light = _light(bright)
    soft = (paper - smooth) / light
    # Paper with grain is below its own closing; where any of four fits, too little to measure it.
    noise = _grain((upright - smooth) / light)
    middle = np.quantile(soft, 0.25) + 0.7 * noise
    raw, soft = (paper - grey) / light - middle, soft - middle
    most = paper.max() if grey.min() >= 0 else 1.0
    uneven, border_uneven = (float(np.ptp(each) / most) for each in (paper, _ring(paper)))
    return _Density(raw, soft, noise, uneven, border_uneven, bright)


_DARK = 0.6
"""Where there is less light than this share of the most, ink is not taken for darker in return."""


def _light(paper: Array) -> Array:
    """Return the light by which ink is measured: it reflects a share of what the paper does.

    In the dark, a share of little is noise, or the table.
    """
    return np.maximum(paper, _DARK)


def _grain(density: Array) -> float:
    """Return the standard deviation of paper's density.

    It goes by the lighter quarter of all pixels, which is paper even in a close cutting. Of a
    normal distribution, 1.3 deviations lie between these quantiles, and 0.7 up to the median.
    """
    least, low = np.quantile(density, (0.025, 0.25))
    return float(low - least) / 1.3


_PHOTOGRAPH = 100
"""Smaller pictures are not smoothed: their strokes are too thin for it."""


def _digit(density: _Density, lined: bool) -> _Found | None:
    """Return the digit in a picture of densities, if there is anything."""
    raw, smooth, noise, uneven, *_ = density
    framed = _framed(smooth > max(8 * noise, 0.1 * smooth.max()))
    smooth = np.where(framed, 0, smooth)
    most = smooth.max()
    if not most > max(10 * noise, uneven / 4):
        return None  # no more than light may do
    if (
        min(smooth.shape) >= _PHOTOGRAPH
        and (dilated(smooth, 9) - eroded(smooth, 9)).max() < most / 2
    ):
        return None  # it has no edges, as light and soft shadows have none
    clean = max(uneven, 10 * noise) <= _FAINT * most and not lined and not framed.any()
    core = smooth > max(8 * noise, (_FAINT if clean else _CORE) * most)
    core, several = _chosen(smooth, core, framed, density.paper)
    near = dilated(core, 7) & ~framed
    # Smoothing makes strokes broader; what they are in the sharp picture is theirs.
    sharp = (smooth > 6 * noise) & (raw > max(_FAINT * most, 10 * noise))
    ink = np.where(near & sharp, raw, 0.0)
    if not ink.any():
        return None
    return _Found(_boxed(ink), np.where(core, smooth, 0), _thickness(core), several)


def _framed(dark: Array) -> Array:
    """Return the mask of straight strips at the border that are dark nearly all along."""
    framed = np.zeros(dark.shape, bool)
    for turn in range(4):
        view, seen = np.rot90(framed, turn), np.rot90(dark, turn)
        depths = np.where(seen.all(axis=0), len(seen), np.argmin(seen, axis=0))
        depth = int(np.median(depths))
        # Strokes that lie on the border of a close cutting are not as straight.
        straight = np.abs(depths - depth) <= 2
        if 0 < depth < 0.4 * len(seen) and straight.mean() > 0.7:
            view[: depth + 3] = True  # its edge is not sharp
    return framed


class _Line(NamedTuple):
    angle: float
    """Of its normal, from the direction of the rows downwards."""
    offset: float
    """Of the line from the first pixel, along the normal."""
    half: int
    """Pixels on each side."""
    density: float


def _without_lines(grey: Array) -> tuple[Array, bool]:
    """Return a picture without the lines that run across it, and whether there were any."""
    raw, smooth, noise, *_, bright = _density(grey, _odd(_SQUARES * max(grey.shape)))
    framed = _framed(smooth > max(8 * noise, 0.1 * smooth.max()))
    smooth = np.where(framed, 0, smooth)
    lines = _lines(smooth, raw, max(5 * noise, 0.03 * smooth.max()))
    without = raw
    for line in lines:
        without = _without(without, line)
    broad = [2 * line.half + 1 >= 0.024 * max(grey.shape) for line in lines]
    strokes = (without > _CORE * smooth.max()).sum() >= _LEAST_INK * raw.size
    if broad == [True] and not strokes:
        return grey, False  # a 1 from edge to edge, which is broader than a fold
    if lines and not strokes:
        without = np.zeros_like(without)  # remains of lines are no strokes
    return grey + (raw - without) * _light(bright), bool(lines)


def _lines(density: Array, sharp: Array, least: float) -> list[_Line]:
    """Return the thin lines that run across the whole sheet."""
    width = _odd(0.03 * max(density.shape))
    # What is narrower than this both along and across is gone; strokes are broader, mostly.
    thin = density - dilated(eroded(density, width), width)
    dark = thin > least
    row, column = np.nonzero(dark)
    if not len(row):
        return []
    taken = np.linspace(0, len(row) - 1, min(len(row), 6000)).astype(int)
    share = len(taken) / len(row)
    found: list[_Line] = []
    rows, columns = density.shape
    reach = int(np.hypot(rows, columns)) + 2
    angles = np.deg2rad(np.arange(-90, 90, 0.25))
    votes = np.zeros((len(angles), 2 * reach + 1))
    # Of many that cover a broad line, the one along its middle is the darkest.
    weight = 1 + thin[row[taken], column[taken]] / thin.max()
    for k, angle in enumerate(angles):
        at = np.rint(row[taken] * np.cos(angle) + column[taken] * np.sin(angle)).astype(int)
        votes[k] = np.bincount(at + reach, weight, minlength=2 * reach + 1)
    lengths = _chords(angles, reach, rows, columns)
    covered = votes / share / np.maximum(lengths, 0.4 * min(rows, columns))
    peaks = (covered >= 0.35) & (covered >= dilated(covered, 5))
    which, place = np.nonzero(peaks)
    order = np.argsort(-covered[which, place], kind="stable")
    angle, offset = angles[which[order]], place[order] - reach
    r, c = _ends(angle, offset, rows, columns)
    wide = dilated(dark, 3)
    open_ = np.ones(len(order), bool)
    for _ in range(_MOST_CHECKED):
        if not open_.any():
            break
        k = int(np.argmax(open_))
        open_[k] = False
        line = _checked(density, sharp, wide, float(angle[k]), float(offset[k]))
        if line is not None:
            found.append(line)
            # Others that run beside it from end to end are the same.
            away = np.abs(r * np.cos(line.angle) + c * np.sin(line.angle) - line.offset)
            open_ &= away.max(axis=0) > line.half + 2
    return found


_LEAST_INK = 0.0005
"""Share of the sheet that a digit's strokes cover at least."""

_MOST_CHECKED = 500
"""So many possible lines are looked at, the darkest first: a woven ground has thousands."""


def _chords(angles: Array, reach: int, rows: int, columns: int) -> Array:
    """Return how many pixels of the picture each line of the Hough transform passes."""
    first, last = _span(angles[:, None], np.arange(-reach, reach + 1)[None, :], rows, columns)
    # Along a slanting line, the pixels are as many as its longer projection.
    longer = np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
    return np.maximum(last - first, 0) * longer[:, None]


def _ends(angle: Array, offset: Array, rows: int, columns: int) -> tuple[Array, Array]:
    """Return where lines enter and leave a picture, as rows and columns, (2, lines) each."""
    t = np.stack(_span(angle, offset, rows, columns))
    return (
        offset * np.cos(angle) - t * np.sin(angle),
        offset * np.sin(angle) + t * np.cos(angle),
    )


def _span(angle: Array, offset: Array, rows: int, columns: int) -> tuple[Array, Array]:
    """Return from where to where along lines the picture lies; the end first if nowhere.

    A line is the points (r, c) with r cos + c sin = offset; distances count from its foot.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends_r = np.stack([(0 - offset * cos) / -sin, (rows - 1 - offset * cos) / -sin])
        ends_c = np.stack([(0 - offset * sin) / cos, (columns - 1 - offset * sin) / cos])
    tiny = 1e-9
    inside_r = (offset * cos >= 0) & (offset * cos <= rows - 1)
    inside_c = (offset * sin >= 0) & (offset * sin <= columns - 1)
    ends_r = np.where(np.abs(sin) < tiny, np.stack([-1e9 * inside_r, 1e9 * inside_r]), ends_r)
    ends_c = np.where(np.abs(cos) < tiny, np.stack([-1e9 * inside_c, 1e9 * inside_c]), ends_c)
    return (
        np.maximum(ends_r.min(axis=0), ends_c.min(axis=0)),
        np.minimum(ends_r.max(axis=0), ends_c.max(axis=0)),
    )


def _points(angle: float, offset: float, rows: int, columns: int) -> tuple[Array, Array]:
    """Return the points of a line in a picture, one pixel apart, as rows and columns (float)."""
    t = np.arange(-rows - columns, rows + columns + 1)
    r = offset * np.cos(angle) - t * np.sin(angle)
    c = offset * np.sin(angle) + t * np.cos(angle)
    inside = (r >= 0) & (r <= rows - 1) & (c >= 0) & (c <= columns - 1)
    return r[inside], c[inside]


def _sampled(image: Array, r: Array, c: Array) -> Array:
    rows, columns = image.shape
    return image[
        np.rint(r).astype(int).clip(0, rows - 1), np.rint(c).astype(int).clip(0, columns - 1)
    ]


def _checked(
    density: Array, sharp: Array, dark: Array, angle: float, offset: float
) -> _Line | None:
    """Return a line if it is dark from end to end, and thin."""
    rows, columns = density.shape
    r, c = _points(angle, offset, rows, columns)
    if len(r) < 0.4 * min(rows, columns):
        return None
    on = _sampled(dark, r, c)
    end = max(len(on) // 6, 1)
    if on.mean() < 0.75 or on[:end].mean() < 0.4 or on[-end:].mean() < 0.4:
        return None
    reach = max(int(0.012 * max(rows, columns)), 2) + 1
    offsets = np.arange(-reach, reach + 1)
    profile = _profile(density, angle, r, c, offsets)
    over = np.abs(offsets[profile > profile[reach - 1 : reach + 2].max() / 3])
    half = int(over.max()) if len(over) else 0
    if half >= reach:  # as broad as a stroke
        return None
    # Thin lines are paler in a smooth picture than they are.
    return _Line(angle, offset, half, float(_profile(sharp, angle, r, c, offsets).max()))


def _profile(density: Array, angle: float, r: Array, c: Array, offsets: Array) -> Array:
    """Return the medians of density along a line's points, moved by offsets across it."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([np.median(_sampled(density, r + k * cos, c + k * sin)) for k in offsets])


def _without(density: Array, line: _Line) -> Array:
    """Return density without a line; strokes that cross it are mended from both sides."""
    rows, columns = density.shape
    across = np.arange(rows)[:, None] * np.cos(line.angle) - line.offset
    away = across + np.arange(columns) * np.sin(line.angle)
    r, c = np.nonzero(np.abs(away) <= line.half + 1.5)
    off = away[r, c]
    step = line.half + 2.5
    sides = [
        _sampled(density, r + k * np.cos(line.angle), c + k * np.sin(line.angle))
        for k in (step - off, -step - off)
    ]
    mended = np.minimum(density[r, c], (sides[0] + sides[1]) / 2)
    own = density[r, c]
    result = density.copy()
    # Ink over the line is darker than the line.
    result[r, c] = np.where(own > 1.6 * line.density + 0.05, own, mended)
    return result


def _chosen(density: Array, dark: Array, framed: Array, paper: Array) -> tuple[Array, bool]:
    """Return the mask of the digit's own parts, and whether others are as heavy, and far off.

    `paper` is the brightness of the paper at each pixel, 1 at the most.
    """
    numbers, count = parts(dark)
    if not count:
        return dark, False
    flat = numbers.ravel()
    mass = np.bincount(flat, (density * dark).ravel(), count + 1)[1:]
    low, high = _boxes(numbers, count)
    frames = _rectangles(numbers, low, high)
    if not frames.all():
        mass = np.where(frames, 0, mass)
    border = dilated(np.pad(framed, 1, constant_values=True), 3)[1:-1, 1:-1]
    touching = np.zeros(count, bool)
    touching[np.unique(numbers[border & dark]) - 1] = True
    ground = np.bincount(flat, paper.ravel(), count + 1)[1:] / np.bincount(flat)[1:]
    for doubtful in (touching, ground < _TABLE):
        if (~doubtful).any() and mass[~doubtful].max() >= 0.1 * mass.max():
            mass = np.where(doubtful, 0, mass)
    main = int(np.argmax(mass))
    size = (high - low)[:, main].max() + 1
    keep = np.zeros(count, bool)
    added = [main]
    heavy = mass > 0.03 * mass[main]
    while added:
        keep[added] = True
        # How far a part's box is from this one, along the axis that parts them more.
        k = added.pop()
        gap = np.maximum(low - high[:, [k]], low[:, [k]] - high).max(axis=0)
        added += np.flatnonzero((gap <= 0.3 * size) & heavy & ~keep).tolist()
    # On a table beside the sheet, all that is dark is grain.
    others = ~keep & (ground > 0.6 * ground[main])
    several = bool((others & (mass > 0.3 * mass[main])).any())
    return np.insert(keep, 0, False)[numbers], several


def _boxes(numbers: Array, count: int) -> tuple[Array, Array]:
    """Return first and last row and column of each part, (2, count) each."""
    places = np.nonzero(numbers)
    which = numbers[places] - 1
    low = np.full((2, count), max(numbers.shape))
    high = np.full((2, count), -1)
    for axis in (0, 1):
        np.minimum.at(low[axis], which, places[axis])
        np.maximum.at(high[axis], which, places[axis])
    return low, high


def _rectangles(numbers: Array, low: Array, high: Array) -> Array:
    """Tell of each part whether it is the outline of an upright rectangle, as a frame is."""
    places = np.stack(np.nonzero(numbers))
    which = numbers[tuple(places)] - 1
    away = np.minimum(places - low[:, which], high[:, which] - places).min(axis=0)
    sides = (high - low + 1).min(axis=0)
    width = 0.03 * sides + 2
    count = low.shape[1]
    edge = np.bincount(which, away <= width[which], count) / np.bincount(which, minlength=count)
    # Of a narrow part, all is near an edge of its box.
    return (edge > 0.9) & (sides > 10 * width)


def _thickness(part: Array) -> int:
    """Return the side of the largest square in a mask: of strokes, their width."""
    if not part.any():
        return 0
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    part = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = 1
    part = np.pad(part, 1)
    while True:
        part = eroded(part, 3)
        if not part.any():
            return side + 1
        side += 2


def is_dark_on_light(grey: Array) -> bool:
    """Tell whether ink is darker than paper.

    At each of several widths, what is narrower is dark, or bright, or neither: strokes of the one
    kind, what they enclose of the other, and paper. A narrow part that borders on broad parts of
    the other brightness is a stroke: what is enclosed borders on strokes. The least width that
    finds strokes decides, before the sheet itself is narrow between a digit and a frame.
    """
    grey = _unframed(grey)
    if min(grey.shape) < _PHOTOGRAPH:
        # Strokes are too few pixels wide to be told from gaps, but most of the border is paper.
        return bool(np.median(_ring(grey)) > (grey.min() + grey.max()) / 2)
    smooth = averaged(grey, 3)
    longest = max(grey.shape)
    strokes = np.zeros(2)
    for share in (_SQUARES / 2, _SQUARES, 0.12, 0.2, 0.3):
        side = max(_odd(share * longest), 3)
        hats = [closed(sign * smooth, side, beyond=True) - sign * smooth for sign in (1, -1)]
        least = 0.4 * max(hat.max() for hat in hats)
        narrow = [hat > least for hat in hats]
        around = [
            dilated(each, 5) & ~each & ~dilated(other, 5) for each, other in (narrow, narrow[::-1])
        ]
        found = np.array([each.sum() for each in around])
        if share < _SQUARES:
            # So narrow are ruled lines, before the squares between them are narrow too; but also
            # the notches of a rough edge.
            if found.max() > 6 * longest:
                return bool(found[0] > found[1])
            continue
        # Narrow strokes are more telling than broad ones, which may be a sheet between bars.
        strokes += found * _SQUARES / share
        if strokes.max() > 0.7 * longest and strokes.max() > 2 * strokes.min():
            break
    return bool(strokes[0] > strokes[1])


def _unframed(grey: Array) -> Array:
    """Return a picture without a frame of one brightness around paper of another."""
    same = 0.05 * np.ptp(grey)
    first, inner = _ring(grey), grey
    if not np.ptp(first) <= same:
        return grey
    while min(inner.shape) > 2 and np.abs(_ring(inner) - first[0]).max() <= same:
        inner = inner[1:-1, 1:-1]
    if min(inner.shape) < 0.7 * min(grey.shape):
        return grey  # as far in, it is the margin about a drawing
    # Ink that begins here does not run round all the picture; an edge may be some pixels wide.
    for _ in range(4):
        ring = _ring(inner)
        middle = np.median(ring)
        if np.mean(np.abs(ring - middle) <= same) > 0.8 and abs(middle - first[0]) > same:
            return inner
        inner = inner[1:-1, 1:-1]
        if min(inner.shape) < max(2, min(grey.shape) // 2):
            break
    return grey


def _ring(grey: Array) -> Array:
    return np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
