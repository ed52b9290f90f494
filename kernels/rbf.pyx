# Euclidean radial basis functions: y_i = sum over j of (x_j - w_ij)^2.

from common cimport real


def rbf(const real[:, ::1] x, const real[:, ::1] w, real[:, ::1] y):
    """Set y to the squared distance of each input to each centre."""
    cdef Py_ssize_t n, i, j
    cdef real difference, total
    with nogil:
        for n in range(x.shape[0]):
            for i in range(w.shape[0]):
                total = 0
                for j in range(w.shape[1]):
                    difference = x[n, j] - w[i, j]
                    total += difference * difference
                y[n, i] = total


def rbf_backward(
    const real[:, ::1] dy, const real[:, ::1] x, const real[:, ::1] w, real[:, ::1] dx,
    real[:, ::1] dw,
):
    """Set dx and dw from dy_i/dx_j = 2 (x_j - w_ij) = -dy_i/dw_ij."""
    cdef Py_ssize_t n, i, j
    cdef real slope
    with nogil:
        for i in range(w.shape[0]):
            for j in range(w.shape[1]):
                dw[i, j] = 0
        for n in range(x.shape[0]):
            for j in range(w.shape[1]):
                dx[n, j] = 0
            for i in range(w.shape[0]):
                for j in range(w.shape[1]):
                    slope = 2 * (x[n, j] - w[i, j]) * dy[n, i]
                    dx[n, j] += slope
                    dw[i, j] -= slope


def rbf_hessian(
    const real[:, ::1] hy, const real[:, ::1] dy, const real[:, ::1] x, const real[:, ::1] w,
    real[:, ::1] hx, real[:, ::1] hw,
):
    """Set hx, hw: the Gauss-Newton part hy slope^2, plus dy times the RBF's own curvature 2."""
    cdef Py_ssize_t n, i, j
    cdef real difference, curvature
    with nogil:
        for i in range(w.shape[0]):
            for j in range(w.shape[1]):
                hw[i, j] = 0
        for n in range(x.shape[0]):
            for j in range(w.shape[1]):
                hx[n, j] = 0
            for i in range(w.shape[0]):
                for j in range(w.shape[1]):
                    difference = x[n, j] - w[i, j]
                    curvature = 4 * hy[n, i] * difference * difference + 2 * dy[n, i]
                    hx[n, j] += curvature
                    hw[i, j] += curvature
