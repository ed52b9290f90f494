"""Pooling without parameters: the maximum or the mean of each window."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["avg_pool2d", "avg_pool2d_backward", "max_pool2d", "max_pool2d_backward"]


def window_views(x, h_out, w_out, kh, kw, stride_v, stride_h):
    """Yield, in scan order of the window, the view of x that each tap sees."""
    for u in range(kh):
        for v in range(kw):
            yield x[
                :,
                :,
                u : u + (h_out - 1) * stride_v + 1 : stride_v,
                v : v + (w_out - 1) * stride_h + 1 : stride_h,
            ]


def max_pool2d(x, y, kh, kw, stride_v, stride_h):
    """Set y to the maximum of each window; NaN counts as the largest value."""
    windows = sliding_window_view(x, (kh, kw), axis=(2, 3))
    np.max(windows[:, :, ::stride_v, ::stride_h], axis=(4, 5), out=y)


def max_pool2d_backward(dy, x, dx, kh, kw, stride_v, stride_h, every):
    """Set dx: each window passes its dy to its first maximum in scan order, or to all maxima."""
    n, c, h_out, w_out = dy.shape
    windows = sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::stride_v, ::stride_h]
    windows = windows.reshape(n, c, h_out, w_out, kh * kw)
    dx[...] = 0
    if not dy.size:
        return
    if every:
        wins = windows == windows.max(axis=4, keepdims=True)
    else:
        wins = np.arange(kh * kw) == windows.argmax(axis=4)[..., np.newaxis]
    taps = window_views(dx, h_out, w_out, kh, kw, stride_v, stride_h)
    for tap, view in enumerate(taps):
        view += np.where(wins[..., tap], dy, dy.dtype.type(0))


def avg_pool2d(x, y, kh, kw, stride_v, stride_h):
    """Set y to the mean of each window."""
    y[...] = 0
    for view in window_views(x, *y.shape[2:], kh, kw, stride_v, stride_h):
        y += view
    y *= y.dtype.type(1 / (kh * kw))


def avg_pool2d_backward(dy, dx, kh, kw, stride_v, stride_h, scale):
    """Set dx to scale times the sum of dy over the windows that each input is in."""
    dx[...] = 0
    share = dy * dy.dtype.type(scale)
    for view in window_views(dx, *dy.shape[2:], kh, kw, stride_v, stride_h):
        view += share
