"""Convolution: plain NumPy, the reference that the fast backends are compared with."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = [
    "conv2d_direct",
    "conv2d_im2col",
    "conv2d_input_gradient_direct",
    "conv2d_input_gradient_im2col",
    "conv2d_weight_gradient_direct",
    "conv2d_weight_gradient_im2col",
]


def _taps(x, u, v, h_out, w_out, stride_v, stride_h, dilation_v, dilation_h):
    """Return the view of x that kernel tap (u, v) sees: (n, c, h_out, w_out)."""
    top, left = u * dilation_v, v * dilation_h
    return x[
        :,
        :,
        top : top + (h_out - 1) * stride_v + 1 : stride_v,
        left : left + (w_out - 1) * stride_h + 1 : stride_h,
    ]


def _groups(c_in, w):
    """Yield (input maps, output maps) of each group as slices."""
    c_out, width = w.shape[:2]
    count = c_in // width
    height = c_out // count
    for g in range(count):
        yield slice(g * width, (g + 1) * width), slice(g * height, (g + 1) * height)


def _linked(w, connections):
    return np.where(connections[:, :, None, None] != 0, w, w.dtype.type(0))


def _columns(x, kh, kw, h_out, w_out, stride_v, stride_h, dilation_v, dilation_h):
    """Return packed columns: (n, c * kh * kw, h_out * w_out)."""
    n, c = x.shape[:2]
    windows = sliding_window_view(
        x, ((kh - 1) * dilation_v + 1, (kw - 1) * dilation_h + 1), axis=(2, 3)
    )
    windows = windows[:, :, ::stride_v, ::stride_h, ::dilation_v, ::dilation_h]
    windows = windows[:, :, :h_out, :w_out]  # (n, c, h_out, w_out, kh, kw)
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, h_out * w_out)


def conv2d_direct(x, w, b, connections, y, stride_v, stride_h, dilation_v, dilation_h):
    """Set y to x convolved with w, plus b, tap by tap."""
    h_out, w_out = y.shape[2:]
    geometry = (h_out, w_out, stride_v, stride_h, dilation_v, dilation_h)
    w = _linked(w, connections)
    y[...] = b
    for inputs, outputs in _groups(x.shape[1], w):
        for u in range(w.shape[2]):
            for v in range(w.shape[3]):
                seen = _taps(x[:, inputs], u, v, *geometry)
                y[:, outputs] += np.einsum("oc,icrs->iors", w[outputs, :, u, v], seen)


def conv2d_im2col(x, w, b, connections, y, stride_v, stride_h, dilation_v, dilation_h):
    """Set y to x convolved with w, plus b, as one matrix product per group."""
    h_out, w_out = y.shape[2:]
    kh, kw = w.shape[2:]
    rows = _linked(w, connections).reshape(len(w), -1)
    for inputs, outputs in _groups(x.shape[1], w):
        columns = _columns(
            x[:, inputs], kh, kw, h_out, w_out, stride_v, stride_h, dilation_v, dilation_h
        )
        product = rows[outputs] @ columns  # (n, c_out of the group, h_out * w_out)
        y[:, outputs] = product.reshape(y[:, outputs].shape) + b[outputs]


def conv2d_input_gradient_direct(
    dy, w, connections, dx, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dx to the gradient at the input, tap by tap."""
    h_out, w_out = dy.shape[2:]
    geometry = (h_out, w_out, stride_v, stride_h, dilation_v, dilation_h)
    w = _linked(w, connections)
    dx[...] = 0
    for inputs, outputs in _groups(dx.shape[1], w):
        for u in range(w.shape[2]):
            for v in range(w.shape[3]):
                seen = _taps(dx[:, inputs], u, v, *geometry)
                seen += np.einsum("oc,iors->icrs", w[outputs, :, u, v], dy[:, outputs])


def conv2d_input_gradient_im2col(
    dy, w, connections, dx, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dx to the gradient at the input: one matrix product per group, columns added back."""
    n, c_out, h_out, w_out = dy.shape
    width, kh, kw = w.shape[1:]
    geometry = (h_out, w_out, stride_v, stride_h, dilation_v, dilation_h)
    rows = _linked(w, connections).reshape(c_out, -1)
    flat = dy.reshape(n, c_out, h_out * w_out)
    dx[...] = 0
    for inputs, outputs in _groups(dx.shape[1], w):
        columns = rows[outputs].T @ flat[:, outputs]
        columns = columns.reshape(n, width, kh, kw, h_out, w_out)
        for u in range(kh):
            for v in range(kw):
                seen = _taps(dx[:, inputs], u, v, *geometry)
                seen += columns[:, :, u, v]


def _bias_gradient(dy, db):
    if db.shape[1:] == dy.shape[2:]:
        np.sum(dy, axis=0, out=db)
    else:
        np.sum(dy, axis=(0, 2, 3), out=db.reshape(-1))


def conv2d_weight_gradient_direct(
    dy, x, connections, dw, db, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dw and db to the gradients summed over the batch, tap by tap."""
    h_out, w_out = dy.shape[2:]
    geometry = (h_out, w_out, stride_v, stride_h, dilation_v, dilation_h)
    for inputs, outputs in _groups(x.shape[1], dw):
        for u in range(dw.shape[2]):
            for v in range(dw.shape[3]):
                seen = _taps(x[:, inputs], u, v, *geometry)
                dw[outputs, :, u, v] = np.einsum("iors,icrs->oc", dy[:, outputs], seen)
    dw[connections == 0] = 0
    _bias_gradient(dy, db)


def conv2d_weight_gradient_im2col(
    dy, x, connections, dw, db, stride_v, stride_h, dilation_v, dilation_h
):
    """Set dw and db to the gradients summed over the batch: one matrix product per group."""
    n, c_out, h_out, w_out = dy.shape
    kh, kw = dw.shape[2:]
    flat = dy.reshape(n, c_out, h_out * w_out)
    for inputs, outputs in _groups(x.shape[1], dw):
        columns = _columns(
            x[:, inputs], kh, kw, h_out, w_out, stride_v, stride_h, dilation_v, dilation_h
        )
        product = np.tensordot(flat[:, outputs], columns, axes=((0, 2), (0, 2)))
        dw[outputs] = product.reshape(dw[outputs].shape)
    dw[connections == 0] = 0
    _bias_gradient(dy, db)
