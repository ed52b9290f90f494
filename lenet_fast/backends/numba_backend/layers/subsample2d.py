"""Trainable sub-sampling of 1998: inputs added, times a coefficient per map, plus a bias per map.

Average pooling is the same without them. With more output maps than input maps, `multiplier` in a
row see the same one. First the loops on a packed tile, a map at a time: a map of x lies at vector
`x`, and so on. Then the operations.
"""

from __future__ import annotations

import numpy as np

from lenet_fast.backends.numba_backend.jit import kernel, part
from lenet_fast.backends.numba_backend.vector.vectors import fill, get, put, splat

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "subsample2d",
    "subsample2d_backward",
    "subsample2d_hessian",
]


@part
def _window_sum(memory, corner, pitch, kh, kw):
    """Return the sum of one window; `pitch` vectors lead to the next row."""
    total = get(memory, corner)
    for v in range(1, kw):
        total = total + get(memory, corner + v)
    for u in range(1, kh):
        for v in range(kw):
            total = total + get(memory, corner + u * pitch + v)
    return total


@part
def _sum_map(memory, x, source, window, s, result):
    """Set one map of s to the sums of the windows."""
    for r in range(result.rows):
        for k in range(result.columns):
            corner = x + r * window.stride_v * source.columns + k * window.stride_h
            if window.kh == 2 and window.kw == 2:  # the window of every LeNet, unrolled
                total = _window_sum(memory, corner, source.columns, 2, 2)
            else:
                total = _window_sum(memory, corner, source.columns, window.kh, window.kw)
            put(memory, s + r * result.columns + k, total)


@part
def _spread_window(memory, share, apart, corner, pitch, kh, kw):
    """Store a share in each input of a window, or add it where windows overlap."""
    for u in range(kh):
        for v in range(kw):
            place = corner + u * pitch + v
            if apart:
                put(memory, place, share)
            else:
                put(memory, place, get(memory, place) + share)


@part
def covered(source, window, result):
    """Return whether each input is in one window."""
    return (
        window.stride_v == window.kh
        and window.stride_h == window.kw
        and result.rows * window.kh == source.rows
        and result.columns * window.kw == source.columns
    )


@part
def _spread_map(memory, dy, result, window, factor, dx, source):
    """Set one map of dx to factor times the sum of dy over the windows each input is in."""
    apart = covered(source, window, result)
    if not apart:
        fill(memory, dx, source.rows * source.columns, 0.0)
    factors = splat(memory, factor, 1)
    for r in range(result.rows):
        for k in range(result.columns):
            corner = dx + r * window.stride_v * source.columns + k * window.stride_h
            share = factors * get(memory, dy + r * result.columns + k)
            if apart and window.kh == 2 and window.kw == 2:
                _spread_window(memory, share, True, corner, source.columns, 2, 2)
            else:
                _spread_window(memory, share, apart, corner, source.columns, window.kh, window.kw)


@part
def coefficient(memory, w, w_at, c, scale, squared):
    """Return what a window's sum is multiplied with: w scale, or its square; without w, w_at -1,
    scale alone."""
    factor = memory.dtype.type(scale)
    if w_at >= 0:
        factor = w[w_at + c] * factor
    return factor * factor if squared else factor


@part
def spread_maps(memory, dy, result, window, w, w_at, c, scale, squared, mixed, dx, source):
    """Set map c of dx from the maps of dy that see it, which begin at `dy`; `mixed` is scratch."""
    multiplier, made = result.count // source.count, result.rows * result.columns
    if multiplier == 1:
        factor = coefficient(memory, w, w_at, c, scale, squared)
    else:
        fill(memory, mixed, made, 0.0)
        for j in range(multiplier):
            share = coefficient(memory, w, w_at, c * multiplier + j, scale, squared)
            factors = splat(memory, share, 1)
            for k in range(made):
                value = get(memory, mixed + k) + factors * get(memory, dy + j * made + k)
                put(memory, mixed + k, value)
        dy, factor = mixed, memory.dtype.type(1)
    _spread_map(memory, dy, result, window, factor, dx, source)


@part
def subsample_map(memory, x, source, window, w, w_at, b_at, c, scale, y, result):
    """Set map c of y to w s + b; b_at is -1 for no bias."""
    factor = splat(memory, coefficient(memory, w, w_at, c, scale, False), 1)
    bias = splat(memory, w[b_at + c] if b_at >= 0 else memory.dtype.type(0), 1)
    _sum_map(memory, x, source, window, y, result)
    for k in range(y, y + result.rows * result.columns):
        put(memory, k, factor * get(memory, k) + bias)


@part
def subsample_gradient_map(
    memory, dy, result, x, source, window, scale, squared, scratch, sums, dw, db
):
    """Add a map's share to the gradients of its coefficient and its bias, lane by lane; they lie in
    `sums`, which may be the tile's memory."""
    _sum_map(memory, x, source, window, scratch, result)
    to_weight, to_bias = splat(memory, 0, 1), splat(memory, 0, 1)
    for k in range(result.rows * result.columns):
        slope, s = get(memory, dy + k), get(memory, scratch + k)
        to_weight = to_weight + slope * (s * s if squared else s)
        to_bias = to_bias + slope
    factor = splat(memory, scale * scale if squared else scale, 1)
    put(sums, dw, get(sums, dw) + factor * to_weight)
    put(sums, db, get(sums, db) + to_bias)


# --- the operations -----------------------------------------------------------------------------


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


@kernel
def avg_pool2d(x, y, kh, kw, stride_v, stride_h):
    """Set y to the mean of each window."""
    h_in, w_in = x.shape[2], x.shape[3]
    n, c, h_out, w_out = y.shape
    area, pixels, means = h_out * w_out, x.reshape(-1), y.reshape(-1)
    share = y.dtype.type(1 / (kh * kw))
    for m in range(n * c):
        target = means[m * area : (m + 1) * area]
        _window_sums(pixels[m * h_in * w_in :], w_in, h_out, target, kh, kw, stride_v, stride_h)
        for p in range(area):
            target[p] = share * target[p]


@kernel
def avg_pool2d_backward(dy, dx, kh, kw, stride_v, stride_h, scale):
    """Set dx to scale times the sum of dy over the windows that each input is in."""
    h_in, w_in = dx.shape[2], dx.shape[3]
    n, c, h_out, w_out = dy.shape
    slopes, target = dy.reshape(-1), dx.reshape(-1)
    factor = dx.dtype.type(scale)
    target[:] = 0
    for m in range(n * c):
        for r in range(h_out):
            source = slopes[(m * h_out + r) * w_out : (m * h_out + r + 1) * w_out]
            rows = target[(m * h_in + r * stride_v) * w_in :]
            _spread_row(source, rows, w_in, kh, kw, stride_h, factor)
