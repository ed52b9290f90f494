"""The interface of the engines, their results, and the interface of optimisers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, overload

from lenet_fast import choices
from lenet_fast.checks import Array


class Totals(NamedTuple):
    """Totals over a set of images, which can be added.

    Attributes
    ----------
    loss : float
        The sum over the images.
    errors : int
        Misclassified images.
    images : int

    Examples
    --------
    >>> from lenet_fast.engines import Totals
    >>> Totals(loss=2.5, errors=1, images=10) + Totals(loss=1.5, errors=0, images=10)
    Totals(loss=4.0, errors=1, images=20)
    """

    loss: float = 0.0
    errors: int = 0
    images: int = 0

    def __add__(self, other: Totals) -> Totals:  # type: ignore[override]  # of tuples
        return Totals(
            self.loss + other.loss, self.errors + other.errors, self.images + other.images
        )


class Rule(NamedTuple):
    """An optimiser's update rule and its options; options that it does not have are 0.

    The classes of :mod:`lenet_fast.training.optimisers` give the formulas.

    Attributes
    ----------
    name : str
        A name that all engines know, such as "sgd"; or any other, which only the layers engine
        accepts, because it calls :meth:`Optimiser.step`.
    momentum : float
    nesterov : bool
    weight_decay : float
    beta1, beta2 : float
        The shares of the mean gradient, and of the mean square, that each step keeps.
    epsilon : float

    Examples
    --------
    >>> from lenet_fast.training import SGD, Adam
    >>> rule = SGD(momentum=0.9).rule
    >>> rule.name, rule.momentum, rule.weight_decay
    ('sgd', 0.9, 0.0)
    >>> Adam().rule.beta2
    0.999
    """

    name: str
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    epsilon: float = 0.0


class Optimiser(Protocol):
    """The interface of optimisers, for the trainer and the engines.

    An engine either calls :meth:`step` with the gradients of a batch, or updates the weights
    itself: it applies :attr:`rule` with ``factors``, changes the arrays of :meth:`slots` in place,
    and increments ``steps``. The optimiser is then in the same state as after its own steps, within
    rounding.

    Attributes
    ----------
    steps : int
        Number of steps so far; may be set.
    factors : dict of str to ndarray
        Factors of the learning rate by parameter name, one per weight: finite, not negative.
        Missing parameters have the factor 1.
    curvature_images : int
        Number of images from which the diagonal of the Hessian is estimated before each epoch,
        for :meth:`follow`; 0: no estimate.

    Examples
    --------
    A rule of your own, which moves all weights by the same amount. As no compiled loop knows it,
    "auto" selects the layers engine.

    >>> import numpy as np
    >>> from lenet_fast.training import SGD
    >>> class Sign(SGD):
    ...     def step(self, parameters, gradients, rate):
    ...         for name, gradient in gradients.items():
    ...             parameters[name] -= rate * np.sign(gradient)
    ...         self.steps += 1
    >>> sign, parameters = Sign(), {"w": np.array([1.0, 1.0])}
    >>> sign.step(parameters, {"w": np.array([5.0, -0.1])}, rate=0.25)
    >>> parameters["w"], sign.steps, sign.rule.name
    (array([0.75, 1.25]), 1, 'Sign')
    """

    steps: int
    factors: dict[str, Array]
    curvature_images: int

    @property
    def rule(self) -> Rule:
        """The update rule.

        Examples
        --------
        >>> from lenet_fast.training import SGD
        >>> SGD(momentum=0.9, nesterov=True).rule.nesterov
        True
        """

    def slots(self, parameters: Mapping[str, Array]) -> list[dict[str, Array]]:
        """Return the optimiser's own arrays, one dict per kind, by parameter name.

        The rule determines how many kinds there are, and their order: SGD has [velocities] with a
        momentum and none without; AdamW has [first moments, second moments]. The dicts hold
        exactly the given names; missing arrays are created, filled with zeros. The arrays are not
        copies: changing them in place changes the state. Each has the shape and dtype of its
        parameter and is C-contiguous.

        Raises
        ------
        TypeError, ValueError
            If an existing array or factor has another shape or dtype than its parameter, or a
            factor has a name that is not given.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.training import SGD
        >>> SGD(momentum=0.9).slots({"w": np.ones(2)})  # the velocities, still zero
        [{'w': array([0., 0.])}]
        >>> SGD().slots({"w": np.ones(2)})
        []
        """

    def step(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], rate: float
    ) -> None:
        """Update the parameters that have a gradient, in place.

        Parameters
        ----------
        parameters, gradients : mapping of str to ndarray
            By parameter name; the gradients do not change.
        rate : float

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.training import SGD
        >>> parameters, gradients = {"w": np.array([1.0])}, {"w": np.array([2.0])}
        >>> SGD().step(parameters, gradients, rate=0.25)
        >>> parameters["w"]  # 1 - 0.25 * 2
        array([0.5])
        """

    def follow(self, diagonal: Mapping[str, Array]) -> None:
        """Set the factors from the diagonal of the Hessian.

        Parameters
        ----------
        diagonal : mapping of str to ndarray
            By parameter name, not negative.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.training import SDLM
        >>> sdlm = SDLM(mu=0.5)
        >>> sdlm.follow({"w": np.array([0.0, 1.5])})
        >>> sdlm.factors["w"]  # 1 / (0.5 + h)
        array([2. , 0.5])
        """

    def state(self) -> dict[str, Array]:
        """Return the arrays, by name, that a bit-exact continuation needs in addition to
        :meth:`config`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.training import SGD
        >>> sgd = SGD(momentum=0.5)
        >>> sgd.step({"w": np.array([1.0])}, {"w": np.array([2.0])}, rate=0.1)
        >>> sgd.state()
        {'steps': array([1]), 'velocities/w': array([2.])}
        """

    def load_state(self, state: Mapping[str, Array], parameters: Mapping[str, Array]) -> None:
        """Restore the result of :meth:`state`.

        Parameters
        ----------
        state : mapping of str to ndarray
        parameters : mapping of str to ndarray
            The trainable parameters of the network.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast.training import SGD
        >>> state = {"steps": np.array([1]), "velocities/w": np.array([2.0])}
        >>> sgd = SGD(momentum=0.5)
        >>> sgd.load_state(state, {"w": np.array([0.8])})
        >>> sgd.steps, sgd.slots({"w": np.array([0.8])})
        (1, [{'w': array([2.])}])
        """

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description for :func:`lenet_fast.training.optimisers.from_config`.

        Examples
        --------
        >>> from lenet_fast.training import SGD
        >>> SGD(momentum=0.9).config()
        {'type': 'sgd', 'momentum': 0.9, 'weight_decay': 0.0, 'nesterov': False}
        """


