"""What a network does with a data set, class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lenet_fast import data, notebooks
from lenet_fast.engines import Engine
from lenet_fast.losses import Loss
from lenet_fast.network import Network
from lenet_fast.training import parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BATCH = 4096


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of :meth:`Trainer.evaluate`.

    Attributes
    ----------
    loss : float
        The mean over the images.
    confusion : ndarray (classes, classes)
        How many images of each class, by row, were classified as each class, by column.
    classes : tuple of str
        Names of the classes; by default their numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.training import Evaluation
    >>> result = Evaluation(loss=0.5, confusion=np.array([[48, 2], [1, 49]]))
    >>> result.count, result.errors, result.accuracy
    (100, 3, 0.97)
    """

    loss: float
    confusion: npt.NDArray[np.intp]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.classes:
            names = tuple(map(str, range(len(self.confusion))))
            object.__setattr__(self, "classes", names)

    @property
    def count(self) -> int:
        """The number of images."""
        return int(self.confusion.sum())

    @property
    def errors(self) -> int:
        """The number of misclassified images."""
        return self.count - int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """The share of the images that were classified correctly, from 0 to 1."""
        return 1 - self.errors / self.count

    def plot(self) -> Figure:
        """Draw the confusion matrix, as :func:`lenet_fast.plots.confusion` does.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.training import Evaluation
        >>> figure = Evaluation(loss=0.5, confusion=np.array([[48, 2], [1, 49]])).plot()
        >>> figure.axes[0].get_title()
        '3 of 100 images misclassified (3.00 %)'
        """
        from lenet_fast import plots  # late: it needs this package

        rows, columns = np.indices(self.confusion.shape)
        counts = self.confusion.ravel()
        labels, found = (np.repeat(each.ravel(), counts) for each in (rows, columns))
        return plots.confusion(labels, found, self.classes)

    def __repr__(self) -> str:
        return (
            f"Evaluation({self.errors:,} of {self.count:,} images wrong, "
            f"accuracy {self.accuracy:.4f}, loss {self.loss:.4f})"
        )

    def _repr_html_(self) -> str:
        """Return the counts in a table, for notebooks."""
        rows = []
        for label, row in enumerate(self.confusion):
            counts = (f"{count:,}" if count else "" for count in row)
            rows.append([self.classes[label], *counts, f"{row.sum() - row[label]:,}"])
        head = ["label", *self.classes, "wrong"]
        words = (
            f"<b>{self.errors:,}</b> of {self.count:,} images wrong, accuracy "
            f"{100 * self.accuracy:.2f} %, loss {self.loss:.4f}"
        )
        note = "Rows: the class of the image. Columns: the class that was found."
        return (
            f'<div>{words}<div style="{notebooks.GREY}">{note}</div>{notebooks.table(head, rows)}'
            "</div>"
        )


def evaluation(engine: Engine, network: Network, loss: Loss, dataset: data.Dataset) -> Evaluation:
    """Return the evaluation of a network, run by an engine, on a data set."""
    parts.dataset("dataset", dataset)
    if not len(dataset):
        raise ValueError("dataset: expected at least one image, got none")
    (classes,) = network.output_shape
    confusion = np.zeros((classes, classes), np.intp)
    loss_sum = 0.0
    for first in range(0, len(dataset), _BATCH):
        block = slice(first, first + _BATCH)
        outputs, labels = engine.predict(dataset.images[block]), dataset.labels[block]
        np.add.at(confusion, (labels, network.classify_outputs(outputs)), 1)
        loss_sum += float(loss.values(outputs, labels, engine.backend).sum(dtype=np.float64))
    names = dataset.classes if len(dataset.classes) == classes else network.classes
    return Evaluation(loss_sum / len(dataset), confusion, names)
