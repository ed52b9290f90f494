"""The functions that CNN notebooks define themselves, on fast kernels.

In many courses, students write a convolutional network in NumPy: ``conv_forward``,
``pool_backward`` and so on, as loops over images and pixels. This module has these functions with
the same names, signatures, caches and results. A notebook that imports them runs many times
faster::

    from lenet_fast.drop_in import conv_forward, conv_backward, pool_forward, pool_backward

They replace the functions of Andrew Ng's Deep Learning Specialization (:func:`zero_pad`,
:func:`conv_single_step`, :func:`conv_forward`, :func:`conv_backward`, :func:`pool_forward`,
:func:`create_mask_from_window`, :func:`distribute_value`, :func:`pool_backward`); of mattwang44's
LeNet-from-Scratch, which adds :func:`conv_SDLM`, :func:`subsampling_forward` and
:func:`subsampling_backward`; and :func:`im2col` and :func:`col2im` of *Deep Learning from Scratch*.

Other courses have other layouts, caches and defaults, often under the same names. They have
modules: :mod:`lenet_fast.drop_in.cs231n`, :mod:`lenet_fast.drop_in.dlfs` (the layers of *Deep
Learning from Scratch*) and :mod:`lenet_fast.drop_in.holberton`.

Arrays are images (m, n_H, n_W, n_C), filters (f, f, n_C_prev, n_C) and biases (1, 1, 1, n_C);
:func:`im2col` takes (N, C, H, W). If all arrays of a call are float32, so are its results;
otherwise all real numbers are converted to float64. Wrong arguments raise TypeError or ValueError,
where a notebook's own functions would broadcast, or return zeros.

Where such code differs from the definition, the default follows the code, and an option selects
the definition: ``pool_backward(..., ties="first")``, ``pool_backward(..., curvature=True)``, and
``{"reduction": "sum"}`` for :func:`subsampling_forward`. Sums are added in another order, so
results agree to rounding.

Returned images are views of memory in the kernels' order, map by map. NumPy's elementwise
functions keep that order, so nothing is rearranged between one of these functions and the next.
``np.ascontiguousarray`` gives the notebooks' order, for code that needs it in memory.

Large batches are split over as many threads as the machine has cores, or as
``LENET_FAST_THREADS`` says; the number of threads does not change a bit of the results. The backend
is the current one of :mod:`lenet_fast.backends`.

Examples
--------
A small LeNet, as a notebook has it, and four steps of gradient descent:

>>> import numpy as np
>>> from lenet_fast import data
>>> from lenet_fast.drop_in import conv_backward, conv_forward, pool_backward, pool_forward
>>> train = data.load("sample").train.subset(100)
>>> X, Y = train.images[..., np.newaxis] / 255, np.eye(10)[train.labels]
>>> rng = np.random.default_rng(1)
>>> W1, b1 = rng.normal(0, 0.2, (5, 5, 1, 4)), np.zeros((1, 1, 1, 4))
>>> W2, b2 = rng.normal(0, 0.1, (5, 5, 4, 8)), np.zeros((1, 1, 1, 8))
>>> W3 = rng.normal(0, 0.1, (128, 10))
>>> conv, pool = {"stride": 1, "pad": 0}, {"f": 2, "stride": 2}
>>> for step in range(4):
...     Z1, cache1 = conv_forward(X, W1, b1, conv)
...     P1, cache2 = pool_forward(np.tanh(Z1), pool, mode="average")
...     Z2, cache3 = conv_forward(P1, W2, b2, conv)
...     P2, cache4 = pool_forward(np.tanh(Z2), pool, mode="max")
...     flat = P2.reshape(len(X), -1)
...     scores = np.exp(flat @ W3)
...     scores /= scores.sum(axis=1, keepdims=True)
...     print(f"loss {-np.log(scores[Y == 1]).mean():.4f}")
...     dscores = (scores - Y) / len(X)
...     dP2 = (dscores @ W3.T).reshape(P2.shape)
...     dZ2 = pool_backward(dP2, cache4, mode="max") * (1 - np.tanh(Z2) ** 2)
...     dP1, dW2, db2 = conv_backward(dZ2, cache3)
...     dZ1 = pool_backward(dP1, cache2, mode="average") * (1 - np.tanh(Z1) ** 2)
...     _, dW1, db1 = conv_backward(dZ1, cache1)
...     W3 = W3 - flat.T @ dscores
...     W2, b2 = W2 - dW2, b2 - db2
...     W1, b1 = W1 - dW1, b1 - db1
loss 2.3851
loss 2.1026
loss 1.8404
loss 1.5361
"""

from lenet_fast.drop_in import cs231n, dlfs, holberton
from lenet_fast.drop_in._conv import (
    conv_backward,
    conv_forward,
    conv_SDLM,
    conv_single_step,
    zero_pad,
)
from lenet_fast.drop_in._pool import (
    create_mask_from_window,
    distribute_value,
    pool_backward,
    pool_forward,
    subsampling_backward,
    subsampling_forward,
)
from lenet_fast.drop_in.dlfs import col2im, im2col

__all__ = [
    "col2im",
    "conv_SDLM",
    "conv_backward",
    "conv_forward",
    "conv_single_step",
    "create_mask_from_window",
    "cs231n",
    "distribute_value",
    "dlfs",
    "holberton",
    "im2col",
    "pool_backward",
    "pool_forward",
    "subsampling_backward",
    "subsampling_forward",
    "zero_pad",
]