class Engine(Protocol):
    """Runs and trains a network; all engines give the same results, within rounding.

    Images `x` are floats (n, c, h, w) in the dtype of the network, prepared as it expects them;
    or, for a network with one square input map, bytes (n, rows, columns), which the engine centres
    and scales like :func:`lenet_fast.data.prepare`, piece by piece. Labels are integer arrays (n,).
    Results do not depend on the number of threads, and the same engine gives the same bits for the
    same inputs.

    Most of a call runs without Python's GIL. Labels and the order are copied first, so other
    threads may change them. A thread that changes pixels or weights affects only the results.

    All methods raise TypeError or ValueError for arrays that do not fit the network.

    Attributes
    ----------
    name : str
    backend : str
        The backend whose operations run.
    threads : int
    note : str
        Why "auto" selected this engine and not a faster one; else empty.
    images_a_call : int
        The least number of images to pass to :meth:`train` at a time, if available, since every
        call has a fixed cost.

    Examples
    --------
    >>> from lenet_fast import data, engines, losses, models
    >>> engine = engines.create(models.lenet5(), losses.MAP(), threads=1)
    >>> test = data.load("sample").test.subset(50)
    >>> engine.predict(test.images).shape
    (50, 10)
    >>> totals = engine.evaluate(test.images, test.labels)
    >>> totals.images, round(totals.loss / totals.images)  # untrained: penalties of 84, less j = 20
    (50, 64)
    """

    name: str
    backend: choices.Backend
    threads: int
    note: str
    images_a_call: int

    def predict(self, x: Array) -> Array:
        """Return the network's outputs.

        Parameters
        ----------
        x : ndarray
            Images.

        Returns
        -------
        ndarray (n, k)
            In the dtype of the network.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, layers, losses, network
        >>> sums = network.Network([layers.Dense(4, 2)], input_shape=(1, 2, 2), dtype="float64")
        >>> sums.parameters["dense1.w"][...] = [[1, 1, 1, 1], [0, 0, 0, 2]]
        >>> sums.parameters["dense1.b"][...] = 0
        >>> engine = engines.create(sums, losses.MeanSquaredError())
        >>> engine.predict(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
        array([[10.,  8.]])
        """

    def predict_one(self, image: Array) -> Array:
        """Return the network's outputs for one image.

        Parameters
        ----------
        image : ndarray
            Bytes (rows, columns), or floats (c, h, w).

        Returns
        -------
        ndarray (k,)
            They may differ by rounding from those of :meth:`predict`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, losses, models
        >>> engine = engines.create(models.lenet5(), losses.MAP(), batch_size=1)
        >>> image = np.zeros((28, 28), np.uint8)
        >>> image[4:24, 13:15] = 255
        >>> engine.predict_one(image).shape
        (10,)
        """

    def evaluate(self, x: Array, labels: Array) -> Totals:
        """Return loss and errors.

        Parameters
        ----------
        x : ndarray
            Images.
        labels : integer ndarray (n,)

        Returns
        -------
        Totals

        Examples
        --------
        One image, on whose two outputs the targets are 1 and -1; the loss is ``(0^2 + 1^2) / 2``:

        >>> import numpy as np
        >>> from lenet_fast import engines, layers, losses, network
        >>> sums = network.Network([layers.Dense(4, 2)], input_shape=(1, 2, 2), dtype="float64")
        >>> sums.parameters["dense1.w"][...] = [[1, 0, 0, 0], [0, 0, 0, 0]]
        >>> sums.parameters["dense1.b"][...] = 0
        >>> engine = engines.create(sums, losses.MeanSquaredError())
        >>> engine.evaluate(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([0]))
        Totals(loss=0.5, errors=0, images=1)
        """

    @overload
    def loss_and_gradients(
        self,
        x: Array,
        labels: Array,
        inputs: Literal[False] = False,
        *,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[Totals, dict[str, Array]]: ...
    @overload
    def loss_and_gradients(
        self,
        x: Array,
        labels: Array,
        inputs: Literal[True],
        *,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[Totals, dict[str, Array], Array]: ...
    def loss_and_gradients(
        self,
        x: Array,
        labels: Array,
        inputs: bool = False,
        *,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[Totals, dict[str, Array]] | tuple[Totals, dict[str, Array], Array]:
        """Return loss and errors, and the gradient of the mean loss by parameter name.

        Parameters
        ----------
        x, labels : ndarray
        inputs : bool
            Whether to return a third result, the gradient of the mean loss at the images,
            (n, c, h, w): at the floats that the network sees, if the images are bytes.
        dropout : (seed, step), optional
            Drop units as :meth:`train` does with this seed after `step` steps of the optimiser. By
            default dropout layers change nothing, as in evaluation.

        Examples
        --------
        The outputs are 1 and 0, the targets 1 and -1: only the second one's weights change.

        >>> import numpy as np
        >>> from lenet_fast import engines, layers, losses, network
        >>> sums = network.Network([layers.Dense(4, 2)], input_shape=(1, 2, 2), dtype="float64")
        >>> sums.parameters["dense1.w"][...] = [[1, 0, 0, 0], [0, 0, 0, 0]]
        >>> sums.parameters["dense1.b"][...] = 0
        >>> engine = engines.create(sums, losses.MeanSquaredError())
        >>> x, labels = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([0])
        >>> totals, gradients = engine.loss_and_gradients(x, labels)
        >>> gradients["dense1.w"]
        array([[0., 0., 0., 0.],
               [1., 2., 3., 4.]])
        """

    def forward(self, x: Array, *, dropout: tuple[int, int] | None = None) -> Array:
        """Return the network's outputs (n, k), and keep a copy of the images for :meth:`backward`.

        `dropout` is that of :meth:`loss_and_gradients`. A NaN among the pixels makes all outputs of
        its image NaN; one in `d_outputs` goes into the gradients likewise.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, losses, models
        >>> engine = engines.create(models.lenet5(), losses.MAP())
        >>> outputs = engine.forward(np.zeros((3, 1, 32, 32), np.float32))
        >>> gradients = engine.backward(np.ones_like(outputs))  # of the sum of all outputs
        >>> outputs.shape, gradients["C3.w"].shape
        ((3, 10), (16, 6, 5, 5))
        """

    @overload
    def backward(
        self,
        d_outputs: Array,
        inputs: Literal[False] = False,
        *,
        x: Array | None = None,
        dropout: tuple[int, int] | None = None,
    ) -> dict[str, Array]: ...
    @overload
    def backward(
        self,
        d_outputs: Array,
        inputs: Literal[True],
        *,
        x: Array | None = None,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[dict[str, Array], Array]: ...
    def backward(
        self,
        d_outputs: Array,
        inputs: bool = False,
        *,
        x: Array | None = None,
        dropout: tuple[int, int] | None = None,
    ) -> dict[str, Array] | tuple[dict[str, Array], Array]:
        """Return the gradient by parameter name of a function of the outputs.

        It runs the images forward again, which takes a third of its time, instead of keeping the
        outputs of all layers: so it is always the gradient with the current weights.

        Parameters
        ----------
        d_outputs : ndarray (n, k)
            The function's gradient at the outputs, in the dtype of the network.
        inputs : bool
            Whether to return a second result, the gradient at the images; see
            :meth:`loss_and_gradients`.
        x : ndarray, optional
            The images. Default: those of the last call of :meth:`forward`, with its `dropout`. Code
            that has several passes in progress, such as a function for PyTorch's autograd, gives
            the images itself.
        dropout : (seed, step), optional
            Only with `x`; see :meth:`loss_and_gradients`.

        Returns
        -------
        gradients : dict of str to ndarray
            Sums over the images.
        d_inputs : ndarray (n, c, h, w)
            Only with `inputs`.

        Raises
        ------
        RuntimeError
            Without `x` and a call of :meth:`forward`.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, layers, losses, network
        >>> sums = network.Network([layers.Dense(4, 2)], input_shape=(1, 2, 2), dtype="float64")
        >>> sums.parameters["dense1.w"][...] = [[5, 6, 7, 8], [0, 0, 0, 0]]
        >>> engine = engines.create(sums, losses.MeanSquaredError())
        >>> x, first_output = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([[1.0, 0.0]])
        >>> gradients, d_inputs = engine.backward(first_output, inputs=True, x=x)
        >>> gradients["dense1.w"][0], d_inputs.ravel()
        (array([1., 2., 3., 4.]), array([5., 6., 7., 8.]))
        """

    def gradients_per_example(
        self,
        x: Array,
        labels: Array,
        *,
        clip: float | None = None,
        dropout: tuple[int, int] | None = None,
        out: dict[str, Array] | None = None,
    ) -> tuple[Totals, dict[str, Array]]:
        """Return loss and errors, and the gradient of each image's loss by parameter name.

        Parameters
        ----------
        x, labels : ndarray
        clip : float, optional
            Return the sum of the images' gradients instead, each scaled by
            ``min(1, clip / norm)``, so that its norm over all parameters is at most `clip`.
        dropout : (seed, step), optional
            See :meth:`loss_and_gradients`.
        out : dict, optional
            The gradients that an earlier call returned for as many images, to be overwritten. New
            memory of this size costs the system as much time as the computation takes.

        Returns
        -------
        totals : Totals
        gradients : dict of str to ndarray
            An array (n, ...) per parameter, with the gradient of one image's loss in each row; or
            with `clip` the sums, in the shapes of the parameters.

        Notes
        -----
        The clipped sum is that of Abadi et al. 2016, "Deep learning with differential privacy",
        algorithm 1, before the noise. Norms are computed in the dtype of the network, so they may
        exceed `clip` by rounding.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, layers, losses, network
        >>> sums = network.Network([layers.Dense(4, 2)], input_shape=(1, 2, 2), dtype="float64")
        >>> sums.parameters["dense1.w"][...] = [[1, 0, 0, 0], [0, 0, 0, 0]]
        >>> sums.parameters["dense1.b"][...] = 0
        >>> engine = engines.create(sums, losses.MeanSquaredError())
        >>> x, labels = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]).repeat(2, axis=0), np.array([0, 1])
        >>> totals, gradients = engine.gradients_per_example(x, labels)
        >>> gradients["dense1.b"]  # a row for each image; the second wants -1 and 1
        array([[ 0.,  1.],
               [ 2., -1.]])
        """

    def hessian_diagonal(self, x: Array, labels: Array) -> dict[str, Array]:
        """Return the diagonal of the Hessian, averaged over the images, by parameter name.

        It is the approximation of LeCun et al. 1998, appendix C: never negative, without the terms
        in f'' and those between shared weights.

        Parameters
        ----------
        x, labels : ndarray
            As for :meth:`evaluate`.

        Returns
        -------
        dict of str to ndarray
            Each of the shape and dtype of its parameter.

        Examples
        --------
        For weighted sums and squared errors it is the squared input:

        >>> import numpy as np
        >>> from lenet_fast import engines, layers, losses, network
        >>> sums = network.Network([layers.Dense(4, 2)], input_shape=(1, 2, 2), dtype="float64")
        >>> engine = engines.create(sums, losses.MeanSquaredError())
        >>> x, labels = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([0])
        >>> engine.hessian_diagonal(x, labels)["dense1.w"]
        array([[ 1.,  4.,  9., 16.],
               [ 1.,  4.,  9., 16.]])
        """

    def train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        batch_size: int,
        optimiser: Optimiser,
        rate: float | Array,
        *,
        seed: int = 0,
        weights: Array | None = None,
    ) -> list[Totals]:
        """Make one step of the optimiser per mini-batch.

        Parameters
        ----------
        x, labels : ndarray
            A whole data set.
        order : int ndarray (m,)
            Indices of the images to train on, in this order.
        batch_size : int
            Images per step; the last batch may be smaller.
        optimiser : Optimiser
        rate : float, or float ndarray (ceil(m / batch_size),)
            The learning rate of all steps, or of each.
        seed : int, default 0
            Determines, with the number of each step, which units dropout layers drop: see
            :func:`lenet_fast.ops.dropout`. The first step has the number ``optimiser.steps``.
        weights : float ndarray (n,), optional
            A factor of each image's loss and gradient, for the whole data set: finite, not
            negative. A step still divides the sum by the number of its images, so with weights
            whose mean is 1, rates keep their meaning. In a batch of all images, divided by that
            mean, a weight of 0 leaves an image out, and a weight of 2 counts it twice. The compiled
            loops know no weights, so a batch is two calls of them: it takes 1.5 times as long
            for 32 images of LeNet-5, and 9 times for one.

        Returns
        -------
        list of Totals
            One per batch, computed before its step; losses have the weights, errors have not. The
            list ends with the first non-finite loss:
            that batch changes nothing, and later ones are not started.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import engines, layers, losses, network, training
        >>> sums = network.Network([layers.Dense(4, 2)], input_shape=(1, 2, 2), dtype="float64")
        >>> sums.parameters["dense1.w"][...] = [[1, 0, 0, 0], [0, 0, 0, 0]]
        >>> sums.parameters["dense1.b"][...] = 0
        >>> engine = engines.create(sums, losses.MeanSquaredError())
        >>> x, labels = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([0])
        >>> engine.train(x, labels, np.array([0]), 1, training.SGD(), rate=0.25)
        [Totals(loss=0.5, errors=0, images=1)]
        >>> sums.parameters["dense1.w"]
        array([[ 1.  ,  0.  ,  0.  ,  0.  ],
               [-0.25, -0.5 , -0.75, -1.  ]])
        """

    def close(self) -> None:
        """Stop the engine's threads; the next call starts new ones.

        Examples
        --------
        >>> import contextlib
        >>> import numpy as np
        >>> from lenet_fast import engines, losses, models
        >>> engine = engines.create(models.lenet5(), losses.MAP(), threads=2)
        >>> with contextlib.closing(engine):
        ...     engine.predict(np.zeros((100, 28, 28), np.uint8)).shape
        (100, 10)
        """
