"""Two-dimensional convolution (cross-correlation: the kernel is not flipped)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from lenet_fast import backends, checks, choices
from lenet_fast.checks import Array
from lenet_fast.ops._operation import operation
from lenet_fast.windows import IntPair, Padding, output_size, window_extent

__all__ = ["conv2d", "conv2d_backward", "conv2d_hessian"]

ALGORITHMS = get_args(choices.Algorithm)
BIASES = get_args(choices.Bias)


class _Plan(NamedTuple):
    """A convolution whose arguments have been checked."""

    x: Array  # padded, C-contiguous
    w: Array
    connections: Array  # uint8 (c_out, c_in // groups)
    output: tuple[int, int, int, int]
    window: tuple[int, int, int, int]  # strides, then dilations
    sides: tuple[int, int, int, int]  # padding: top, bottom, left, right
    size: tuple[int, int]  # input rows and columns before padding


def _plan(
    x: object,
    w: object,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    connections: object,
    pad_value: object,
) -> _Plan:
    images = checks.floats("x", x, "n, c_in, h_in, w_in")
    kernels = checks.floats("w", w, "c_out, c_in // groups, kh, kw", like=images)
    strides = checks.pair("stride", stride)
    dilations = checks.pair("dilation", dilation)
    sides = checks.four_sides("padding", padding)
    value = checks.real("pad_value", pad_value, images.dtype)
    count = checks.integer("groups", groups, 1)
    n, c_in, h_in, w_in = images.shape
    c_out, width, kh, kw = kernels.shape
    if c_in % count or c_out % count:
        raise ValueError(
            f"groups: expected a divisor of c_in = {c_in} and c_out = {c_out}, got {count}"
        )
    if width != c_in // count:
        what = "c_in of x" if count == 1 else f"c_in of x / {count} groups"
        raise ValueError(f"w: expected {c_in // count} input maps ({what}), got {width}")
    if connections is None:
        links = np.ones((c_out, width), np.uint8)
    else:
        links = checks.table("connections", connections, (c_out, width))
    top, bottom, left, right = sides
    h_out = output_size(h_in, kh, strides[0], dilations[0], top + bottom)
    w_out = output_size(w_in, kw, strides[1], dilations[1], left + right)
    if not (h_out and w_out):
        extent = (window_extent(kh, dilations[0]), window_extent(kw, dilations[1]))
        raise ValueError(
            f"w: expected a kernel that fits the padded input of {h_in + top + bottom} x "
            f"{w_in + left + right} pixels, got one that covers {extent[0]} x {extent[1]}"
        )
    if any(sides):
        images = np.pad(
            images, ((0, 0), (0, 0), sides[:2], sides[2:]), constant_values=images.dtype.type(value)
        )
    return _Plan(
        images, kernels, links, (n, c_out, h_out, w_out), strides + dilations, sides, (h_in, w_in)
    )


def _kernel(backend: choices.Backend | None, algorithm: object, name: str, plan: _Plan) -> Any:
    """Return a backend's function for one pass of the convolution."""
    chosen = checks.choice("algorithm", algorithm, ALGORITHMS)
    module = backends.get(backend)
    if chosen == "auto":
        n, _, h_out, w_out = plan.output
        chosen = module.conv2d_algorithm(n, h_out, w_out)
    return getattr(module, f"{name}_{chosen}")


@operation
def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    connections: Array | None = None,
    pad_value: float = 0.0,
    algorithm: choices.Algorithm = "auto",
    backend: choices.Backend | None = None,
    out: Array | None = None,
) -> Array:
    """Convolve a batch of images with a set of kernels.

    Parameters
    ----------
    x : ndarray (n, c_in, h_in, w_in)
        Images, float32 or float64.
    w : ndarray (c_out, c_in // groups, kh, kw)
        Kernels, of the dtype of `x`. They are not flipped.
    b : ndarray (c_out,) or (c_out, h_out, w_out), optional
        One bias per map, or one per unit as in the network of 1989.
    stride, dilation : int or (vertical, horizontal)
        Distance between windows, and between the taps of a kernel, in pixels.
    padding : int, (vertical, horizontal), or (top, bottom, left, right)
        Pixels added around the images.
    groups : int
        Input and output maps are divided into this many groups; each reads only its own.
    connections : bool ndarray (c_out, c_in // groups), optional
        Which output map reads which input map (of its group). Weights of absent links count as
        zero, whatever their value.
    pad_value : float
        Value of the added pixels.
    algorithm : {"auto", "direct", "im2col"}
        Direct loops, or packed columns and one matrix product. "auto" lets the backend choose; its
        ``conv2d_algorithm`` returns the one that was faster on LeNet's layers.

    Returns
    -------
    y : ndarray (n, c_out, h_out, w_out)
        ``h_out = (h_in + top + bottom - (kh - 1) * dilation - 1) // stride + 1``, and ``w_out``
        likewise.

    Notes
    -----
    The connection table is that of LeCun et al. 1998, Table I; the bias per unit and the border of
    constant value are those of LeCun et al. 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> ops.conv2d(x, np.ones((1, 1, 3, 3)))
    array([[[[45., 54.],
             [81., 90.]]]])
    """
    plan = _plan(x, w, stride, padding, dilation, groups, connections, pad_value)
    c_out, h_out, w_out = plan.output[1:]
    if b is None:
        bias = np.zeros((c_out, 1, 1), plan.x.dtype)
    else:
        bias = checks.floats("b", b, None, like=plan.x)
        if bias.shape not in ((c_out,), (c_out, h_out, w_out)):
            raise ValueError(
                f"b: expected shape ({c_out},), per map, or ({c_out}, {h_out}, {w_out}), per unit, "
                f"got {bias.shape}"
            )
        if bias.ndim == 1:
            bias = bias.reshape(c_out, 1, 1)
    kernel = _kernel(backend, algorithm, "conv2d", plan)
    y = checks.output("out", out, plan.output, plan.x.dtype, [("x", x), ("w", w), ("b", b)])
    kernel(plan.x, plan.w, bias, plan.connections, y, *plan.window)
    return checks.returned(out, y)


