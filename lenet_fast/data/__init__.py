"""Data: MNIST and its relatives, the IDX format, and the conversion of images to network inputs."""

from lenet_fast.data.distort import Distortion
from lenet_fast.data.images import centre, looks_inverted, prepare, read_image
from lenet_fast.data.reduced import as_1989, as_1990, fitted
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
    "centre",
    "fitted",
    "load",
    "load_mnist",
    "looks_inverted",
    "prepare",
    "read_image",
]
