"""The figures of this package: those of matplotlib, which show themselves in a notebook.

matplotlib is imported here, and this module when the first figure is created.
"""

from __future__ import annotations

import io

from matplotlib.figure import Figure as PlainFigure

from lenet_fast import notebooks

_SCREEN_DPI = 100  # pixels per inch that a figure takes on a page


class Figure(PlainFigure):
    """A figure without pyplot, which a notebook shows as the result of a cell.

    matplotlib's own figures need ``%matplotlib inline``, with which these look the same.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return a PNG file, and the size in which it is shown; it has more pixels."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi="figure")
        width, height = (round(_SCREEN_DPI * inches) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}

    def show(self, warn: bool = True) -> None:
        """Show the figure below the cell of a notebook; elsewhere raise, as there is no window."""
        if not notebooks.in_notebook():
            raise RuntimeError("show: expected a notebook, got none; use savefig('figure.png')")
        from IPython.display import display

        display(self)
