"""Trainable sub-sampling of 1998: inputs added, times a coefficient per map, plus a bias per map.

Output map o sees input map o // m, with m times as many output maps as input maps.
"""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numpy_backend.pool2d import window_views

__all__ = ["subsample2d", "subsample2d_backward", "subsample2d_hessian"]


def _window_sums(x, shape, kh, kw, stride_v, stride_h, scale):
    """Return s as each output map sees it."""
    c_in, c_out = x.shape[1], shape[1]
    s = np.zeros((shape[0], c_in, *shape[2:]), x.dtype)
    for view in window_views(x, *shape[2:], kh, kw, stride_v, stride_h):
        s += view
    s *= x.dtype.type(scale)
    return s if c_out == c_in else np.repeat(s, c_out // c_in, axis=1)


def _spread(share, dx, kh, kw, stride_v, stride_h):
    """Set dx from the gradients that each output map passes back to its inputs."""
    (n, c_out, h_out, w_out), c_in = share.shape, dx.shape[1]
    if c_out != c_in:
        share = share.reshape(n, c_in, c_out // c_in, h_out, w_out).sum(axis=2)
    dx[...] = 0
    for view in window_views(dx, *share.shape[2:], kh, kw, stride_v, stride_h):
        view += share


def subsample2d(x, w, b, y, kh, kw, stride_v, stride_h, scale):
    """Set y = w s + b, s = scale times the sum of the window."""
    s = _window_sums(x, y.shape, kh, kw, stride_v, stride_h, scale)
    y[...] = w[:, None, None] * s + b[:, None, None]


def subsample2d_backward(dy, x, w, dx, dw, db, kh, kw, stride_v, stride_h, scale):
    """Set dx = w scale dy, dw = sum of dy s, db = sum of dy."""
    s = _window_sums(x, dy.shape, kh, kw, stride_v, stride_h, scale)
    _spread(dy * (w * w.dtype.type(scale))[:, None, None], dx, kh, kw, stride_v, stride_h)
    np.sum(dy * s, axis=(0, 2, 3), out=dw)
    np.sum(dy, axis=(0, 2, 3), out=db)


def subsample2d_hessian(hy, x, w, hx, hw, hb, kh, kw, stride_v, stride_h, scale):
    """Set hx = (w scale)^2 hy, hw = sum of hy s^2, hb = sum of hy."""
    s = _window_sums(x, hy.shape, kh, kw, stride_v, stride_h, scale)
    share = hy * ((w * w.dtype.type(scale)) ** 2)[:, None, None]
    _spread(share, hx, kh, kw, stride_v, stride_h)
    np.sum(hy * s * s, axis=(0, 2, 3), out=hw)
    np.sum(hy, axis=(0, 2, 3), out=hb)
