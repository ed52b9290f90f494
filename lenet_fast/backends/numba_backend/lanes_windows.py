"""Sub-sampling, average and maximum pooling of a packed tile, a map at a time.

The twin of what kernels/subsample2d.pyx and kernels/pool2d.pyx have for the lane engine. A map of
x lies at vector `x`, and so on.
"""

from __future__ import annotations

from lenet_fast.backends.numba_backend.jit import part
from lenet_fast.backends.numba_backend.lanes import fill, get, put, splat
from lenet_fast.backends.numba_backend.lanes_products import leader, where_same


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
    """Store a share in each input of a window, or add it where windows meet."""
    for u in range(kh):
        for v in range(kw):
            place = corner + u * pitch + v
            if apart:
                put(memory, place, share)
            else:
                put(memory, place, get(memory, place) + share)


@part
def _covered(source, window, result):
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
    apart = _covered(source, window, result)
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
def subsample_gradient_map(memory, dy, result, x, source, window, scale, squared, sums, dw, db):
    """Add a map's share to the gradients of its coefficient and its bias, lane by lane."""
    _sum_map(memory, x, source, window, sums, result)
    to_weight, to_bias = splat(memory, 0, 1), splat(memory, 0, 1)
    for k in range(result.rows * result.columns):
        slope, s = get(memory, dy + k), get(memory, sums + k)
        to_weight = to_weight + slope * (s * s if squared else s)
        to_bias = to_bias + slope
    factor = splat(memory, scale * scale if squared else scale, 1)
    put(memory, dw, get(memory, dw) + factor * to_weight)
    put(memory, db, get(memory, db) + to_bias)


# --- the maximum --------------------------------------------------------------------------------


@part
def _best_of(memory, corner, pitch, kh, kw):
    """Return the maximum of one window."""
    best = get(memory, corner)
    for u in range(kh):
        for v in range(kw):
            best = leader(best, get(memory, corner + u * pitch + v))
    return best


@part
def max_map(memory, x, source, window, y, result):
    """Set one map of y to the maximum of each window."""
    for r in range(result.rows):
        for k in range(result.columns):
            corner = x + r * window.stride_v * source.columns + k * window.stride_h
            if window.kh == 2 and window.kw == 2:
                best = _best_of(memory, corner, source.columns, 2, 2)
            else:
                best = _best_of(memory, corner, source.columns, window.kh, window.kw)
            put(memory, y + r * result.columns + k, best)


@part
def _hand_window(memory, left, apart, x, dx, pitch, kh, kw):
    """Hand what is left to the leader of a window: the first pixel that has its bits."""
    best = _best_of(memory, x, pitch, kh, kw)
    for u in range(kh):
        for v in range(kw):
            tap = u * pitch + v
            seen = get(memory, x + tap)
            share = where_same(left, seen, best, True)
            left = where_same(left, seen, best, False)
            if apart:
                put(memory, dx + tap, share)
            else:
                put(memory, dx + tap, get(memory, dx + tap) + share)


@part
def max_back_map(memory, dy, result, x, source, window, dx):
    """Set one map of dx: each window hands its dy to its first maximum in scan order."""
    apart = _covered(source, window, result)
    if not apart:
        fill(memory, dx, source.rows * source.columns, 0.0)
    for r in range(result.rows):
        for k in range(result.columns):
            corner = r * window.stride_v * source.columns + k * window.stride_h
            left = get(memory, dy + r * result.columns + k)
            if apart and window.kh == 2 and window.kw == 2:
                _hand_window(memory, left, True, x + corner, dx + corner, source.columns, 2, 2)
            else:
                _hand_window(
                    memory, left, apart, x + corner, dx + corner, source.columns, window.kh,
                    window.kw,
                )  # fmt: skip
