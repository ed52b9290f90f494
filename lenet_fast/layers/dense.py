"""Layers whose units all read every input. Images (n, c, h, w) are flattened first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_fast import bitmaps, checks, choices, ops
from lenet_fast.checks import Array
from lenet_fast.layers.base import Layer, Operations, Shape, size


def _flat(x: Array) -> Array:
    # reshape(n, -1) is undefined for an empty batch.
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class FullyConnected(Layer):
    """A layer of n_out units that read n_in inputs each."""

    def __init__(self, n_in: int, n_out: int, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.n_in = size("n_in", n_in)
        self.n_out = size("n_out", n_out)

    def output_shape(self, input_shape: Shape) -> Shape:
        if math.prod(input_shape) != self.n_in:
            raise ValueError(
                f"input: expected {self.n_in} numbers per image (n_in), got "
                f"{math.prod(input_shape)} (shape {input_shape})"
            )
        return (self.n_out,)

    def fan_in(self) -> Array:
        return np.full(self.n_out, self.n_in)

    def fan_out(self) -> float:
        return float(self.n_out)

    @property
    def arguments(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Array, backend: choices.Backend | None = None) -> Array:
        return super().forward(_flat(x), backend)

    def _seen(self, x: Array, y: Array) -> Array:
        return _flat(x)


class Dense(FullyConnected):
    """Weighted sums of all inputs; see :func:`lenet_fast.ops.dense`.

    Parameters
    ----------
    n_in, n_out : int
        Inputs and units.
    name : str, optional

    Examples
    --------
    F6 of LeNet-5:

    >>> from lenet_fast import layers
    >>> f6 = layers.Dense(120, 84, name="F6")
    >>> f6.build((120,), "float32")
    >>> f6.output_shape((120,)), f6.parameter_count()
    ((84,), 10164)
    """

    operations = Operations(ops.dense, ops.dense_backward, ops.dense_hessian)
    options = ("n_in", "n_out")
    label = "dense"
    trainable = True

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return {"w": (self.n_out, self.n_in), "b": (self.n_out,)}

    def connections(self, input_shape: Shape) -> int:
        return self.n_out * (self.n_in + 1)

    def _back_arguments(self, to_input: bool) -> dict[str, Any]:
        return {"input_gradient": to_input}


class RBF(FullyConnected):
    """Squared distances to fixed centres, the outputs of 1998; see :func:`lenet_fast.ops.rbf`.

    Parameters
    ----------
    n_in, n_out : int
        Inputs and units.
    centres : "digits", "given" or ndarray (n_out, n_in)
        The bitmaps of the ten digits, with 84 numbers each; or an array. "given" is how
        :meth:`~Layer.config` records an array: the centres are zero until they are loaded from the
        parameters in a model file.
    name : str, optional

    Notes
    -----
    The centres are not trained. LeCun et al. 1998, section II.B: without competition between the
    classes, trained centres could all become equal, and every distance zero.

    Examples
    --------
    A perfect 7 is at distance 0 from the bitmap of the 7, and far from all others:

    >>> from lenet_fast import bitmaps, layers
    >>> output = layers.RBF(84, 10)
    >>> output.build((84,), "float64")
    >>> output.forward(bitmaps.centres()[7:8]).astype(int)
    array([[160, 112, 128, 108, 200, 136, 184,   0, 160, 136]])
    """

    operations = Operations(ops.rbf, ops.rbf_backward, ops.rbf_hessian)
    options = ("n_in", "n_out", "centres")
    label = "rbf"
    curved = True

    def __init__(
        self,
        n_in: int = 84,
        n_out: int = 10,
        *,
        centres: str | npt.ArrayLike = "digits",
        name: str | None = None,
    ) -> None:
        super().__init__(n_in, n_out, name=name)
        expected = (self.n_out, self.n_in)
        self._centres: Array | None = None
        if isinstance(centres, str):
            self.centres = checks.choice("centres", centres, ("digits", "given"))
        else:
            self.centres = "given"
            self._centres = checks.floats("centres", centres, "n_out, n_in").copy()
        if self.centres == "digits":
            self._centres = bitmaps.centres()
        if self._centres is not None:
            checks.same_shape("centres", self._centres, expected, "n_out, n_in")

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return {"w": (self.n_out, self.n_in)}

    def build(self, input_shape: Shape, dtype: npt.DTypeLike) -> None:
        super().build(input_shape, dtype)
        if self._centres is not None:
            self.parameters["w"][...] = self._centres

    def connections(self, input_shape: Shape) -> int:
        return self.n_out * self.n_in

    def map_hessian(
        self, x: Array, y: Array, j: float, backend: choices.Backend | None = None
    ) -> Array:
        """Return the exact diagonal of the MAP criterion's Hessian at the inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import layers
        >>> layer = layers.RBF(1, 2, centres=np.array([[1.0], [-1.0]]))
        >>> layer.build((1,), "float64")
        >>> x = np.array([[0.0]])  # half-way between both
        >>> layer.map_hessian(x, layer.forward(x), j=np.inf)
        array([[4.]])
        """
        hx = ops.map_rbf_hessian(y, _flat(x), self.parameters["w"], j=j, backend=backend)
        return hx.reshape(x.shape)
