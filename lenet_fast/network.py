"""A network: a plain list of layers whose shapes fit together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lenet_fast import backends, checks, configs, initialisers, pixels
from lenet_fast.checks import Array
from lenet_fast.layers import MAX_VALUES, RBF, Layer, Shape
from lenet_fast.layers import from_config as layer_from_config
from lenet_fast.layers.squashing import Squashing

__all__ = ["DTYPES", "OUTPUTS", "Counts", "Network"]

OUTPUTS = ("linear", "softmax", "rbf")
"""What the outputs of a network may be; see :class:`Network`."""

DTYPES = ("float32", "float64")
"""Of parameters and images."""

_MAX_LAYERS = 1000
_SCALE = (pixels.BACKGROUND, pixels.INK)
_FAINT_BYTES = bytes(range(pixels.FAINT + 1))
_FAR = 8  # times the larger end of the pixel range: noise, or an attack, may be outside of it


class Counts(NamedTuple):
    """What the papers count: units with those of the input, free parameters, connections."""

    units: int
    parameters: int
    connections: int


class Network:
    """Layers from an image to one number a class.

    Parameters
    ----------
    layers : sequence of Layer
        In order. The network takes them over: it makes their arrays and names those without a
        name, so a layer can be part of one network only.
    input_shape : (c, h, w)
        Shape of one image.
    output : {"linear", "softmax", "rbf"}
        What the outputs are: scores of which the largest wins; the same, to be read through a
        softmax, which is not part of the network; or the penalties of a last RBF layer, of which
        the smallest wins.
    dtype : {"float32", "float64"}
        Of parameters and images.
    pixel_range : (paper, ink) or None
        What the bytes 0 and 255 become where the network is given bytes, by default -0.1 and 1.175
        (LeCun et al. 1998, section II.B). None: not known, since the weights are those of another
        program; the network then takes floats only, until :attr:`pixel_range` is set.

    Attributes
    ----------
    layers : list of Layer
    input_shape, output_shape : tuple of int
        Of one image, and of its outputs: (k,).
    shapes : list of tuple of int
        Input shape of each layer, and the output shape of the last.
    output : str
    dtype : numpy.dtype
    pixel_range : tuple of float
        Can be set.
    pixel_range_known : bool
        Whether it was given, or is the default for want of it.
    inverted : bool or None
        Whether it was trained on dark ink on light paper, the reverse of MNIST's; None if that is
        not known. Training sets it, and model files keep it. :meth:`predict` reads images as they
        are; what brings images from elsewhere into the network's form looks at it.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind; if the output shape of a layer is not what the next
        one expects, which it names; if two layers have one name, or one is part of a network.

    Notes
    -----
    A new network is initialised by ``lecun1998`` with seed 0; see :meth:`initialise`.

    Examples
    --------
    >>> from lenet_fast.layers import Conv2D, Dense, ScaledTanh
    >>> from lenet_fast.network import Network
    >>> net = Network([Conv2D(1, 4, 5), ScaledTanh(), Dense(4 * 28 * 28, 10)], output="softmax")
    >>> net.counts()
    Counts(units=4170, parameters=31474, connections=112906)
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_shape: tuple[int, int, int] = (1, 32, 32),
        output: str = "linear",
        dtype: npt.DTypeLike = "float32",
        pixel_range: tuple[float, float] | None = _SCALE,
    ) -> None:
        self.layers = _checked_layers(layers)
        self.input_shape = checks.image_shape("input_shape", input_shape)
        self.output = checks.choice("output", output, OUTPUTS)
        self.dtype = _checked_dtype(dtype)
        self._engines: dict[str, Any] = {}  # of predict, by backend
        self.pixel_range = _SCALE if pixel_range is None else pixel_range
        self.pixel_range_known = pixel_range is not None
        self.inverted: bool | None = None
        _name(self.layers)
        self.shapes = _chain(self.layers, self.input_shape)
        self.output_shape = self.shapes[-1]
        self._check_output()
        for layer, shape in zip(self.layers, self.shapes[:-1], strict=True):
            layer.build(shape, self.dtype)
        self.initialise()

    def _check_output(self) -> None:
        last = self.layers[-1]
        if len(self.output_shape) != 1:
            raise ValueError(
                f"layers: expected a last layer with one number a class, such as Dense, got "
                f"{last.name} with outputs of shape {self.output_shape}"
            )
        if isinstance(last, RBF) != (self.output == "rbf"):
            raise ValueError(
                f"output: expected 'rbf' where the last layer is an RBF, and only there, got "
                f"{self.output!r} with a last layer {last.name} ({type(last).__name__})"
            )

    @property
    def pixel_range(self) -> tuple[float, float]:
        """What the bytes 0 and 255 become."""
        return self._pixel_range

    @pixel_range.setter
    def pixel_range(self, pixel_range: tuple[float, float]) -> None:
        self._pixel_range = _checked_pixel_range(pixel_range)
        self.pixel_range_known = True
        self._engines.clear()  # some have read it already

    @property
    def parameters(self) -> dict[str, Array]:
        """All arrays by name, such as ``C1.w``, fixed ones too; not copies."""
        return {
            f"{layer.name}.{name}": array
            for layer in self.layers
            for name, array in layer.parameters.items()
        }

    @property
    def trainable_names(self) -> list[str]:
        """Names of the parameters that are learned."""
        return [
            f"{layer.name}.{name}"
            for layer in self.layers
            if layer.trainable
            for name in layer.parameters
        ]

    @property
    def stages(self) -> dict[str, str]:
        """By the name of each layer that does more than squash, that of its last squashing."""
        stages: dict[str, str] = {}
        name = ""
        for layer in self.layers:
            if not name or not isinstance(layer, Squashing):
                name = layer.name
            stages[name] = layer.name
        return stages

    def initialise(self, initialiser: str = "lecun1998", seed: int = 0) -> None:
        """Set all trainable parameters anew.

        Parameters
        ----------
        initialiser : str
            One of :data:`lenet_fast.initialisers.INITIALISERS`.
        seed : int
            The same seed gives the same weights, and another one others.
        """
        initialisers.initialise(self.layers, initialiser, seed)

    def predict(self, x: Array) -> Array:
        """Return the outputs for one image, or for several.

        Parameters
        ----------
        x : ndarray
            Bytes (rows, columns) or (n, rows, columns), 0 paper to 255 ink, for a network with
            one square input map; or floats in the network's dtype and on its scale,
            (c, h, w) or (n, c, h, w): see :func:`lenet_fast.data.prepare`.

        Returns
        -------
        ndarray (k,) or (n, k)
            For one image, nothing else is allocated, and it takes microseconds; its outputs can
            differ by rounding from those of the same image among several. The arrays of the
            network are read at each call. Calls may come from several threads at once.

        Raises
        ------
        TypeError, ValueError
            If the images do not fit the network; or if they are on another scale: bytes of which
            none is above 16, though not all are 0, or floats far beyond :attr:`pixel_range`.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> network = models.lenet5()
        >>> images = data.load("sample").test.images
        >>> network.predict(images[0]).shape, network.predict(images[:3]).shape
        ((10,), (3, 10))
        """
        _check_images(x, self)
        backend = backends.current()
        engine = self._engines.get(backend)
        if engine is None:
            # Engines know networks: this import cannot come first.
            from lenet_fast import engines, losses

            engine = engines.create(self, losses.default_for(self), batch_size=1, backend=backend)
            self._engines[backend] = engine
        return engine.predict_one(x) if _is_one_image(x) else engine.predict(x)

    def activations(self, x: Array) -> dict[str, Array]:
        """Return what every layer makes of one image, or of several.

        Parameters
        ----------
        x : ndarray
            As for :meth:`predict`. All layers' outputs for all images are kept: for LeNet-5,
            about 65,000 bytes an image.

        Returns
        -------
        dict of str to ndarray
            By the names of the layers, in their order: maps (c, h, w) or numbers (k,), for several
            images with an axis n before them. A squashing function is a layer of its own: what
            the units of C1 hand on is called ``C1.squash``.

        Raises
        ------
        TypeError, ValueError
            If the images do not fit the network.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> found = models.lenet5().activations(data.load("sample").test.images[0])
        >>> found["C1"].shape, found["F6.squash"].shape
        ((6, 28, 28), (84,))
        """
        from lenet_fast import engines, losses  # as in predict

        _check_images(x, self)
        engine = engines.LayersEngine(self, losses.default_for(self), threads=1)
        if _is_one_image(x):
            return {name: y[0] for name, y in engine.activations(x[np.newaxis]).items()}
        return engine.activations(x)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the engines of :meth:`predict`: their threads cannot be copied."""
        return self.__dict__ | {"_engines": {}}

    def classify(self, outputs: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the winning class of each row of outputs; of equals, the first.

        Parameters
        ----------
        outputs : array_like (n, k) or (k,)
            Of :meth:`predict`.

        Returns
        -------
        ndarray (n,) or a number, intp

        Raises
        ------
        TypeError, ValueError
            If these cannot be outputs of the network: images, or NaN.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> network = models.lenet5(pooling="max", output="softmax")
        >>> network.classify(network.predict(data.load("sample").test.images[:3])).shape
        (3,)
        """
        return self.winners(self._outputs(outputs, "classify"))

    def winners(self, outputs: Array) -> npt.NDArray[np.intp]:
        """Return what :meth:`classify` does, unchecked: training meets NaN, and reports it."""
        winners = outputs.argmin(axis=-1) if self.output == "rbf" else outputs.argmax(axis=-1)
        return np.asarray(winners, np.intp)[()]

    def probabilities(self, outputs: npt.ArrayLike) -> Array:
        """Return the softmax of each row of outputs.

        Parameters
        ----------
        outputs : array_like (n, k) or (k,)
            Of :meth:`predict`.

        Returns
        -------
        ndarray (n, k) or (k,)

        Raises
        ------
        TypeError, ValueError
            If the network's output is not "softmax": other outputs are no probabilities. And as
            :meth:`classify` does.
        """
        if self.output != "softmax":
            raise ValueError(
                f"output: expected a network with output 'softmax' for probabilities, "
                f"got {self.output!r}"
            )
        rows = self._outputs(outputs, "probabilities")
        powers: Array = np.exp(rows - rows.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def _outputs(self, outputs: npt.ArrayLike, method: str) -> Array:
        """Return what :meth:`predict` may have returned, (n, k) or (k,)."""
        (k,) = self.output_shape
        way_out = f"call network.{method}(network.predict(images))"
        if not isinstance(outputs, (np.ndarray, list, tuple)):
            raise TypeError(
                f"outputs: expected an array (n, {k}) or ({k},) of predict, got "
                f"{type(outputs).__name__}; {way_out}"
            )
        try:
            rows = np.asarray(outputs)
        except ValueError:  # rows of several lengths
            raise ValueError(
                f"outputs: expected rows of {k} numbers, got rows of several lengths"
            ) from None
        if rows.ndim not in (1, 2) or rows.shape[-1] != k:
            raise ValueError(
                f"outputs: expected shape (n, {k}) or ({k},), as predict returns, got "
                f"{rows.shape}; if these are images, {way_out}"
            )
        if rows.dtype.kind != "f":
            raise TypeError(
                f"outputs: expected floats, as predict returns, got {rows.dtype}; if these are "
                f"images, {way_out}"
            )
        if not np.isfinite(rows).all():
            raise ValueError("outputs: expected finite numbers, got NaN or infinity")
        return rows

    def counts(self) -> Counts:
        """Return units, free parameters and connections, as the papers count them.

        Squashing adds no units, the input does. Pooling and RBF layers have connections, though
        no free parameters.
        """
        rows = self._counts_by_layer()
        sums = [sum(row[column] for row in rows) for column in range(3)]
        return Counts(math.prod(self.input_shape) + sums[0], sums[1], sums[2])

    def _counts_by_layer(self) -> list[Counts]:
        return [
            Counts(layer.units(shape), layer.parameter_count(), layer.connections(shape))
            for layer, shape in zip(self.layers, self.shapes[:-1], strict=True)
        ]

    def summary(self) -> str:
        """Return a table of the layers: output shape, units, parameters, connections."""
        rows: list[tuple[str, ...]] = [
            ("layer", "kind", "output", "units", "parameters", "connections")
        ]
        rows.append(
            ("input", "", _size_text(self.input_shape), f"{math.prod(self.input_shape):,}", "", "")
        )
        counts = self._counts_by_layer()
        for layer, shape, count in zip(self.layers, self.shapes[1:], counts, strict=True):
            numbers = (f"{number:,}" if number else "" for number in count)
            rows.append((layer.name, type(layer).__name__, _size_text(shape), *numbers))
        rows.append(("total", "", "", *(f"{number:,}" for number in self.counts())))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description, without the arrays, for :meth:`from_config`."""
        config = {
            "layers": [layer.config() for layer in self.layers],
            "input_shape": list(self.input_shape),
            "output": self.output,
            "dtype": self.dtype.name,
            "pixel_range": list(self.pixel_range) if self.pixel_range_known else None,
        }
        # Those that were never trained have none, nor have files from before there was one.
        return config if self.inverted is None else {**config, "inverted": self.inverted}

    @classmethod
    def from_config(cls, config: object) -> Network:
        """Return a new network of the architecture that a :meth:`config` describes.

        The description may come from any file, so all of it is checked. The weights are those
        of a new network.

        Raises
        ------
        ValueError
            If it is not such a description, or the network would be absurdly large.
        """
        keys = ("layers", "input_shape", "output", "dtype", "pixel_range", "inverted")
        added = {"pixel_range": list(_SCALE), "inverted": None}
        arguments = configs.checked("network", config, keys, added)
        described, inverted = arguments.pop("layers"), arguments.pop("inverted")
        if not isinstance(inverted, bool | None):
            raise ValueError(f"inverted: expected true or false, got {checks.kind(inverted)}")
        if not isinstance(described, list) or len(described) > _MAX_LAYERS:
            raise ValueError(
                f"layers: expected a list of 1 to {_MAX_LAYERS}, got {checks.kind(described)}"
            )
        try:
            network = cls([layer_from_config(layer) for layer in described], **arguments)
        except TypeError as error:
            raise ValueError(f"network: {error}") from error
        network.inverted = inverted
        return network


def _check_images(x: object, network: Network) -> None:
    """Raise an error that says what to do where something is given for images; engines do not."""
    if not isinstance(x, np.ndarray):
        hint = "; pass its images" if hasattr(x, "images") else ""
        raise TypeError(f"x: expected a NumPy array of images, got {type(x).__name__}{hint}")
    if x.dtype != np.uint8:
        input_shape = network.input_shape
        if (x.dtype.kind == "f" and x.shape[-3:] != input_shape) or x.ndim > 4:
            several = ", ".join(map(str, ("n", *input_shape)))
            raise ValueError(
                f"x: expected floats of shape {input_shape}, or ({several}) for several "
                f"images, got shape {x.shape}; lenet_fast.data.prepare makes them of bytes"
            )
        if x.dtype.kind == "f" and x.size and network.pixel_range_known:
            paper, ink = network.pixel_range
            largest = x.max()
            if _FAR * max(abs(paper), abs(ink)) < largest < math.inf:
                raise ValueError(
                    f"x: expected floats from {paper:g} paper to {ink:g} ink, got up to "
                    f"{largest:g}; bring them to that scale, or set the network's pixel_range if "
                    "it was trained on another"
                )
        return
    if x.ndim not in (2, 3):
        raise ValueError(
            f"x: expected bytes (n, rows, columns), or (rows, columns) for one image, got {x.shape}"
        )
    if x.ndim == 3:
        pixels.check_axes("x", x, network.input_shape[-1])
    # For one image this takes half as long as its maximum.
    if x.ndim != 2 or not x.tobytes().lstrip(_FAINT_BYTES):
        pixels.check_bytes("x", x)


def _is_one_image(x: object) -> bool:
    return isinstance(x, np.ndarray) and x.ndim == (2 if x.dtype == np.uint8 else 3)


def _checked_layers(given: Sequence[Layer]) -> list[Layer]:
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"layers: expected a list of layers, got {checks.kind(given)}")
    if not 1 <= len(given) <= _MAX_LAYERS:
        raise ValueError(f"layers: expected 1 to {_MAX_LAYERS} layers, got {len(given)}")
    for index, layer in enumerate(given):
        if not isinstance(layer, Layer):
            raise TypeError(f"layers: expected layers, got {checks.kind(layer)} at {index}")
        if layer.parameters or any(layer is other for other in given[:index]):
            raise ValueError(
                f"layers: expected new layers, got {layer.name or type(layer).__name__} at "
                f"{index}, which is part of a network already"
            )
    return list(given)


def _checked_pixel_range(given: object) -> tuple[float, float]:
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise TypeError(f"pixel_range: expected (paper, ink), got {checks.kind(given)}")
    paper, ink = (checks.real("pixel_range", number, np.dtype(np.float32)) for number in given)
    if np.float32(paper) == np.float32(ink):
        raise ValueError(f"pixel_range: expected two numbers that differ, got {paper:g} twice")
    return paper, ink


def _checked_dtype(given: npt.DTypeLike) -> np.dtype[Any]:
    if isinstance(given, (str, np.dtype, type)):  # None would count as float64 to NumPy
        for name in DTYPES:
            if given in (name, np.dtype(name)):
                return np.dtype(name)
    raise TypeError(f"dtype: expected float32 or float64, got {checks.kind(given)}")


def _name(given: list[Layer]) -> None:
    """Give a name to each layer without one, and check that all differ."""
    taken: set[str] = set()
    for layer in given:
        if layer.name in taken:
            raise ValueError(f"layers: expected names that differ, got {layer.name} twice")
        if layer.name:
            taken.add(layer.name)
    for layer in given:
        number = 1
        while not layer.name:
            name = f"{layer.label}{number}"
            if name not in taken:
                layer.name = name
                taken.add(name)
            number += 1


def _chain(given: list[Layer], input_shape: Shape) -> list[Shape]:
    """Return the shape before and after every layer; ValueError where two do not fit together."""
    shapes = [input_shape]
    values = 0
    for layer in given:
        try:
            shapes.append(layer.output_shape(shapes[-1]))
        except ValueError as error:
            raise ValueError(f"layer {layer.name}: {error}") from error
        values += sum(map(math.prod, layer.parameter_shapes(shapes[-2]).values()))
        if max(values, *map(math.prod, shapes)) > MAX_VALUES:
            raise ValueError(
                f"layer {layer.name}: expected at most {MAX_VALUES} parameters in a network, and "
                "units in a layer, got more"
            )
    return shapes


def _size_text(shape: Shape) -> str:
    return " x ".join(map(str, shape))
