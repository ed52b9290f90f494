"""Loss functions as objects that can be named, saved and loaded.

Each loss fits one kind of network output. Values and derivatives are per image; the engines sum and
average over a batch.

Examples
--------
>>> from lenet_fast import losses, models
>>> for output in ("rbf", "softmax", "linear"):
...     print(output, "fits", *losses.all_for(models.lenet5(output=output)))
rbf fits map penalty
softmax fits cross_entropy
linear fits mean_squared_error
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, get_args

import numpy as np

from lenet_fast import checks, choices, configs, ops
from lenet_fast.checks import Array

__all__ = [
    "LOSSES",
    "MAP",
    "CrossEntropy",
    "Loss",
    "MeanSquaredError",
    "Penalty",
    "all_for",
    "chosen",
    "default_for",
    "from_config",
    "one_hot",
]

_NARROWEST = np.dtype(np.float32)  # a number that fits it works in networks of both dtypes


class _Network(Protocol):
    @property
    def output(self) -> str: ...


class Loss(ABC):
    """Base class of the losses.

    Attributes
    ----------
    name : str
        Name in configurations and on the command line.
    output : {"linear", "softmax", "rbf"}
        The network output that it fits.

    Examples
    --------
    >>> from lenet_fast import losses
    >>> losses.CrossEntropy().name, losses.CrossEntropy().output
    ('cross_entropy', 'softmax')
    >>> losses.MAP(j=10).name, losses.MAP(j=10).output
    ('map', 'rbf')
    """

    name: ClassVar[str]
    output: ClassVar[choices.Output]
    options: ClassVar[tuple[str, ...]] = ()
    added: ClassVar[dict[str, Any]] = {}
    """Defaults of options that older configurations lack."""

    @abstractmethod
    def values(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        """Return the loss of each image.

        Parameters
        ----------
        outputs : ndarray (n, k)
            Of the network.
        labels : integer ndarray (n,)
            Classes, 0 to k - 1.
        backend : str, optional
            See :mod:`lenet_fast.backends`.

        Returns
        -------
        ndarray (n,)
            In the dtype of the outputs.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import losses
        >>> outputs = np.array([[0.0, 0.0], [4.0, 0.0]])  # undecided, and sure of class 0
        >>> losses.CrossEntropy().values(outputs, np.array([0, 0])).round(4)
        array([0.6931, 0.0181])
        """

    @abstractmethod
    def gradient(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        """Return the gradient with respect to each image's outputs.

        Parameters are those of :meth:`values`; the result is of the shape of the outputs, (n, k).

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import losses
        >>> losses.CrossEntropy().gradient(np.zeros((1, 4)), np.array([3]))
        array([[ 0.25,  0.25,  0.25, -0.75]])
        """

    @abstractmethod
    def hessian(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        """Return the diagonal of the Hessian with respect to each image's outputs.

        Parameters are those of :meth:`values`; the result is of the shape of the outputs, (n, k).

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import losses
        >>> losses.CrossEntropy().hessian(np.zeros((1, 4)), np.array([3]))
        array([[0.1875, 0.1875, 0.1875, 0.1875]])
        """

    def check(self, network: _Network) -> None:
        """Raise ValueError unless the loss fits the network's output.

        Examples
        --------
        >>> from lenet_fast import losses, models
        >>> losses.MAP().check(models.lenet5())
        >>> try:
        ...     losses.CrossEntropy().check(models.lenet5())
        ... except ValueError as error:
        ...     print(str(error).partition(", got")[0])
        loss: expected map or penalty for a network with output 'rbf'
        """
        if network.output != self.output:
            raise ValueError(
                f"loss: expected {' or '.join(all_for(network))} for a network with output "
                f"{network.output!r}, got {self.name}, which fits output {self.output!r}"
            )

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for :func:`from_config`.

        Examples
        --------
        >>> from lenet_fast import losses
        >>> losses.MAP(j=float("inf")).config()
        {'name': 'map', 'j': 'inf', 'curvature': 'paper'}
        """
        config: dict[str, Any] = {"name": self.name}
        for option in self.options:
            value = getattr(self, option)
            config[option] = "inf" if value == math.inf else value  # JSON has no infinity
        return config

    def __repr__(self) -> str:
        values = {option: getattr(self, option) for option in self.options}
        shown = [
            f"{option}={value!r}"
            for option, value in values.items()
            if option not in self.added or value != self.added[option]
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class CrossEntropy(Loss):
    """Cross-entropy of the softmax; see :func:`lenet_fast.ops.softmax_cross_entropy`.

    Parameters
    ----------
    smoothing : float
        Label smoothing: share of the target spread over all classes, from 0 to below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.losses import CrossEntropy
    >>> outputs, labels = np.array([[9.0, 0.0]]), np.array([0])  # right, and sure of it
    >>> CrossEntropy().values(outputs, labels).round(4)
    array([0.0001])
    >>> CrossEntropy(smoothing=0.1).values(outputs, labels).round(4)  # too sure
    array([0.4501])
    """

    name = "cross_entropy"
    output = "softmax"
    options = ("smoothing",)
    added: ClassVar[dict[str, Any]] = {"smoothing": 0.0}

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = checks.below_one("smoothing", smoothing, _NARROWEST)

    def values(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        options: dict[str, Any] = {"smoothing": self.smoothing, "backend": backend}
        return _own(ops.softmax_cross_entropy(outputs, labels, reduction="none", **options))

    def gradient(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        options: dict[str, Any] = {"smoothing": self.smoothing, "backend": backend}
        return ops.softmax_cross_entropy_backward(outputs, labels, reduction="sum", **options)

    def hessian(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        options: dict[str, Any] = {"smoothing": self.smoothing, "backend": backend}
        return ops.softmax_cross_entropy_hessian(outputs, labels, reduction="sum", **options)


class MeanSquaredError(Loss):
    """Squared error, summed over the outputs; see :func:`lenet_fast.ops.mean_squared_error`.

    Parameters
    ----------
    on, off : float
        Targets for the output of the right class and for the other outputs.
    scale : float
        Factor of the sum, above 0.

    Examples
    --------
    The right class's output is to be 1, the others -1:

    >>> import numpy as np
    >>> from lenet_fast.losses import MeanSquaredError
    >>> MeanSquaredError().values(np.array([[1.0, 0.0, -1.0]]), np.array([0]))
    array([0.5])
    >>> MeanSquaredError(on=1, off=0).values(np.array([[1.0, 0.0, -1.0]]), np.array([0]))
    array([0.5])
    """

    name = "mean_squared_error"
    output = "linear"
    options = ("on", "off", "scale")

    def __init__(self, on: float = 1.0, off: float = -1.0, scale: float = 0.5) -> None:
        self.on = checks.real("on", on, _NARROWEST)
        self.off = checks.real("off", off, _NARROWEST)
        if self.on <= self.off:
            raise ValueError(f"on: expected a target above that of off, {off}, got {on}")
        self.scale = checks.positive("scale", scale)

    def _targets(self, outputs: Array, labels: Array) -> Array:
        outputs = checks.floats("outputs", outputs, "n, k")
        classes = checks.labels("labels", labels, *outputs.shape)
        targets = np.full_like(outputs, self.off)
        targets[np.arange(len(classes)), classes] = self.on
        return targets

    def values(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        targets = self._targets(outputs, labels)
        options: dict[str, Any] = {"scale": self.scale, "reduction": "none", "backend": backend}
        return _own(ops.mean_squared_error(outputs, targets, **options))

    def gradient(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        targets = self._targets(outputs, labels)
        options: dict[str, Any] = {"scale": self.scale, "reduction": "sum", "backend": backend}
        return ops.mean_squared_error_backward(outputs, targets, **options)

    def hessian(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        targets = self._targets(outputs, labels)
        options: dict[str, Any] = {"scale": self.scale, "reduction": "sum", "backend": backend}
        return ops.mean_squared_error_hessian(outputs, targets, **options)


class MAP(Loss):
    """The criterion of 1998 for RBF outputs; see :func:`lenet_fast.ops.map_loss`.

    Parameters
    ----------
    j : float
        Penalty of the constant "rubbish" class, in units of squared distance, from 0 to infinity
        (no such class). The paper gives no value. An untrained network has penalties near 84.
        Half-way between the two closest bitmaps, where both penalties are 12, wrong classes are
        pushed away with 0.0001 of the full force at j = 3, 0.2 at 10, and all of it from 20 on.
    curvature : {"paper", "exact"}
        How an engine passes the diagonal of the Hessian through the RBF layer. "paper" passes the
        diagonal at the outputs, as through all other layers, with
        :func:`lenet_fast.ops.rbf_hessian`; "exact" also includes the terms between two outputs,
        with :func:`lenet_fast.ops.map_rbf_hessian`. The choice does not change the loss, the
        gradients or :meth:`hessian`.

    Examples
    --------
    The closer a wrong class is, the more it is pushed away:

    >>> import numpy as np
    >>> from lenet_fast.losses import MAP
    >>> MAP().gradient(np.array([[1.0, 1.0, 5.0]]), np.array([0])).round(4)
    array([[ 0.5045, -0.4955, -0.0091]])
    """

    name = "map"
    output = "rbf"
    options = ("j", "curvature")
    added: ClassVar[dict[str, Any]] = {"curvature": "paper"}

    def __init__(self, j: float = 20.0, curvature: choices.Curvature = "paper") -> None:
        endless = isinstance(j, float) and j == math.inf
        self.j = math.inf if endless else checks.real("j", j, _NARROWEST)
        if self.j < 0:
            raise ValueError(f"j: expected a number from 0 to infinity, got {j}")
        self.curvature = checks.choice("curvature", curvature, get_args(choices.Curvature))

    def values(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        return _own(ops.map_loss(outputs, labels, j=self.j, reduction="none", backend=backend))

    def gradient(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        return ops.map_loss_backward(outputs, labels, j=self.j, reduction="sum", backend=backend)

    def hessian(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        return ops.map_loss_hessian(outputs, labels, j=self.j, reduction="sum", backend=backend)


class Penalty(Loss):
    """The plain criterion of 1998 for RBF outputs; see :func:`lenet_fast.ops.penalty_loss`.

    It pulls towards the right class and pushes no other class away, unlike :class:`MAP`. The
    Hessian at the outputs is 0; what remains comes from the RBF units themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.losses import Penalty
    >>> Penalty().values(np.array([[1.0, 1.0, 50.0]]), np.array([0]))
    array([1.])
    >>> Penalty().gradient(np.array([[1.0, 1.0, 50.0]]), np.array([0]))
    array([[1., 0., 0.]])
    """

    name = "penalty"
    output = "rbf"

    def values(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        return _own(ops.penalty_loss(outputs, labels, reduction="none", backend=backend))

    def gradient(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        return ops.penalty_loss_backward(outputs, labels, reduction="sum", backend=backend)

    def hessian(
        self, outputs: Array, labels: Array, backend: choices.Backend | None = None
    ) -> Array:
        return ops.penalty_loss_hessian(outputs, labels, reduction="sum", backend=backend)


LOSSES: dict[str, type[Loss]] = {
    loss.name: loss for loss in (CrossEntropy, MeanSquaredError, MAP, Penalty)
}
"""All losses, by name."""


def chosen(value: object) -> Loss:
    """Return the loss that an argument chooses.

    Parameters
    ----------
    value : str or Loss
        A name in :data:`LOSSES`, for that loss with its default options; or a loss.

    Raises
    ------
    TypeError, ValueError
        If it is neither.

    Examples
    --------
    >>> from lenet_fast.losses import chosen
    >>> chosen("cross_entropy")
    CrossEntropy()
    """
    if isinstance(value, Loss):
        return value
    if not isinstance(value, str):
        raise TypeError(
            f"loss: expected one of {', '.join(LOSSES)}, or a loss, such as "
            f"lenet_fast.losses.CrossEntropy(), got {checks.kind(value)}"
        )
    return LOSSES[checks.choice("loss", value, tuple(LOSSES))]()


def one_hot(targets: Array) -> tuple[float, float, Array] | None:
    """Return the target of the right class, that of all others, and the classes.

    Parameters
    ----------
    targets : ndarray (n, k)
        One number per class and image.

    Returns
    -------
    on, off : float
    labels : intp ndarray (n,)
        None in place of all three if there are other numbers than two, or not one class per image
        has the larger.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import losses
    >>> losses.one_hot(np.array([[0.0, 1.0], [1.0, 0.0]]))
    (1.0, 0.0, array([1, 0]))
    >>> losses.one_hot(np.array([[0.0, 1.0], [1.0, 1.0]])) is None
    True
    """
    labels = targets.argmax(axis=1)
    on, off = targets.max(), targets.min()
    expected = np.full_like(targets, off)
    expected[np.arange(len(labels)), labels] = on
    if not np.array_equal(expected, targets) or not on > off:
        return None
    return float(on), float(off), labels


def all_for(network: _Network) -> dict[str, Loss]:
    """Return the losses that fit a network's output, with their default options.

    The keys are their names; the default loss comes first.

    Examples
    --------
    >>> from lenet_fast import losses, models
    >>> losses.all_for(models.lenet5())
    {'map': MAP(j=20.0), 'penalty': Penalty()}
    """
    return {name: loss() for name, loss in LOSSES.items() if loss.output == network.output}


def default_for(network: _Network) -> Loss:
    """Return the default loss for a network's output, with its default options.

    Examples
    --------
    >>> from lenet_fast import losses, models
    >>> losses.default_for(models.lenet5()), losses.default_for(models.lenet5(output="softmax"))
    (MAP(j=20.0), CrossEntropy())
    """
    return next(iter(all_for(network).values()))


def from_config(config: object) -> Loss:
    """Return the loss of an untrusted :meth:`Loss.config`.

    Options that were added later may be absent.

    Raises
    ------
    ValueError
        If it is not such a description.

    Examples
    --------
    >>> from lenet_fast import losses
    >>> losses.from_config({"name": "map", "j": "inf"})
    MAP(j=inf)
    """
    loss = configs.kind_of("loss", config, "name", LOSSES)
    options = configs.checked(loss.name, config, ("name", *loss.options), loss.added)
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
