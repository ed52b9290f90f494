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
            f'<{kind} style="text-align: {side}">{escaped(cell)}</{kind}>'
            for side, cell in zip(sides, cells, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def image(png: bytes, width: int, words: str) -> str:
    """Return a PNG of so many pixels' width as HTML; `words` stand for it where it is not seen."""
    data = base64.b64encode(png).decode()
    style = f"width: {width}px; max-width: 100%; image-rendering: pixelated"
    return f'<img src="data:image/png;base64,{data}" alt="{escaped(words)}" style="{style}">'
