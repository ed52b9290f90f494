"""Fully connected layer."""

from __future__ import annotations

import numpy as np

__all__ = ["dense", "dense_input_gradient", "dense_weight_gradient"]


def dense(x, w, b, y):
    """Set y = x w^T + b."""
    np.matmul(x, w.T, out=y)
    y += b


def dense_input_gradient(dy, w, dx):
    """Set dx = dy w."""
    np.matmul(dy, w, out=dx)


def dense_weight_gradient(dy, x, dw, db):
    """Set dw = dy^T x and db = sum of dy over the batch."""
    np.matmul(dy.T, x, out=dw)
    np.sum(dy, axis=0, out=db)
