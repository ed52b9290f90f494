"""Data: MNIST and its relatives, the IDX format, and the conversion of images to network inputs.

Examples
--------
>>> from lenet_fast import data
>>> splits = data.load("sample")
>>> splits.train.images.shape, splits.test.labels[:5]
((5000, 28, 28), array([4, 0, 6, 2, 5], dtype=uint8))
>>> x = data.prepare(splits.test.images)
>>> x.shape, x.dtype, x.min(), x.max()
((1000, 1, 32, 32), dtype('float32'), np.float32(-0.1), np.float32(1.175))
"""

from lenet_fast.data.distort import Distortion
from lenet_fast.data.images import centre, looks_inverted, prepare, read_image
from lenet_fast.data.reduced import as_1989, as_1990, as_mnist, fitted
from lenet_fast.data.sources import (
    DATASETS,
    DataNotFoundError,
    Dataset,
    Splits,
    load,
    load_mnist,
)

__all__ = [
    "DATASETS",
    "DataNotFoundError",
    "Dataset",
    "Distortion",
    "Splits",
    "as_1989",
    "as_1990",
    "as_mnist",
    "centre",
    "fitted",
    "load",
    "load_mnist",
    "looks_inverted",
    "prepare",
    "read_image",
]
