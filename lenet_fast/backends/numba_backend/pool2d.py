"""Pooling without parameters: the maximum or the mean of each window."""

from __future__ import annotations

from lenet_fast.backends.numba_backend.jit import kernel


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
def _hand_row_to_all(dy, x, dx, pitch, kh, kw, stride_h):
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
def _hand_row(dy, x, dx, pitch, kh, kw, stride_h):
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
    """Set dx: each window hands its dy to its first maximum in scan order, or to every one."""
    h_in, w_in = x.shape[2], x.shape[3]
    n, c, h_out, w_out = dy.shape
    slopes, pixels, target = dy.reshape(-1), x.reshape(-1), dx.reshape(-1)
    target[:] = 0
    for m in range(n * c):
        for r in range(h_out):
            row = slopes[(m * h_out + r) * w_out : (m * h_out + r + 1) * w_out]
            top = (m * h_in + r * stride_v) * w_in
            if every:
                _hand_row_to_all(row, pixels[top:], target[top:], w_in, kh, kw, stride_h)
            else:
                _hand_row(row, pixels[top:], target[top:], w_in, kh, kw, stride_h)


@kernel
def avg_pool2d(x, y, kh, kw, stride_v, stride_h):
    """Set y to the mean of each window."""
    h_in, w_in = x.shape[2], x.shape[3]
    n, c, h_out, w_out = y.shape
    pixels, means = x.reshape(-1), y.reshape(-1)
    zero, share = y.dtype.type(0), y.dtype.type(1 / (kh * kw))
    for m in range(n * c):
        for r in range(h_out):
            source = pixels[(m * h_in + r * stride_v) * w_in :]
            target = means[(m * h_out + r) * w_out : (m * h_out + r + 1) * w_out]
            if kh == 2 and kw == 2 and stride_h == 2:  # the window of every LeNet, unrolled
                below = source[w_in:]
                for s in range(w_out):
                    total = source[2 * s] + source[2 * s + 1]
                    target[s] = share * ((total + below[2 * s]) + below[2 * s + 1])
                continue
            for s in range(w_out):
                total = zero
                for u in range(kh):
                    for v in range(kw):
                        total += source[u * w_in + s * stride_h + v]
                target[s] = share * total


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
            for u in range(kh):
                row = target[(m * h_in + r * stride_v + u) * w_in :]
                if kw == 2 and stride_h == 2:
                    for s in range(w_out):
                        row[2 * s] += factor * source[s]
                        row[2 * s + 1] += factor * source[s]
                else:
                    for s in range(w_out):
                        for v in range(kw):
                            row[s * stride_h + v] += factor * source[s]
