"""What training makes small, as objects that a run can name, save and load.

Each goes with one kind of network output. Values and derivatives are each image's own: sums and
means over a batch are the engine's business.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

import numpy as np

from lenet_fast import checks, configs, ops
from lenet_fast.checks import Array

_NARROWEST = np.dtype(np.float32)  # a number that fits it suits networks of both dtypes


class _Network(Protocol):
    @property
    def output(self) -> str: ...


class Loss(ABC):
    """What all losses have in common.

    Attributes
    ----------
    name : str
        The one in configurations and on the command line.
    output : {"linear", "softmax", "rbf"}
        The network output it goes with.
    """

    name: ClassVar[str]
    output: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def values(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        """Return the loss of each image (n,), for outputs (n, k) and labels (n,) of 0 to k - 1."""

    @abstractmethod
    def gradient(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        """Return the gradient at each image's outputs: (n, k)."""

    @abstractmethod
    def hessian(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        """Return the diagonal of the Hessian at each image's outputs: (n, k)."""

    def check(self, network: _Network) -> None:
        """Raise ValueError unless the loss goes with what a network puts out."""
        if network.output != self.output:
            fitting = next(loss for loss in _LOSSES.values() if loss.output == network.output)
            raise ValueError(
                f"loss: expected {fitting.name} for a network with output {network.output!r}, got "
                f"{self.name}, which goes with output {self.output!r}"
            )

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description for :func:`from_config`."""
        config: dict[str, Any] = {"name": self.name}
        for option in self.options:
            value = getattr(self, option)
            config[option] = value if math.isfinite(value) else str(value)  # JSON has no infinity
        return config

    def __repr__(self) -> str:
        options = ", ".join(f"{option}={getattr(self, option)!r}" for option in self.options)
        return f"{type(self).__name__}({options})"


class CrossEntropy(Loss):
    """Cross-entropy of the softmax; see :func:`lenet_fast.ops.softmax_cross_entropy`."""

    name = "cross_entropy"
    output = "softmax"

    def values(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        return _own(ops.softmax_cross_entropy(outputs, labels, reduction="none", backend=backend))

    def gradient(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        return ops.softmax_cross_entropy_backward(outputs, labels, reduction="sum", backend=backend)

    def hessian(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        return ops.softmax_cross_entropy_hessian(outputs, labels, reduction="sum", backend=backend)


class MeanSquaredError(Loss):
    """Squared error, summed over the outputs; see :func:`lenet_fast.ops.mean_squared_error`.

    Parameters
    ----------
    on, off : float
        Targets for the output of the right class, and for the others.
    scale : float
        Factor before the sum, above 0.
    """

    name = "mean_squared_error"
    output = "linear"
    options = ("on", "off", "scale")

    def __init__(self, on: float = 1.0, off: float = -1.0, scale: float = 0.5) -> None:
        self.on = checks.real("on", on, _NARROWEST)
        self.off = checks.real("off", off, _NARROWEST)
        self.scale = checks.real("scale", scale, _NARROWEST)
        if self.on <= self.off:
            raise ValueError(f"on: expected a target above that of off, {off}, got {on}")
        if self.scale <= 0:
            raise ValueError(f"scale: expected a number above 0, got {scale}")

    def _targets(self, outputs: Array, labels: Array) -> Array:
        outputs = checks.floats("outputs", outputs, "n, k")
        classes = checks.labels("labels", labels, *outputs.shape)
        targets = np.full_like(outputs, self.off)
        targets[np.arange(len(classes)), classes] = self.on
        return targets

    def values(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        targets = self._targets(outputs, labels)
        options: dict[str, Any] = {"scale": self.scale, "reduction": "none", "backend": backend}
        return _own(ops.mean_squared_error(outputs, targets, **options))

    def gradient(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        targets = self._targets(outputs, labels)
        options: dict[str, Any] = {"scale": self.scale, "reduction": "sum", "backend": backend}
        return ops.mean_squared_error_backward(outputs, targets, **options)

    def hessian(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        targets = self._targets(outputs, labels)
        options: dict[str, Any] = {"scale": self.scale, "reduction": "sum", "backend": backend}
        return ops.mean_squared_error_hessian(outputs, targets, **options)


class MAP(Loss):
    """The criterion of 1998 for RBF outputs; see :func:`lenet_fast.ops.map_loss`.

    Parameters
    ----------
    j : float
        Penalty of the constant "rubbish" class, in units of squared distance, from 0 to infinity
        (no such class). The paper gives no value. An untrained network has penalties near 84, and
        half-way between the two closest bitmaps, where both are at 12, wrong classes are pushed
        away with 0.0001 of the full force at j = 3, 0.2 at 10, and all of it at 20 and above.
    """

    name = "map"
    output = "rbf"
    options = ("j",)

    def __init__(self, j: float = 20.0) -> None:
        endless = isinstance(j, float) and j == math.inf
        self.j = math.inf if endless else checks.real("j", j, _NARROWEST)
        if self.j < 0:
            raise ValueError(f"j: expected a number from 0 to infinity, got {j}")

    def values(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        return _own(ops.map_loss(outputs, labels, j=self.j, reduction="none", backend=backend))

    def gradient(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        return ops.map_loss_backward(outputs, labels, j=self.j, reduction="sum", backend=backend)

    def hessian(self, outputs: Array, labels: Array, backend: str | None = None) -> Array:
        return ops.map_loss_hessian(outputs, labels, j=self.j, reduction="sum", backend=backend)


_LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (CrossEntropy, MeanSquaredError, MAP)}


def default_for(network: _Network) -> Loss:
    """Return the loss, with its default options, that goes with what a network puts out."""
    return next(loss for loss in _LOSSES.values() if loss.output == network.output)()


def from_config(config: object) -> Loss:
    """Return the loss that a :meth:`Loss.config` describes, which may come from any file.

    Raises
    ------
    ValueError
        If it is not such a description.
    """
    loss = configs.kind_of("loss", config, "name", _LOSSES)
    options = dict(configs.checked(loss.name, config, ("name", *loss.options)))
    del options["name"]
    for option, value in options.items():
        if value == "inf":
            options[option] = math.inf
    try:
        return loss(**options)
    except TypeError as error:
        raise ValueError(f"{loss.name}: {error}") from error


def _own(values: float | Array) -> Array:
    assert isinstance(values, np.ndarray)  # reduction="none"
    return values
