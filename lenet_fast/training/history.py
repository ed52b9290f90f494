"""The measurements of a training run, epoch by epoch."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lenet_fast import checks, configs, notebooks
from lenet_fast.engines import Totals

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Row:
    """One epoch; the fields are the columns of ``history.csv``, in their order.

    Losses are means over all images of a set; errors are numbers of misclassified images. Those of
    the test set are measured after the epoch. Those of the training set are collected during the
    epoch, or with ``evaluate_train`` measured after it, too. ``train_seconds`` and
    ``images_per_second`` cover the training only, not the evaluation. ``rate`` is the highest of
    the epoch's steps.

    Examples
    --------
    >>> from lenet_fast.training import Row
    >>> row = Row(
    ...     epoch=1,
    ...     train_seconds=2.0,
    ...     images_per_second=30_000.0,
    ...     train_loss=0.21,
    ...     train_errors=3900,
    ...     test_loss=0.06,
    ...     test_errors=190,
    ...     rate=0.1,
    ... )
    >>> row.train_errors / 60_000
    0.065
    """

    epoch: int
    train_seconds: float
    images_per_second: float
    train_loss: float
    train_errors: int
    test_loss: float
    test_errors: int
    rate: float

    @classmethod
    def of(cls, epoch: int, seconds: float, train: Totals, test: Totals, rate: float) -> Row:
        """Return the row of an epoch from its totals; without test images its loss is NaN.

        Examples
        --------
        >>> from lenet_fast.engines import Totals
        >>> from lenet_fast.training import Row
        >>> train, test = Totals(30.0, errors=6, images=100), Totals(4.0, errors=1, images=20)
        >>> row = Row.of(1, 0.5, train, test, rate=0.1)
        >>> row.train_loss, row.test_loss, row.images_per_second
        (0.3, 0.2, 200.0)
        """
        return cls(
            epoch=epoch,
            train_seconds=seconds,
            images_per_second=train.images / max(seconds, 1e-9),
            train_loss=train.loss / train.images,
            train_errors=train.errors,
            test_loss=test.loss / test.images if test.images else math.nan,
            test_errors=test.errors,
            rate=rate,
        )


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
_INTEGERS = ("epoch", "train_errors", "test_errors")


def checked_row(values: Mapping[str, Any], epoch: int, train_images: int, test_images: int) -> Row:
    """Return the row of an epoch from untrusted values.

    A loss may be NaN, as without a test set. The message of a TypeError or ValueError, for a value
    of the wrong type or out of range, names the row.
    """
    most = {"train_errors": train_images, "test_errors": test_images}

    def number(name: str, value: Any) -> float:
        if isinstance(value, float) and math.isnan(value) and name.endswith("_loss"):
            return value
        found = checks.real(name, value)
        if found < 0 and not name.endswith("_loss"):
            raise ValueError(f"{name}: expected a number not below 0, got {value}")
        return found

    try:
        whole = configs.checked("row", dict(values), COLUMNS)
        found: dict[str, Any] = {"epoch": checks.integer("epoch", whole["epoch"], epoch, epoch)}
        for name in COLUMNS[1:]:
            if name in most:
                found[name] = checks.integer(name, whole[name], 0, most[name])
            else:
                found[name] = number(name, whole[name])
    except (TypeError, ValueError) as error:
        raise type(error)(f"row {epoch}: {error}") from None
    return Row(**found)


@dataclasses.dataclass(repr=False)
class History:
    """The epochs of a run.

    Attributes
    ----------
    rows : list of Row
        One row per completed epoch, in order.
    train_images, test_images : int
        Number of images in the two sets, to turn errors into rates.
    interrupted : bool
        Whether the last call of ``fit`` was stopped early.

    Examples
    --------
    >>> from lenet_fast.training import History, Row
    >>> first = Row(1, 2.0, 3e4, 0.21, 3900, 0.06, 190, 0.1)
    >>> second = Row(2, 2.0, 3e4, 0.05, 960, 0.07, 210, 0.05)
    >>> history = History([first, second], train_images=60_000, test_images=10_000)
    >>> history.best.epoch, history.best.test_errors / history.test_images
    (1, 0.019)
    """

    rows: list[Row] = dataclasses.field(default_factory=list)
    train_images: int = 0
    test_images: int = 0
    interrupted: bool = False

    @property
    def best(self) -> Row | None:
        """The epoch with the fewest test errors; in a tie, the one with the lowest test loss."""
        return min(self.rows, key=lambda row: (row.test_errors, row.test_loss), default=None)

    def __repr__(self) -> str:
        best, done = self.best, len(self.rows)
        if best is None:
            return "History(no epoch yet)"
        words = f"{done} epoch{'s' * (done > 1)}{', interrupted' * self.interrupted}"
        if not self.test_images:
            return f"History({words})"
        return (
            f"History({words}; best: epoch {best.epoch}, {best.test_errors:,} of "
            f"{self.test_images:,} test images wrong, "
            f"{100 * best.test_errors / self.test_images:.2f} %)"
        )

    def _repr_html_(self) -> str:
        """Return a small curve of the errors for notebooks."""
        words = notebooks.escaped(repr(self).removeprefix("History(").removesuffix(")"))
        curves = [
            (name, colour, [100 * getattr(row, f"{name}_errors") / images for row in self.rows])
            for name, images, colour in (
                ("train", self.train_images, "#e0701f"),
                ("test", self.test_images, "#2b8cc4"),
            )
            if images
        ]
        curve = notebooks.curves(curves) if len(self.rows) > 1 and curves else ""
        return f"<div>{words}<br>{curve}</div>"

    def plot(self, *, log: bool = False) -> Figure:
        """Draw the error rates by epoch, as :func:`lenet_fast.plots.errors` does.

        Parameters
        ----------
        log : bool
            Whether the error rate is on a logarithmic axis.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ValueError
            If there is no complete epoch.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> from lenet_fast.training import History, Row
        >>> rows = [Row(1, 2.0, 3e4, 0.21, 3900, 0.06, 190, 0.1)]
        >>> figure = History(rows, 60_000, 10_000).plot()
        >>> figure.axes[0].get_ylabel()
        'error rate (%)'
        """
        from lenet_fast import plots  # late: it needs this package

        return plots.errors(self, log=log)

    def to_csv(self) -> str:
        """Return the rows as comma-separated values, after a line of column names.

        Examples
        --------
        >>> from lenet_fast.training import History, Row
        >>> rows = [Row(1, 2.0, 3e4, 0.21, 3900, 0.06, 190, 0.1)]
        >>> print(History(rows, 60_000, 10_000).to_csv(), end="")
        epoch,train_seconds,images_per_second,train_loss,train_errors,test_loss,test_errors,rate
        1,2.0,30000.0,0.21,3900,0.06,190,0.1
        """
        lines = [",".join(COLUMNS)]
        for row in self.rows:
            values = dataclasses.astuple(
                dataclasses.replace(
                    row,
                    train_seconds=round(row.train_seconds, 6),
                    images_per_second=round(row.images_per_second, 1),
                )
            )
            lines.append(",".join(map(repr, values)))
        return "\n".join(lines) + "\n"

    @classmethod
    def from_csv(cls, text: str, train_images: int, test_images: int) -> History:
        """Return the history whose rows :meth:`to_csv` wrote.

        Parameters
        ----------
        text : str
            Comma-separated values, after a line of column names.
        train_images, test_images : int
            Numbers of images, which the text does not contain.

        Raises
        ------
        ValueError
            If the columns differ, a value is not a number or out of range, or the epochs are not
            numbered from 1.

        Examples
        --------
        >>> from lenet_fast.training import History, Row
        >>> rows = [Row(1, 2.0, 3e4, 0.21, 3900, 0.06, 190, 0.1)]
        >>> text = History(rows, 60_000, 10_000).to_csv()
        >>> History.from_csv(text, 60_000, 10_000).rows == rows
        True
        """
        try:
            names, *lines = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
        except csv.Error as error:
            raise ValueError(f"history: expected comma-separated values ({error})") from None
        if tuple(names) != COLUMNS:
            raise ValueError(f"history: expected columns {','.join(COLUMNS)}, got {names}"[:300])
        rows = []
        for epoch, values in enumerate(lines, 1):
            if len(values) != len(COLUMNS):
                raise ValueError(
                    f"history: expected {len(COLUMNS)} values per epoch, got {len(values)} in "
                    f"row {epoch}"
                )
            try:
                numbers = {
                    name: (int if name in _INTEGERS else float)(value)
                    for name, value in zip(COLUMNS, values, strict=True)
                }
                rows.append(checked_row(numbers, epoch, train_images, test_images))
            except ValueError as error:
                raise ValueError(f"history: row {epoch}: {error}"[:300]) from None
        return cls(rows, train_images, test_images)
