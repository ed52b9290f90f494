"""Conversion of a compiled model's loss and metrics, and of its targets to labels."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lenet_fast import checks, losses
from lenet_fast.checks import Array
from lenet_fast.keras.reading import Reading, as_array
from lenet_fast.losses import Loss

_KINDS = {
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "mean_squared_error": keras.losses.MeanSquaredError,
}
"""The losses that we have, by the names of Keras' functions."""

_ONLY: dict[str, tuple[Any, ...]] = {
    "reduction": ("sum_over_batch_size", "mean"),
    "ignore_class": (None,),
    "axis": (-1,),
}
"""Options of losses, and what they may be."""

_ACCURACIES = (keras.metrics.SparseCategoricalAccuracy, keras.metrics.CategoricalAccuracy)
_FUNCTIONS = (
    keras.metrics.sparse_categorical_accuracy,
    keras.metrics.categorical_accuracy,
)


class Goal:
    """The loss of a compiled model, and our loss of the same value.

    Attributes
    ----------
    loss : Loss
    accuracies : list of str
        Names in the logs that the accuracy has.
    beyond : str
        Why only Keras can compute the metrics; "" if we can.

    Raises
    ------
    TypeError, ValueError
        If there is no such loss; the message names the option.
    """

    loss: Loss

    def __init__(self, model: Any, reading: Reading, y: Any) -> None:
        if not model.compiled:
            raise ValueError("model: expected a compiled one; call model.compile first")
        self._model, self._reading = model, reading
        targets = as_array("y", y)
        self._kind, options = _read(model.loss, targets)
        if getattr(model._compile_loss, "_user_loss_weights", None) is not None:
            raise ValueError("model: expected loss_weights=None in compile, got some")
        for name, allowed in _ONLY.items():
            if name in options and options[name] not in allowed:
                raise ValueError(f"loss: expected {name}={allowed[0]!r}, got {options[name]!r}")
        self._check_end(bool(options.get("from_logits", False)))
        self._smoothing = float(options.get("label_smoothing") or 0.0)
        self._mse: tuple[float, float] | None = None
        self.labels("y", targets)
        self._read_metrics(targets)

    def _check_end(self, from_logits: bool) -> None:
        ends = self._reading.softmax
        if self._kind == "mean_squared_error":
            if ends:
                raise ValueError(
                    f"loss: expected a crossentropy after the model's last {ends}, got "
                    "mean_squared_error"
                )
        elif from_logits and ends == "softmax":
            raise ValueError(
                "loss: expected from_logits=False after the model's last softmax, got True, which "
                "takes the softmax twice"
            )
        elif not from_logits and ends != "softmax":
            raise ValueError(
                "loss: expected from_logits=True, or a model that ends with a softmax, got "
                f"from_logits=False after {ends or 'plain outputs'}"
            )

    def labels(self, name: str, y: Any) -> Array:
        """Return the classes that targets represent, intp (n,).

        TypeError or ValueError if they are not what the loss takes.
        """
        array = as_array(name, y)
        classes = self._reading.network.output_shape[0]
        if self._kind == "sparse_categorical_crossentropy":
            if array.shape[1:] == (1,):
                array = array[:, 0]
            if array.dtype.kind == "f" and array.ndim == 1:
                with np.errstate(invalid="ignore"):  # NaN differs from any number
                    whole = array.astype(np.intp)
                if not np.array_equal(whole, array):
                    raise ValueError(f"{name}: expected whole numbers, the classes, got others")
                array = whole
            if array.ndim != 1:
                raise ValueError(
                    f"{name}: expected labels of shape (n,) for {self._kind}, got {array.shape}; "
                    "one-hot targets need categorical_crossentropy"
                )
            self.loss = losses.CrossEntropy()
            return checks.labels(name, array, len(array), classes)
        if array.ndim != 2 or array.shape[1] != classes:
            raise ValueError(
                f"{name}: expected one-hot targets of shape (n, {classes}) for {self._kind}, got "
                f"{array.shape}"
            )
        found = losses.one_hot(array.astype(np.float64))
        if found is None or (self._kind != "mean_squared_error" and found[:2] != (1.0, 0.0)):
            raise ValueError(
                f"{name}: expected one-hot targets, one number for the right class and one for all "
                "others, got more values"
            )
        on, off, labels = found
        if self._kind == "categorical_crossentropy":
            self.loss = losses.CrossEntropy(self._smoothing)
        elif self._mse and self._mse != (on, off):
            raise ValueError(
                f"{name}: expected the targets {self._mse[0]:g} and {self._mse[1]:g} of y, got "
                f"{on:g} and {off:g}"
            )
        else:
            self._mse = on, off
            self.loss = losses.MeanSquaredError(on, off, scale=1 / classes)
        return labels

    def _read_metrics(self, targets: Array) -> None:
        """Let Keras make the metrics from the names in compile, and read their kinds."""
        model, classes = self._model, self._reading.network.output_shape[0]
        outputs = np.full((1, classes), 1 / classes, self._reading.network.dtype)
        tensor = keras.ops.convert_to_tensor
        logs = model.compute_metrics(None, tensor(targets[:1]), tensor(outputs))
        model.reset_metrics()
        found = [each for metric in model.metrics for each in getattr(metric, "metrics", [metric])]
        self.accuracies = [name for name in logs if name != "loss"]
        self.beyond = ""
        sparse = self._kind == "sparse_categorical_crossentropy"
        for metric in found:
            right = type(metric) is _ACCURACIES[not sparse]
            right = right or getattr(metric, "_fn", None) is _FUNCTIONS[not sparse]
            if metric.name != "loss" and not right:
                name = type(metric).__name__
                self.beyond = f"metrics: expected the accuracy of the loss's targets, got {name}"


def _read(loss: Any, targets: Array) -> tuple[str, dict[str, Any]]:
    """Return the name of a loss's function, and its options."""
    if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
        sparse = targets.ndim == 1 or targets.shape[-1] == 1
        return "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy", {}
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    for name, kind in _KINDS.items():
        if loss is getattr(keras.losses, name) or loss is kind:
            return name, {}
        if type(loss) is kind:
            return name, loss.get_config()
    names = ", ".join(_KINDS)
    raise ValueError(
        f"loss: expected {names} or the classes of these names, got "
        f"{getattr(loss, '__name__', checks.kind(loss))}"
    )
