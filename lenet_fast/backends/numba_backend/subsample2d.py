"""Trainable sub-sampling of 1998: inputs added, times a coefficient a map, plus a bias a map.

With more output maps than input maps, `multiplier` in a row see the same one.
"""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel


@kernel
def _window_sums(x, pitch, h_out, s, kh, kw, stride_v, stride_h):
    """Set s to the sums of one map's windows; `pitch` elements of x lead to its next row."""
    w_out = s.size // h_out
    zero = s.dtype.type(0)
    for r in range(h_out):
        row = x[r * stride_v * pitch :]
        target = s[r * w_out : (r + 1) * w_out]
        if kh == 2 and kw == 2 and stride_h == 2:  # the window of every LeNet, unrolled
            below = row[pitch:]
            for p in range(w_out):
                target[p] = ((row[2 * p] + row[2 * p + 1]) + below[2 * p]) + below[2 * p + 1]
            continue
        for p in range(w_out):
            total = zero
            for u in range(kh):
                for v in range(kw):
                    total += row[u * pitch + p * stride_h + v]
            target[p] = total


@kernel
def _spread_row(dy, dx, pitch, kh, kw, stride_h, factor):
    """Add factor times one row of dy to every input of its windows."""
    for u in range(kh):
        row = dx[u * pitch :]
        if kw == 2 and stride_h == 2:
            for p in range(dy.size):
                row[2 * p] += factor * dy[p]
                row[2 * p + 1] += factor * dy[p]
        else:
            for p in range(dy.size):
                for v in range(kw):
                    row[p * stride_h + v] += factor * dy[p]


@kernel
def subsample2d(x, w, b, y, kh, kw, stride_v, stride_h, scale):
    """Set y = w s + b, s = scale times the sum of the window."""
    h_in, w_in = x.shape[2], x.shape[3]
    n, c_out, h_out, w_out = y.shape
    area, multiplier = h_out * w_out, c_out // x.shape[1]
    pixels, results = x.reshape(-1), y.reshape(-1)
    real_scale = x.dtype.type(scale)
    for m in range(n * c_out):
        s = results[m * area : (m + 1) * area]
        seen = pixels[m // multiplier * h_in * w_in :]
        _window_sums(seen, w_in, h_out, s, kh, kw, stride_v, stride_h)
        factor, bias = w[m % c_out] * real_scale, b[m % c_out]
        for p in range(area):
            s[p] = factor * s[p] + bias


@kernel
def _gradients(dy, x, w, dx, dw, db, kh, kw, stride_v, stride_h, scale, squared):
    """Both passes; `squared` is the Hessian's, where w and s stand squared."""
    h_in, w_in = x.shape[2], x.shape[3]
    n, c_out, h_out, w_out = dy.shape
    area, multiplier = h_out * w_out, c_out // x.shape[1]
    slopes, pixels, target = dy.reshape(-1), x.reshape(-1), dx.reshape(-1)
    real_scale = x.dtype.type(scale)
    sums = np.empty(area, x.dtype)
    # Summed over the batch unit by unit, which vectors can, and over the units at the end.
    to_weight = np.zeros(c_out * area, x.dtype)
    to_bias = np.zeros(c_out * area, x.dtype)
    target[:] = 0
    for m in range(n * c_out):
        c, first = m % c_out, m // multiplier * h_in * w_in
        factor = w[c] * real_scale
        factor = factor * factor if squared else factor
        source = slopes[m * area : (m + 1) * area]
        for r in range(h_out):
            _spread_row(
                source[r * w_out : (r + 1) * w_out],
                target[first + r * stride_v * w_in :], w_in, kh, kw, stride_h, factor,
            )  # fmt: skip
        _window_sums(pixels[first:], w_in, h_out, sums, kh, kw, stride_v, stride_h)
        of_weight = to_weight[c * area : (c + 1) * area]
        of_bias = to_bias[c * area : (c + 1) * area]
        for p in range(area):
            s = sums[p] * real_scale
            of_weight[p] += source[p] * (s * s if squared else s)
            of_bias[p] += source[p]
    dw[:] = 0
    db[:] = 0
    for c in range(c_out):
        for p in range(c * area, (c + 1) * area):
            dw[c] += to_weight[p]
            db[c] += to_bias[p]


@kernel
def subsample2d_backward(dy, x, w, dx, dw, db, kh, kw, stride_v, stride_h, scale):
    """Set dx = w scale dy, dw = sum of dy s, db = sum of dy."""
    _gradients(dy, x, w, dx, dw, db, kh, kw, stride_v, stride_h, scale, False)


@kernel
def subsample2d_hessian(hy, x, w, hx, hw, hb, kh, kw, stride_v, stride_h, scale):
    """Set hx = (w scale)^2 hy, hw = sum of hy s^2, hb = sum of hy."""
    _gradients(hy, x, w, hx, hw, hb, kh, kw, stride_v, stride_h, scale, True)
