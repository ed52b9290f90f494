"""What objects show in Jupyter: HTML, updated in place, without scripts or widgets.

It looks alike in JupyterLab, VS Code and the pages that nbconvert writes: tables without styles of
their own, and colours that are readable on light and dark pages. IPython is used only where it
runs already.
"""

from __future__ import annotations

import base64
import html
import sys
from collections.abc import Iterable, Sequence
from typing import Any

GREY = "opacity: 0.65"
"""The style of what matters less, on light pages and dark ones."""


def in_notebook() -> bool:
    """Return whether this code runs in a notebook, whose kernel shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


class Display:
    """An output below the cell, which :meth:`show` replaces each time."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, page: str, text: str) -> None:
        """Show HTML, and in programs that cannot, a text."""
        from IPython.display import display

        bundle = {"text/html": page, "text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def escaped(text: object) -> str:
    """Return a text for HTML."""
    return html.escape(str(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 0) -> str:
    """Return cells of text as an HTML table; the first `texts` columns are aligned at the left."""

    def line(cells: Sequence[str], kind: str) -> str:
        sides = ("left" if column < texts else "right" for column in range(len(cells)))
        return "".join(
            f'<{kind} style="text-align: {side}; padding: 0.2em 0.6em">{escaped(cell)}</{kind}>'
            for side, cell in zip(sides, cells, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def image(png: bytes, width: int, words: str) -> str:
    """Return a PNG of so many pixels' width as HTML; `words` stand for it where it is not seen."""
    data = base64.b64encode(png).decode()
    style = f"width: {width}px; max-width: 100%; image-rendering: pixelated"
    return f'<img src="data:image/png;base64,{data}" alt="{escaped(words)}" style="{style}">'


_WIDTH, _HEIGHT, _TOP = 260, 90, 8  # of a curve, in pixels
_LABELS = 120  # more to the right


def curves(named: Sequence[tuple[str, str, Sequence[float]]]) -> str:
    """Return curves of percentages by epoch, from 0 up, as a small SVG picture.

    Parameters
    ----------
    named : sequence of (name, colour, values)
        With two values at least. The last value of each is written beside its end.
    """
    top = max(value for _, _, values in named for value in values) or 1.0
    bottom = _TOP + _HEIGHT
    parts = [
        f'<path d="M1 {_TOP} V{bottom} H{_WIDTH}" fill="none" stroke="currentColor" opacity="0.4"/>'
    ]
    ends = [bottom - _HEIGHT * values[-1] / top for _, _, values in named]
    places = _apart(ends, 13.0, bottom)
    for (name, colour, values), place in zip(named, places, strict=True):
        step = _WIDTH / (len(values) - 1)
        points = " ".join(
            f"{1 + i * step:.1f},{bottom - _HEIGHT * value / top:.1f}"
            for i, value in enumerate(values)
        )
        label = f"{name} {values[-1]:.2f} %"
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{_WIDTH + 6}" y="{place + 4:.1f}" fill="{colour}">{escaped(label)}</text>'
        )
    size = f'width="{_WIDTH + _LABELS}" height="{bottom + 18}"'
    epochs = len(named[0][2])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
        f"{''.join(parts)}"
        f'<text x="1" y="{bottom + 14}" fill="currentColor" opacity="0.65">epochs 1 to {epochs}, '
        f"error rate from 0 to {top:.3g} %</text></svg>"
    )


def _apart(places: Sequence[float], gap: float, most: float) -> list[float]:
    """Return two places at least `gap` apart, so that their labels do not overlap."""
    if len(places) != 2 or abs(places[0] - places[1]) >= gap:
        return [*places]
    upper = min((places[0] + places[1] - gap) / 2, most - gap)
    pair = [upper, upper + gap]
    return pair if places[0] <= places[1] else pair[::-1]
