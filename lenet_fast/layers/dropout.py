"""Layers that drop units in training, and change nothing otherwise."""

from __future__ import annotations

from typing import ClassVar

from lenet_fast import checks, choices, ops
from lenet_fast.checks import Array
from lenet_fast.layers.base import Gradients, Layer, Shape, images


class Dropout(Layer):
    """In training, each unit is 0 with probability `p`, else divided by ``1 - p``.

    In evaluation, prediction and estimates of the Hessian, the layer passes its input on unchanged.
    See :func:`lenet_fast.ops.dropout`: which units are dropped follows from the seed, the number of
    the training step, the layer's place in the network, the image's place in the batch and the
    unit. It does not depend on the engine, the backend or the number of threads.

    Parameters
    ----------
    p : float
        From 0 to below 1.
    name : str, optional

    Examples
    --------
    >>> from lenet_fast.layers import Conv2D, Dense, Dropout, MaxPool2D, ReLU
    >>> from lenet_fast.network import Network
    >>> body = [Conv2D(1, 8, 5), ReLU(), MaxPool2D(2), Dropout(0.25)]
    >>> net = Network([*body, Dense(8 * 14 * 14, 10)], output="softmax")
    >>> net.layers[3].name
    'dropout1'
    """

    options = ("p",)
    label = "dropout"
    by_map: ClassVar[bool] = False
    """Whether whole maps are dropped."""

    def __init__(self, p: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.p = checks.below_one("p", p)

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def units(self, input_shape: Shape) -> int:
        return 0

    def forward(self, x: Array, backend: choices.Backend | None = None) -> Array:
        return x.copy()

    def backward(
        self,
        dy: Array,
        x: Array,
        y: Array,
        backend: choices.Backend | None = None,
        input_gradient: bool = True,
    ) -> tuple[Array | None, Gradients]:
        return dy.copy() if input_gradient else None, {}

    def hessian(
        self,
        hy: Array,
        dy: Array | None,
        x: Array,
        y: Array,
        backend: choices.Backend | None = None,
        input_hessian: bool = True,
    ) -> tuple[Array | None, Gradients]:
        return hy.copy() if input_hessian else None, {}

    def drop(
        self,
        x: Array,
        seed: int,
        step: int,
        layer: int,
        first: int = 0,
        backend: choices.Backend | None = None,
    ) -> Array:
        """Return the outputs of a training step; or, from the gradient there, that at the inputs.

        Parameters
        ----------
        x : ndarray (n, ...)
        seed, step, layer, first
            As for :func:`lenet_fast.ops.dropout`.
        backend : str, optional
            See :mod:`lenet_fast.backends`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.layers import Dropout
        >>> Dropout(0.5).drop(np.ones((2, 8)), seed=0, step=0, layer=0)
        array([[2., 0., 2., 0., 2., 0., 0., 0.],
               [0., 2., 2., 0., 2., 2., 2., 2.]])
        """
        return ops.dropout(
            x,
            self.p,
            seed=seed,
            step=step,
            layer=layer,
            first=first,
            by_map=self.by_map,
            backend=backend,
        )


class Dropout2D(Dropout):
    """The same for whole maps: each is 0 with probability `p`, else divided by ``1 - p``.

    Neighbouring pixels of a map carry much the same; see Tompson et al. 2015, "Efficient object
    localization using convolutional networks", who call it SpatialDropout.

    Parameters
    ----------
    p : float
        From 0 to below 1.
    name : str, optional

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.layers import Dropout2D
    >>> maps = Dropout2D(0.5).drop(np.ones((1, 4, 2, 2)), seed=0, step=0, layer=0)
    >>> maps.reshape(4, 4)  # a row for each map of 2x2
    array([[2., 2., 2., 2.],
           [0., 0., 0., 0.],
           [2., 2., 2., 2.],
           [0., 0., 0., 0.]])
    """

    by_map = True

    def output_shape(self, input_shape: Shape) -> Shape:
        images(input_shape)
        return input_shape
