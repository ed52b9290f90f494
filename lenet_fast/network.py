"""A network: a list of layers whose shapes fit together."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from lenet_fast import backends, checks, choices, configs, initialisers, memory, notebooks, pixels
from lenet_fast.checks import Array
from lenet_fast.layers import MAX_VALUES, RBF, Dropout, Layer, Shape
from lenet_fast.layers import from_config as layer_from_config
from lenet_fast.layers.activations import Activation, activation

__all__ = ["DTYPES", "OUTPUTS", "Counts", "Network"]

OUTPUTS = get_args(choices.Output)
"""Kinds of network output; see :class:`Network`."""

DTYPES = get_args(choices.DType)
"""Choices for the dtype of parameters and images."""

DTypeLike = choices.DType | type[np.floating[Any]] | type[float] | np.dtype[np.floating[Any]]
"""A dtype by its name, or as NumPy has it."""

_HEAD = ("layer", "kind", "output", "units", "parameters", "connections")
_MAX_LAYERS = 1000
_SCALE = (pixels.BACKGROUND, pixels.INK)
_FAINT_BYTES = bytes(range(pixels.FAINT + 1))
_FAR = 8  # times the larger end of the pixel range; noise or attacks may exceed it


class Counts(NamedTuple):
    """Counts as in the papers: units including those of the input, free parameters, connections.

    Examples
    --------
    >>> from lenet_fast import models
    >>> counts = models.lenet5().counts()
    >>> counts.units, counts.parameters, counts.connections
    (9118, 60000, 340908)
    """

    units: int
    parameters: int
    connections: int


class Network:
    """Layers from an image to one number per class.

    Parameters
    ----------
    layers : sequence of Layer or str
        In order. A str is an activation, such as "relu" or "leaky_relu:0.2"; see
        :func:`lenet_fast.layers.activation`. The network takes ownership: it allocates the layers'
        arrays and names those without a name, so a layer can be part of one network only.
    input_shape : (c, h, w)
        Shape of one image.
    output : {"linear", "softmax", "rbf"}
        What the outputs are: scores, of which the largest wins; the same, meant for a softmax,
        which is not part of the network; or the penalties of a last RBF layer, of which the
        smallest wins.
    dtype : {"float32", "float64"}
        Dtype of parameters and images.
    pixel_range : (background, foreground) or None
        Values of the bytes 0 and 255 on the network's scale, by default -0.1 and 1.175 (LeCun et
        al. 1998, section II.B). None: unknown, because the weights come from another program; the
        network then takes floats only, until :attr:`pixel_range` is set.

    Attributes
    ----------
    layers : list of Layer
    input_shape, output_shape : tuple of int
        Shapes of one image and of its outputs: (k,).
    shapes : list of tuple of int
        Input shape of each layer, and the output shape of the last.
    output : str
    dtype : numpy.dtype
    pixel_range : tuple of float
        Can be set.
    pixel_range_known : bool
        Whether the range was given; if not, :attr:`pixel_range` is the default.
    inverted : bool or None
        Whether the network was trained on dark digits on light, the reverse of MNIST's; None if
        unknown. Training sets it, and model files store it. :meth:`predict` does not use it; code
        that prepares images from elsewhere does.
    reduced : bool
        Whether the network was trained on digits that :func:`lenet_fast.data.as_1990` had reduced;
        False by default. Used and stored like `inverted`.
    classes : tuple of str
        Names of the outputs; by default their numbers, "0", "1" and so on. Can be set; training
        sets those of the data set.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind, if a layer's output shape does not fit the next layer
        (the message names it), if two layers share a name, or if one already has a network.

    Notes
    -----
    A new network is initialised with ``lecun1998`` and seed 0; see :meth:`initialise`.

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
        layers: Sequence[Layer | str],
        *,
        input_shape: tuple[int, int, int] = (1, 32, 32),
        output: choices.Output = "linear",
        dtype: DTypeLike = "float32",
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
        self.reduced = False
        _name(self.layers)
        self.shapes = _chain(self.layers, self.input_shape)
        self.output_shape = self.shapes[-1]
        self._check_output()
        self._classes = tuple(map(str, range(self.output_shape[0])))
        for layer, shape in zip(self.layers, self.shapes[:-1], strict=True):
            layer.build(shape, self.dtype)
        self._gather()
        self.initialise()

    def _gather(self) -> None:
        """Let the parameters lie one behind the other, trainable ones first: so the engines for
        batches need no copies of them."""
        places = [
            (layer.parameters, name)
            for layer in sorted(self.layers, key=lambda layer: not layer.trainable)
            for name in layer.parameters
        ]
        arrays = [parameters[name] for parameters, name in places]
        for (parameters, name), gathered in zip(places, memory.zeros_like(arrays), strict=True):
            gathered[...] = parameters[name]
            parameters[name] = gathered

    def _check_output(self) -> None:
        last = self.layers[-1]
        if len(self.output_shape) != 1:
            raise ValueError(
                f"layers: expected a last layer with one number per class, such as Dense, got "
                f"{last.name} with outputs of shape {self.output_shape}"
            )
        if isinstance(last, RBF) != (self.output == "rbf"):
            raise ValueError(
                f"output: expected 'rbf' if, and only if, the last layer is an RBF, got "
                f"{self.output!r} with a last layer {last.name} ({type(last).__name__})"
            )

    @property
    def pixel_range(self) -> tuple[float, float]:
        """Values of the bytes 0 and 255 on the network's scale.

        Examples
        --------
        >>> from lenet_fast import models
        >>> models.lenet5().pixel_range, models.lenet1989().pixel_range
        ((-0.1, 1.175), (-1.0, 1.0))
        """
        return self._pixel_range

    @pixel_range.setter
    def pixel_range(self, pixel_range: tuple[float, float]) -> None:
        self._pixel_range = _checked_pixel_range(pixel_range)
        self.pixel_range_known = True
        self._engines.clear()  # existing ones may have read the old range

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs; by default their numbers.

        Examples
        --------
        >>> from lenet_fast.layers import Conv2D, Dense
        >>> from lenet_fast.network import Network
        >>> network = Network([Conv2D(1, 4, 5), Dense(4 * 28 * 28, 2)], output="softmax")
        >>> network.classes
        ('0', '1')
        >>> network.classes = ["cat", "dog"]
        >>> Network.from_config(network.config()).classes
        ('cat', 'dog')
        """
        return self._classes

    @classes.setter
    def classes(self, names: Sequence[str]) -> None:
        self._classes = checks.class_names("classes", names, self.output_shape[0])

    @property
    def parameters(self) -> dict[str, Array]:
        """All arrays by name, such as ``C1.w``, including fixed ones; not copies.

        Examples
        --------
        >>> from lenet_fast import models
        >>> network = models.lenet5()
        >>> network.parameters["C3.w"].shape, network.parameters["OUTPUT.w"].shape
        ((16, 6, 5, 5), (10, 84))
        >>> network.parameters["F6.b"][...] = 0  # changes the network
        """
        return {
            f"{layer.name}.{name}": array
            for layer in self.layers
            for name, array in layer.parameters.items()
        }

    def get_weights(self) -> list[Array]:
        """Return copies of all arrays, including fixed ones, in the order of :attr:`parameters`.

        That is layer by layer, from the input to the output, the weights ``w`` before the biases
        ``b``: a fixed order, as federated clients and others exchange lists.

        Returns
        -------
        list of ndarray
            In the network's dtype.

        Examples
        --------
        The mean of two clients' networks:

        >>> from lenet_fast import models
        >>> clients = models.lenet5(seed=1), models.lenet5(seed=2)
        >>> weights = [client.get_weights() for client in clients]
        >>> server = models.lenet5()
        >>> server.set_weights([(one + other) / 2 for one, other in zip(*weights)])
        >>> list(server.parameters)[:4], [each.shape for each in weights[0]][:4]
        (['C1.w', 'C1.b', 'S2.w', 'S2.b'], [(6, 1, 5, 5), (6,), (6,), (6,)])
        """
        return [array.copy() for array in self.parameters.values()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Copy arrays into the network; its engines and optimisers stay valid.

        Parameters
        ----------
        weights : sequence of ndarray
            As from :meth:`get_weights`: of the same number, order, shapes and dtype.

        Raises
        ------
        TypeError, ValueError
            If they are not; the message names the parameter, and the network is unchanged.

        Examples
        --------
        >>> from lenet_fast import models
        >>> network, other = models.lenet5(seed=1), models.lenet5(seed=2)
        >>> network.set_weights(other.get_weights())
        >>> bool((network.parameters["C1.w"] == other.parameters["C1.w"]).all())
        True
        >>> try:
        ...     network.set_weights(network.get_weights()[::-1])
        ... except ValueError as error:
        ...     print(error)
        weights: C1.w: expected shape (6, 1, 5, 5) (that of the network), got (10, 84)
        """
        if isinstance(weights, np.ndarray | str) or not isinstance(weights, Sequence):
            raise TypeError(f"weights: expected a list of arrays, got {checks.kind(weights)}")
        parameters = self.parameters
        if len(weights) != len(parameters):
            raise ValueError(
                f"weights: expected {len(parameters)} arrays, {', '.join(parameters)}; got "
                f"{len(weights)}"
            )
        for (name, array), value in zip(parameters.items(), weights, strict=True):
            if not isinstance(value, np.ndarray):
                raise TypeError(f"weights: {name}: expected an array, got {checks.kind(value)}")
            checks.same_shape(f"weights: {name}", value, array.shape, "that of the network")
            if value.dtype != array.dtype:
                raise TypeError(
                    f"weights: {name}: expected dtype {array.dtype} of the network, got "
                    f"{value.dtype}"
                )
        copies = [value.copy() for value in weights]  # one may be a view of another's memory
        for array, value in zip(parameters.values(), copies, strict=True):
            array[...] = value

    @property
    def trainable_names(self) -> list[str]:
        """Names of the trainable parameters.

        Examples
        --------
        >>> from lenet_fast import models
        >>> models.lenet5().trainable_names[-4:]  # the bitmaps of OUTPUT are fixed
        ['C5.w', 'C5.b', 'F6.w', 'F6.b']
        """
        return [
            f"{layer.name}.{name}"
            for layer in self.layers
            if layer.trainable
            for name in layer.parameters
        ]

    @property
    def stages(self) -> dict[str, str]:
        """For each layer except activations and dropout, the name of the last of those after it.

        Examples
        --------
        >>> from lenet_fast import models
        >>> models.lenet5(pooling="max").stages["S2"], models.lenet5().stages["C1"]
        ('S2', 'C1.activation')
        """
        stages: dict[str, str] = {}
        name = ""
        for layer in self.layers:
            if not name or not isinstance(layer, Activation | Dropout):
                name = layer.name
            stages[name] = layer.name
        return stages

    @choices.american
    def initialise(self, initialiser: choices.Initialiser = "lecun1998", seed: int = 0) -> None:
        """Set all trainable parameters to new initial values.

        Parameters
        ----------
        initialiser : str
            One of :data:`lenet_fast.initialisers.INITIALISERS`.
        seed : int
            The same seed gives the same weights.

        Examples
        --------
        >>> from lenet_fast import models
        >>> network, other = models.lenet5(seed=1), models.lenet5(seed=2)
        >>> bool((network.parameters["C1.w"] == other.parameters["C1.w"]).any())
        False
        >>> other.initialise("lecun1998", seed=1)
        >>> bool((network.parameters["C1.w"] == other.parameters["C1.w"]).all())
        True
        """
        initialisers.initialise(self.layers, initialiser, seed)

    def predict(self, x: Array) -> Array:
        """Return the outputs for one image, or for several.

        Parameters
        ----------
        x : ndarray
            Bytes (rows, columns) or (n, rows, columns), from 0 (background) to 255 (foreground),
            for a network with one square input map; bytes (n, channels, rows, columns) for one with
            several; or floats in the network's dtype and range,
            (c, h, w) or (n, c, h, w), as from :func:`lenet_fast.data.prepare`.

        Returns
        -------
        ndarray (k,) or (n, k)
            One image takes microseconds, and nothing but the result is allocated; its outputs can
            differ by rounding from those of the same image in a batch. Every call uses the
            network's current arrays. The method is thread-safe.

        Raises
        ------
        TypeError, ValueError
            If the images do not fit the network, or are on another scale: bytes whose maximum is
            16 or less but not 0, or floats far outside :attr:`pixel_range`.

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
            # Imported late: engines import this module.
            from lenet_fast import engines, losses

            engine = engines.create(self, losses.default_for(self), batch_size=1, backend=backend)
            self._engines[backend] = engine
        return engine.predict_one(x) if _is_one_image(x) else engine.predict(x)

    def activations(self, x: Array) -> dict[str, Array]:
        """Return the output of every layer, for one image or for several.

        Parameters
        ----------
        x : ndarray
            As for :meth:`predict`. The outputs of all layers are kept for all images: for
            LeNet-5, about 65,000 bytes per image.

        Returns
        -------
        dict of str to ndarray
            By layer name, in order: maps (c, h, w) or numbers (k,), with a leading axis n for
            several images. An activation is a layer of its own: ``C1`` are the weighted sums,
            ``C1.activation`` the values after the activation.

        Raises
        ------
        TypeError, ValueError
            If the images do not fit the network.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> outputs = models.lenet5().activations(data.load("sample").test.images[0])
        >>> outputs["C1"].shape, outputs["F6.activation"].shape
        ((6, 28, 28), (84,))
        """
        from lenet_fast import engines, losses  # as in predict

        _check_images(x, self)
        engine = engines.LayersEngine(self, losses.default_for(self), threads=1)
        if _is_one_image(x):
            images = engine.activations(x[np.newaxis]).items()
            return _ByLayer({name: y[0] for name, y in images})
        return _ByLayer(engine.activations(x))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the engines of :meth:`predict`, whose threads cannot be copied."""
        return self.__dict__ | {"_engines": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._gather()

    def classify(self, x: Array) -> npt.NDArray[np.intp]:
        """Return the class of one image, or of each of several.

        Parameters
        ----------
        x : ndarray
            As for :meth:`predict`.

        Returns
        -------
        ndarray (n,) or a number, intp
            The class whose output wins; the first one in a tie.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`predict`; also for outputs in place of images, and if an output is not
            finite.

        See Also
        --------
        classify_outputs : The same for outputs that are there already.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> network = models.lenet5(pooling="max", output="softmax")
        >>> network.classify(data.load("sample").test.images[:3]).shape
        (3,)
        """
        is_floats = isinstance(x, np.ndarray) and x.dtype.kind == "f"
        if is_floats and x.ndim < 3 and x.shape[-1:] == self.output_shape:
            raise ValueError(
                f"x: expected images, as predict takes them, got shape {x.shape}, which is that of "
                "outputs; for these, call network.classify_outputs(outputs)"
            )
        return self.classify_outputs(self.predict(x))

    def classify_outputs(self, outputs: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the winning class of each row of outputs; the first one in a tie.

        Parameters
        ----------
        outputs : array_like (n, k) or (k,)
            The result of :meth:`predict`.

        Returns
        -------
        ndarray (n,) or a number, intp

        Raises
        ------
        TypeError, ValueError
            If they cannot be outputs of this network, such as images or NaN.

        Examples
        --------
        >>> from lenet_fast import data, models
        >>> network = models.lenet5(pooling="max", output="softmax")
        >>> outputs = network.predict(data.load("sample").test.images[:3])
        >>> network.classify_outputs(outputs).shape
        (3,)
        """
        return self.winners(self._outputs(outputs, "classify(images)"))

    def winners(self, outputs: Array) -> npt.NDArray[np.intp]:
        """Like :meth:`classify_outputs`, but unchecked: training has to report NaN itself.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import models
        >>> penalties = np.array([[5.0, 2.0, 9.0], [1.0, 2.0, 3.0]])
        >>> models.lenet5().winners(penalties), models.lenet5(output="softmax").winners(penalties)
        (array([1, 0]), array([2, 2]))
        """
        winners = outputs.argmin(axis=-1) if self.output == "rbf" else outputs.argmax(axis=-1)
        return np.asarray(winners, np.intp)[()]

    def probabilities(self, outputs: npt.ArrayLike) -> Array:
        """Return the softmax of each row of outputs.

        Parameters
        ----------
        outputs : array_like (n, k) or (k,)
            The result of :meth:`predict`.

        Returns
        -------
        ndarray (n, k) or (k,)

        Raises
        ------
        TypeError, ValueError
            If the network's output is not "softmax", because other outputs are not probabilities;
            otherwise as for :meth:`classify_outputs`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import models
        >>> network = models.lenet5(output="softmax")
        >>> outputs = np.zeros(10)
        >>> outputs[3] = np.log(9)  # nine times as likely as each of the nine others
        >>> network.probabilities(outputs).round(3)[2:5]
        array([0.056, 0.5  , 0.056])
        """
        if self.output != "softmax":
            raise ValueError(
                f"output: expected a network with output 'softmax' for probabilities, "
                f"got {self.output!r}"
            )
        rows = self._outputs(outputs, "probabilities(network.predict(images))")
        powers: Array = np.exp(rows - rows.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def _outputs(self, outputs: npt.ArrayLike, of_images: str) -> Array:
        """Check outputs as :meth:`predict` returns them, (n, k) or (k,), and return an array.

        `of_images` is the call for images, for the messages.
        """
        (k,) = self.output_shape
        way_out = f"call network.{of_images}"
        if not isinstance(outputs, (np.ndarray, list, tuple)):
            raise TypeError(
                f"outputs: expected an array (n, {k}) or ({k},) of predict, got "
                f"{type(outputs).__name__}; {way_out}"
            )
        try:
            rows = np.asarray(outputs)
        except ValueError:  # rows of different lengths
            raise ValueError(
                f"outputs: expected rows of {k} numbers, got rows of different lengths"
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

        The input counts as units; activations do not. Pooling and RBF layers have connections but
        no free parameters.

        Examples
        --------
        >>> from lenet_fast import models
        >>> models.lenet1989().counts()  # as LeCun et al. 1989 have them
        Counts(units=1256, parameters=9760, connections=64660)
        """
        rows = self._counts_by_layer()
        sums = [sum(row[column] for row in rows) for column in range(3)]
        return Counts(math.prod(self.input_shape) + sums[0], sums[1], sums[2])

    def _counts_by_layer(self) -> list[Counts]:
        return [
            Counts(layer.units(shape), layer.parameter_count(), layer.connections(shape))
            for layer, shape in zip(self.layers, self.shapes[:-1], strict=True)
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the network to a model file (safetensors), which ``lenet_fast.load`` reads.

        Parameters
        ----------
        path : path
            The file, such as ``"lenet5.safetensors"``; an existing one is replaced.

        Raises
        ------
        ValueError, OSError
            As from :func:`lenet_fast.files.save_model`, which can also save the loss.

        Examples
        --------
        >>> import os, tempfile
        >>> import lenet_fast as lf
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "lenet1.safetensors")
        ...     lf.models.lenet1().save(path)
        ...     lf.load(path).counts().parameters
        2578
        """
        from lenet_fast import files  # late: files imports this module

        files.save_model(path, self)

    def summary(self) -> str:
        """Return a table of the layers: output shape, units, parameters, connections.

        Examples
        --------
        >>> from lenet_fast.layers import Conv2D, Dense
        >>> from lenet_fast.network import Network
        >>> small = [Conv2D(1, 4, 5, name="C1"), Dense(4 * 24 * 24, 10, name="OUTPUT")]
        >>> print(Network(small, input_shape=(1, 28, 28)).summary())
        layer   kind    output       units  parameters  connections
        -----------------------------------------------------------
        input           1 x 28 x 28    784
        C1      Conv2D  4 x 24 x 24  2,304         104       59,904
        OUTPUT  Dense   10              10      23,050       23,050
        -----------------------------------------------------------
        total                        3,098      23,154       82,954
        """
        rows = [_HEAD, *self._rows()]
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

    def _rows(self) -> list[tuple[str, ...]]:
        """Return the rows of :meth:`summary`: the input, the layers, the total."""
        input_shape = self.input_shape
        rows: list[tuple[str, ...]] = [
            ("input", "", _size_text(input_shape), f"{math.prod(input_shape):,}", "", "")
        ]
        counts = self._counts_by_layer()
        for layer, shape, count in zip(self.layers, self.shapes[1:], counts, strict=True):
            numbers = (f"{number:,}" if number else "" for number in count)
            rows.append((layer.name, type(layer).__name__, _size_text(shape), *numbers))
        return [*rows, ("total", "", "", *(f"{number:,}" for number in self.counts()))]

    def __repr__(self) -> str:
        return f"Network(output={self.output!r}, dtype={self.dtype.name!r})\n{self.summary()}"

    def _repr_html_(self) -> str:
        """Return the summary for notebooks."""
        words = f"Network with {self.output} outputs, in {self.dtype.name}"
        return f"<div>{words}{notebooks.table(_HEAD, self._rows(), texts=3)}</div>"

    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold, without the arrays, for :meth:`from_config`.

        Examples
        --------
        >>> from lenet_fast import models
        >>> config = models.lenet5().config()
        >>> config["input_shape"], config["output"], config["layers"][2]["type"]
        ([1, 32, 32], 'rbf', 'Subsample2D')
        """
        config = {
            "layers": [layer.config() for layer in self.layers],
            "input_shape": list(self.input_shape),
            "output": self.output,
            "dtype": self.dtype.name,
            "pixel_range": list(self.pixel_range) if self.pixel_range_known else None,
        }
        # Networks that were never trained lack these, and so do files from before they existed.
        if self.inverted is not None:
            config["inverted"] = self.inverted
        if self.reduced:
            config["reduced"] = True
        if self.classes != tuple(map(str, range(len(self.classes)))):
            config["classes"] = list(self.classes)
        return config

    @classmethod
    def from_config(cls, config: object) -> Network:
        """Return a new network of the architecture that a :meth:`config` describes.

        The config is untrusted and fully checked. The weights are newly initialised.

        Raises
        ------
        ValueError
            If it is not such a config, or the network would be absurdly large.

        Examples
        --------
        >>> from lenet_fast import models
        >>> from lenet_fast.network import Network
        >>> Network.from_config(models.lenet1().config()).counts()
        Counts(units=4634, parameters=2578, connections=98442)
        """
        added = {"pixel_range": list(_SCALE), "inverted": None, "reduced": False, "classes": None}
        keys = ("layers", "input_shape", "output", "dtype", *added)
        arguments = configs.checked("network", config, keys, added)
        described, inverted = arguments.pop("layers"), arguments.pop("inverted")
        reduced, classes = arguments.pop("reduced"), arguments.pop("classes")
        if not isinstance(inverted, bool | None):
            raise ValueError(f"inverted: expected true or false, got {checks.kind(inverted)}")
        if not isinstance(reduced, bool):
            raise ValueError(f"reduced: expected true or false, got {checks.kind(reduced)}")
        if not isinstance(described, list) or len(described) > _MAX_LAYERS:
            raise ValueError(
                f"layers: expected a list of 1 to {_MAX_LAYERS}, got {checks.kind(described)}"
            )
        try:
            network = cls([layer_from_config(layer) for layer in described], **arguments)
            if classes is not None:
                network.classes = classes
        except TypeError as error:
            raise ValueError(f"network: {error}") from error
        network.inverted, network.reduced = inverted, reduced
        return network


class _ByLayer(dict[str, Array]):
    """Outputs by layer, and by the older names of activations, C1.squash; until version 0.2.

    Files have the names of their time; scripts with either name can read both.
    """

    def __repr__(self) -> str:
        """Return names and shapes; the numbers would fill pages."""
        lines = [f" {name!r}: <{y.dtype} {y.shape}>" for name, y in self.items()]
        return "{" + ",\n".join(lines)[1:] + "}"

    def __missing__(self, name: str) -> Array:
        words = ("squash", "activation") if "squash" in name else ("activation", "squash")
        other = name.replace(*words)
        if other not in self:
            raise KeyError(name)
        return self[other]


def _check_images(x: object, network: Network) -> None:
    """Raise an error with advice if `x` is not an array of images; engines do not check this."""
    if not isinstance(x, np.ndarray):
        hint = "; pass its images" if hasattr(x, "images") else ""
        if hasattr(x, "test"):
            hint = "; pass the images of one of its sets, such as its test.images"
        raise TypeError(f"x: expected a NumPy array of images, got {type(x).__name__}{hint}")
    if x.dtype != np.uint8:
        input_shape = network.input_shape
        if (x.dtype.kind == "f" and x.shape[-3:] != input_shape) or x.ndim > 4:
            several = ", ".join(map(str, ("n", *input_shape)))
            raise ValueError(
                f"x: expected floats of shape {input_shape}, or ({several}) for several "
                f"images, got shape {x.shape}; lenet_fast.data.prepare converts bytes to them"
            )
        if x.dtype.kind == "f" and x.size and network.pixel_range_known:
            background, foreground = network.pixel_range
            largest = x.item(x.argmax())  # for one image, a third of the time of its max()
            if _FAR * max(abs(background), abs(foreground)) < largest < math.inf:
                raise ValueError(
                    f"x: expected floats from {background:g} (background) to {foreground:g} "
                    f"(foreground), got up to {largest:g}; convert them to that range, or set the "
                    "network's pixel_range if it was trained on another"
                )
        return
    if x.ndim == 4 and network.input_shape[0] > 1:
        return  # colours; the engine checks the rest
    if x.ndim not in (2, 3):
        raise ValueError(
            f"x: expected bytes (n, rows, columns), or (rows, columns) for one image, got {x.shape}"
        )
    if x.ndim == 3:
        pixels.check_axes("x", x, network.input_shape[-1])
    # For one image this takes half as long as computing its maximum.
    if x.ndim != 2 or not x.tobytes().lstrip(_FAINT_BYTES):
        pixels.check_bytes("x", x)


def _is_one_image(x: object) -> bool:
    return isinstance(x, np.ndarray) and x.ndim == (2 if x.dtype == np.uint8 else 3)


def _checked_layers(given: Sequence[Layer | str]) -> list[Layer]:
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"layers: expected a list of layers, got {checks.kind(given)}")
    if not 1 <= len(given) <= _MAX_LAYERS:
        raise ValueError(f"layers: expected 1 to {_MAX_LAYERS} layers, got {len(given)}")
    found = [
        activation(f"layers[{index}]", layer) if isinstance(layer, str) else layer
        for index, layer in enumerate(given)
    ]
    for index, layer in enumerate(found):
        if not isinstance(layer, Layer):
            raise TypeError(f"layers: expected layers, got {checks.kind(layer)} at {index}")
        if layer.parameters or any(layer is other for other in found[:index]):
            raise ValueError(
                f"layers: expected new layers, got {layer.name or type(layer).__name__} at "
                f"{index}, which is already part of a network"
            )
    return found


def _checked_pixel_range(given: object) -> tuple[float, float]:
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise TypeError(f"pixel_range: expected (background, foreground), got {checks.kind(given)}")
    background, foreground = (
        checks.real("pixel_range", number, np.dtype(np.float32)) for number in given
    )
    if np.float32(background) == np.float32(foreground):
        raise ValueError(f"pixel_range: expected two different numbers, got {background:g} twice")
    return background, foreground


def _checked_dtype(given: npt.DTypeLike) -> np.dtype[Any]:
    if isinstance(given, (str, np.dtype, type)):  # NumPy would read None as float64
        for name in DTYPES:
            if given in (name, np.dtype(name)):
                return np.dtype(name)
    raise TypeError(f"dtype: expected float32 or float64, got {checks.kind(given)}")


def _name(given: list[Layer]) -> None:
    """Name the layers without a name, and check that all names differ."""
    taken: set[str] = set()
    for layer in given:
        if layer.name in taken:
            raise ValueError(f"layers: expected different names, got {layer.name} twice")
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
    """Return the shapes before and after each layer; ValueError where two do not fit together."""
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
