"""Max pooling: on a packed tile, a map at a time; then the operations.

Average pooling: see subsample2d.py.
"""

from __future__ import annotations

from lenet_fast.backends.numba_backend.jit import kernel, part
from lenet_fast.backends.numba_backend.layers.subsample2d import covered
from lenet_fast.backends.numba_backend.vector.products import leader, where_same
from lenet_fast.backends.numba_backend.vector.vectors import fill, get, put

__all__ = ["max_pool2d", "max_pool2d_backward"]


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
def _route_window(memory, left, apart, x, dx, pitch, kh, kw):
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
    """Set one map of dx: each window passes its dy to its first maximum in scan order."""
    apart = covered(source, window, result)
    if not apart:
        fill(memory, dx, source.rows * source.columns, 0.0)
    for r in range(result.rows):
        for k in range(result.columns):
            corner = r * window.stride_v * source.columns + k * window.stride_h
            left = get(memory, dy + r * result.columns + k)
            if apart and window.kh == 2 and window.kw == 2:
                _route_window(memory, left, True, x + corner, dx + corner, source.columns, 2, 2)
            else:
                _route_window(
                    memory, left, apart, x + corner, dx + corner, source.columns, window.kh,
                    window.kw,
                )  # fmt: skip


# --- the operations -----------------------------------------------------------------------------


@kernel
def _larger(candidate, best):
    """Return whether a later pixel takes the lead: NaN beats numbers, the first of equals stays."""
    # &, not "and": a comparison is cheaper than a branch nobody can foresee.
    return (not candidate <= best) & (best == best)


@kernel
def _max_row(x, pitch, y, kh, kw, stride_h):
    """Set y to one row of maxima; `pitch` elements of x lead to its next row."""
    if kh == 2 and kw == 2 and stride_h == 2:  # the window of every LeNet, unrolled
        below = x[pitch:]
        for s in range(y.size):
            a, b, c, d = x[2 * s], x[2 * s + 1], below[2 * s], below[2 * s + 1]
            top = b if _larger(b, a) else a
            bottom = d if _larger(d, c) else c
            y[s] = bottom if _larger(bottom, top) else top
        return
    for s in range(y.size):
        best = x[s * stride_h]
        for u in range(kh):
            for v in range(kw):
                value = x[u * pitch + s * stride_h + v]
                best = value if _larger(value, best) else best
        y[s] = best


@kernel
def max_pool2d(x, y, kh, kw, stride_v, stride_h):
    """Set y to the maximum of each window."""
    h_in, w_in = x.shape[2], x.shape[3]
    n, c, h_out, w_out = y.shape
    pixels, maxima = x.reshape(-1), y.reshape(-1)
    for m in range(n * c):
        for r in range(h_out):
            row = maxima[(m * h_out + r) * w_out : (m * h_out + r + 1) * w_out]
            _max_row(pixels[(m * h_in + r * stride_v) * w_in :], w_in, row, kh, kw, stride_h)


@kernel
def _route_row_to_all(dy, x, dx, pitch, kh, kw, stride_h):
    """Add one row of dy to every maximum of its windows."""
    zero = dx.dtype.type(0)
    for s in range(dy.size):
        first = s * stride_h
        best = x[first]
        for u in range(kh):
            for v in range(kw):
                value = x[first + u * pitch + v]
                best = value if _larger(value, best) else best
        for u in range(kh):
            for v in range(kw):
                place = first + u * pitch + v
                dx[place] += dy[s] if x[place] == best else zero


@kernel
def _route_row(dy, x, dx, pitch, kh, kw, stride_h):
    """Add one row of dy to the first maxima of its windows."""
    if kh == 2 and kw == 2 and stride_h == 2:
        zero = dx.dtype.type(0)
        under, dx_under = x[pitch:], dx[pitch:]
        for s in range(dy.size):
            a, b, c, d = x[2 * s], x[2 * s + 1], under[2 * s], under[2 * s + 1]
            right, right_under = _larger(b, a), _larger(d, c)
            below = _larger(d if right_under else c, b if right else a)
            upper, lower = zero if below else dy[s], dy[s] if below else zero
            dx[2 * s] += zero if right else upper
            dx[2 * s + 1] += upper if right else zero
            dx_under[2 * s] += zero if right_under else lower
            dx_under[2 * s + 1] += lower if right_under else zero
        return
    for s in range(dy.size):
        first = s * stride_h
        winner, best = first, x[first]
        for u in range(kh):
            for v in range(kw):
                place = first + u * pitch + v
                winner = place if _larger(x[place], best) else winner
                best = x[place] if _larger(x[place], best) else best
        dx[winner] += dy[s]


@kernel
def max_pool2d_backward(dy, x, dx, kh, kw, stride_v, stride_h, every):
    """Set dx: each window passes its dy to its first maximum in scan order, or to all maxima."""
    h_in, w_in = x.shape[2], x.shape[3]
    n, c, h_out, w_out = dy.shape
    slopes, pixels, target = dy.reshape(-1), x.reshape(-1), dx.reshape(-1)
    target[:] = 0
    for m in range(n * c):
        for r in range(h_out):
            row = slopes[(m * h_out + r) * w_out : (m * h_out + r + 1) * w_out]
            top = (m * h_in + r * stride_v) * w_in
            if every:
                _route_row_to_all(row, pixels[top:], target[top:], w_in, kh, kw, stride_h)
            else:
                _route_row(row, pixels[top:], target[top:], w_in, kh, kw, stride_h)