def _gradients(
    names: tuple[str, str, str],
    plan: _Plan,
    bias: object,
    input_gradient: bool,
    algorithm: object,
    backend: choices.Backend | None,
    out: object,
    inputs: Sequence[tuple[str, object]],
) -> tuple[Array | None, Array, Array]:
    """Check the incoming gradient, first of the inputs, and run both passes."""
    incoming = checks.incoming(*inputs[0], plan.output, plan.x)
    c_out, h_out, w_out = plan.output[1:]
    unit = checks.choice("bias", bias, BIASES) == "unit"
    to_input = _kernel(backend, algorithm, "conv2d_input_gradient", plan)
    to_weights = _kernel(backend, algorithm, "conv2d_weight_gradient", plan)
    n, c_in = plan.x.shape[:2]
    of_bias = (c_out, h_out, w_out) if unit else (c_out,)
    shapes = [(n, c_in, *plan.size) if input_gradient else None, plan.w.shape, of_bias]
    dx, dw, db = checks.outputs(out, names, shapes, plan.x.dtype, inputs)
    assert dw is not None and db is not None
    if dx is not None:
        if any(plan.sides):
            padded = np.empty_like(plan.x)
            to_input(incoming, plan.w, plan.connections, padded, *plan.window)
            top, left = plan.sides[0], plan.sides[2]
            dx[...] = padded[:, :, top : top + plan.size[0], left : left + plan.size[1]]
        else:
            to_input(incoming, plan.w, plan.connections, dx, *plan.window)
    bias_gradient = db if unit else db.reshape(c_out, 1, 1)
    to_weights(incoming, plan.x, plan.connections, dw, bias_gradient, *plan.window)
    return checks.all_returned(out, dx, dw, db)


@operation
def conv2d_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    connections: Array | None = None,
    pad_value: float = 0.0,
    bias: choices.Bias = "map",
    input_gradient: bool = True,
    algorithm: choices.Algorithm = "auto",
    backend: choices.Backend | None = None,
    out: tuple[Array | None, Array, Array] | None = None,
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of :func:`conv2d`.

    Parameters
    ----------
    dy : ndarray (n, c_out, h_out, w_out)
        Gradient at the output.
    x, w, stride, padding, dilation, groups, connections, pad_value, algorithm
        The arguments of :func:`conv2d`.
    bias : {"map", "unit"}
        Whether `db` is per map or per unit.
    input_gradient : bool
        False: `dx` is not computed, as for the first layer of a network.
    backend, out
        See :mod:`lenet_fast.ops`; `out` is ``(dx, dw, db)``.

    Returns
    -------
    dx : ndarray (n, c_in, h_in, w_in), or None
    dw : ndarray (c_out, c_in // groups, kh, kw)
        Summed over the batch; zero for an absent link.
    db : ndarray (c_out,) or (c_out, h_out, w_out)
        Summed over the batch.

    Examples
    --------
    Three windows of two pixels; the gradient of a weight adds what it met in each:

    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x, w = np.array([[[[1.0, 2.0, 3.0, 4.0]]]]), np.array([[[[10.0, 1.0]]]])
    >>> dx, dw, db = ops.conv2d_backward(np.ones((1, 1, 1, 3)), x, w)
    >>> dx.ravel(), dw.ravel(), db
    (array([10., 11., 11.,  1.]), array([6., 9.]), array([3.]))
    """
    plan = _plan(x, w, stride, padding, dilation, groups, connections, pad_value)
    names, inputs = ("dx", "dw", "db"), [("dy", dy), ("x", x), ("w", w)]
    return _gradients(names, plan, bias, input_gradient, algorithm, backend, out, inputs)


def conv2d_hessian(
    hy: Array,
    x: Array,
    w: Array,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    connections: Array | None = None,
    pad_value: float = 0.0,
    bias: choices.Bias = "map",
    input_gradient: bool = True,
    algorithm: choices.Algorithm = "auto",
    backend: choices.Backend | None = None,
    out: tuple[Array | None, Array, Array] | None = None,
) -> tuple[Array | None, Array, Array]:
    """Pass the diagonal of the Hessian back through :func:`conv2d`.

    Parameters, results and errors are those of :func:`conv2d_backward`, with `hy` instead of `dy`.

    Returns
    -------
    hx, hw, hb : ndarray
        ``hx`` correlates `hy` with the squared kernels, ``hw`` with the squared inputs.

    Notes
    -----
    LeCun et al. 1998, appendix C: this is the backward pass on squared weights and inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast import ops
    >>> x, w = np.array([[[[1.0, 2.0, 3.0, 4.0]]]]), np.array([[[[10.0, 1.0]]]])
    >>> hx, hw, hb = ops.conv2d_hessian(np.ones((1, 1, 1, 3)), x, w)
    >>> hx.ravel(), hw.ravel(), hb  # 14 = 1 + 4 + 9
    (array([100., 101., 101.,   1.]), array([14., 29.]), array([3.]))
    """
    plan = _plan(x, w, stride, padding, dilation, groups, connections, pad_value)
    plan = plan._replace(x=np.square(plan.x), w=np.square(plan.w))
    names, inputs = ("hx", "hw", "hb"), [("hy", hy), ("x", x), ("w", w)]
    return _gradients(names, plan, bias, input_gradient, algorithm, backend, out, inputs)
