"""The estimators: scikit-learn's manners around a network, an engine and an optimiser."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from functools import update_wrapper
from inspect import signature
from types import FunctionType
from typing import Any

import numpy as np
from joblib import effective_n_jobs, parallel_config
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.extmath import softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lenet_fast import checks, engines, losses, models, threads
from lenet_fast.checks import Array
from lenet_fast.data import Distortion
from lenet_fast.engines import Optimiser, Totals, online
from lenet_fast.layers import Dense
from lenet_fast.network import Network
from lenet_fast.sklearn import _rows, _scale
from lenet_fast.training import SGD, AdamW, Constant, Cosine, TrainingDiverged, schedules
from lenet_fast.training.batches import shuffled

EPOCHS, LEAST_STEPS = 20, 300
"""Of a fit that names no epochs: few rows are seen more often, until there are so many steps."""

_CHOICES = {
    "model": ("lenet5", "lenet4", "lenet1"),
    "activation": tuple(models.SQUASHING),
    "output": ("softmax", "rbf"),
    "optimiser": ("adamw", "sgd"),
    "schedule": ("cosine", "constant"),
    "engine": engines.NAMES,
}
_USED_WITH = {
    "pooling": ("model", "lenet5"),
    "activation": ("model", "lenet5"),
    "output": ("model", "lenet5"),
    "momentum": ("optimiser", "sgd"),
}
"""Parameters that count with one choice of another alone."""

_SETTLED = (
    *("model", "pooling", "activation", "output", "image_shape", "optimiser", "momentum"),
    *("weight_decay", "dtype"),
)
"""Parameters that become a network and an optimiser, and stay what they were from then on."""


class _LeNet(BaseEstimator):
    """What both estimators share: the parameters, and how they learn."""

    network_: Network
    _optimiser: Optimiser

    def __init__(
        self,
        model: str = "lenet5",
        *,
        pooling: str | None = "max",
        activation: str = "relu",
        output: str = "softmax",
        image_shape: tuple[int, int] | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        optimiser: str = "adamw",
        learning_rate: float | None = None,
        schedule: str = "cosine",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        distortion: Distortion | None = None,
        dtype: str = "float32",
        engine: str = "auto",
        backend: str | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.activation = activation
        self.output = output
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimiser = optimiser
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.distortion = distortion
        self.dtype = dtype
        self.engine = engine
        self.backend = backend
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __init_subclass__(cls, **options: Any) -> None:
        """Give a class methods of its own whose errors Python begins with a name, that of cls."""
        for name in ("__init__", "fit", "partial_fit"):
            shared = vars(_LeNet)[name]
            if name not in vars(cls) and getattr(cls, name) is shared:
                own = FunctionType(shared.__code__, shared.__globals__)
                own.__defaults__, own.__kwdefaults__ = shared.__defaults__, shared.__kwdefaults__
                update_wrapper(own, shared)
                own.__qualname__ = f"{cls.__qualname__}.{name}"
                setattr(cls, name, own)
        super().__init_subclass__(**options)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any) -> Any:
        """Learn from scratch.

        Parameters
        ----------
        X : array-like (n, features)
            Real numbers, one row an image.
        y : array-like (n,)
            The class of each row.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the rows, the classes or a parameter are not as described.
        lenet_fast.training.TrainingDiverged
            If the loss or a weight is no longer finite. After this error as after the others, the
            estimator is as it was, not fitted or as the last fit left it.

        Warns
        -----
        TableWarning
            If the table may not be what it is taken for.
        """
        with self._unchanged_by_errors():
            X, y = validate_data(self, X, y)
            check_classification_targets(y)
            self._check_parameters()
            self._begin(X, np.unique(y))
            epochs = self.epochs
            if epochs is None:
                epochs = max(EPOCHS, math.ceil(LEAST_STEPS / math.ceil(len(X) / self.batch_size)))
            rate = self._rate()
            falls = self.schedule == "cosine"
            self._learn(X, y, Cosine(rate, epochs) if falls else Constant(rate), epochs)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Go through some rows once, at a constant rate, on top of what was learned before.

        Parameters
        ----------
        X : array-like (n, features)
            Real numbers, one row an image. The first call's decide on the scale of the pixels.
        y : array-like (n,)
            The class of each row.
        classes : array-like (k,), optional
            All classes that there will ever be; by default those of the first call's `y`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, lenet_fast.training.TrainingDiverged
            As for :meth:`fit`; and if the classes change, or lack one of `y`, or if a parameter
            changes of which network and optimiser are made.

        Warns
        -----
        TableWarning
            As for :meth:`fit`; and if the rows are on another scale than those of the first call.
        """
        first = not hasattr(self, "network_")
        with self._unchanged_by_errors():
            X, y = validate_data(self, X, y, reset=first)
            check_classification_targets(y)
            self._check_parameters()
            if first:
                known = np.unique(y if classes is None else classes)
            elif classes is None or np.array_equal(np.unique(classes), self.classes_):
                known = self.classes_
            else:
                raise ValueError(
                    f"classes: expected those of the first call, {self.classes_}, got {classes}"
                )
            if not np.isin(y, known).all():
                wrong = np.setdiff1d(y, known)
                raise ValueError(f"y: expected classes out of {known}, got {wrong}")
            if first:
                self._begin(X, known)
            else:
                self._check_settled()
                _scale.check_same(X, self._scale)
                # What an error leaves is the one that has not learned from these rows.
                self.network_, self._optimiser = copy.deepcopy((self.network_, self._optimiser))
            self._learn(X, y, Constant(self._rate()), 1)
        return self

    @contextlib.contextmanager
    def _unchanged_by_errors(self) -> Iterator[None]:
        """Go back to what was learned before, or to nothing, if learning fails."""
        before = self.__dict__.copy()
        try:
            yield
        except Exception:
            self.__dict__ = before
            raise

    def _check_parameters(self) -> None:
        """Raise unless each parameter is one that there is, and is used with the others."""
        for name, allowed in _CHOICES.items():
            checks.choice(name, getattr(self, name), allowed)
        checks.choice_or_none("pooling", self.pooling, models.POOLINGS)
        if self.epochs is not None:
            checks.integer("epochs", self.epochs, 1)
        checks.integer("batch_size", self.batch_size, 1)
        if self.engine == "online":
            online.check_batch_size(self.batch_size)
        if not isinstance(self.distortion, Distortion | None):
            raise TypeError(
                f"distortion: expected a Distortion, got {checks.kind(self.distortion)}"
            )
        if not isinstance(self.verbose, (bool, np.bool_, int)):  # a level, as elsewhere
            raise TypeError(f"verbose: expected a bool, got {checks.kind(self.verbose)}")
        SGD(self.momentum, self.weight_decay)
        self._threads()
        usual = {name: each.default for name, each in signature(_LeNet).parameters.items()}
        for name, (other, value) in _USED_WITH.items():
            got, chosen = getattr(self, name), getattr(self, other)
            if chosen != value and got != usual[name]:
                raise ValueError(
                    f"{name}: expected {usual[name]!r}, the default, with {other}={chosen!r}, "
                    f"which has no use for it, got {got!r}; it goes with {other}={value!r}"
                )

    def _check_settled(self) -> None:
        """Raise if a parameter has changed since the network was made that made it what it is."""
        for name, value in self._settled.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name}: expected {value!r}, as when learning began, got "
                    f"{getattr(self, name)!r}; fit learns from scratch, with others"
                )

    def _begin(self, X: Array, classes: Array) -> None:
        """Make a new network, and settle all that stays as it is from here on."""
        decay = self.weight_decay
        optimiser = (
            SGD(self.momentum, decay) if self.optimiser == "sgd" else AdamW(weight_decay=decay)
        )
        shape = _rows.image_shape(X.shape[1], self.image_shape)
        _scale.check_shape(X.shape[1], shape)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.network_ = self._new_network(classes, seed)
        self.classes_, self.image_shape_ = classes, shape
        self._scale = _scale.learn(X)
        self.pixel_range_ = self._scale.lowest, self._scale.highest
        self._seed, self._optimiser = seed, optimiser
        self._settled = {name: getattr(self, name) for name in _SETTLED}
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []

    def _new_network(self, classes: Array, seed: int) -> Network:
        initialiser = "lecun_sqrt"
        if self.model == "lenet5":
            options: dict[str, Any] = {"pooling": self.pooling, "output": self.output}
            network = models.lenet5(**options, activation=self.activation, dtype=self.dtype)
            initialiser = models.default_initialiser(**options, activation=self.activation)
        elif self.model == "lenet4":
            network = models.lenet4(output="softmax", dtype=self.dtype)
        else:
            network = models.lenet1(dtype=self.dtype)
        if network.output != "rbf":
            network = _with_last(network, "OUTPUT", len(classes), "softmax")
        elif not (
            np.array_equal(classes, np.arange(10))
            or [str(label) for label in classes] == [str(digit) for digit in range(10)]
        ):
            raise ValueError(
                "output: expected 'softmax' unless the classes are the ten digits, which 'rbf' "
                f"has bitmaps of, got 'rbf' for the classes {classes}"
            )
        network.initialise(initialiser, seed)
        return network

    def _rate(self) -> float:
        if self.learning_rate is None:
            loss = losses.default_for(self.network_)
            # That is for a schedule that stays there at first; the mean of a cosine is half of it.
            return 2 * schedules.default_for(loss, self.optimiser, self.batch_size).rate(1)
        rate = checks.real("learning_rate", self.learning_rate)
        if rate <= 0:
            raise ValueError(f"learning_rate: expected a number above 0, got {rate}")
        return rate

    def _learn(self, X: Array, y: Array, schedule: Constant | Cosine, epochs: int) -> None:
        images, labels = self._images(X), np.searchsorted(self.classes_, y)
        if self.distortion is not None:
            images = _rows.as_bytes(images, self.network_)
        with (
            contextlib.closing(self._engine(self.network_, self.batch_size)) as engine,
            contextlib.closing(threads.Pool(engine.threads)) as pool,
        ):
            for epoch in range(1, epochs + 1):
                age, seen = self.n_iter_ + 1, images
                if self.distortion is not None:
                    numbers = np.arange(len(images))
                    seen = self.distortion(
                        images, numbers, age, self._seed, backend=engine.backend, pool=pool
                    )
                order, rate = shuffled(len(images), self._seed, age), schedule.rate(epoch)
                with np.errstate(over="ignore", invalid="ignore"):  # told by the loss
                    batches = engine.train(
                        seen, labels, order, self.batch_size, self._optimiser, rate
                    )
                totals = sum(batches, Totals())
                self._check_finite(totals.loss, rate)
                self.loss_curve_.append(totals.loss / totals.images)
                self.n_iter_ = age
                if self.verbose:
                    loss, wrong = self.loss_curve_[-1], totals.errors / totals.images
                    print(f"Epoch {epoch}/{epochs}: loss {loss:.4f}, {wrong:.2%} wrong")

    def _check_finite(self, loss: float, rate: float) -> None:
        arrays = self.network_.parameters.values()
        if not (math.isfinite(loss) and all(np.isfinite(array).all() for array in arrays)):
            raise TrainingDiverged(
                "learning_rate: expected one with which loss and weights stay finite, got "
                f"{rate:g}; start again with a lower one, such as {rate / 10:g}"
            )

    def _engine(self, network: Network, batch_size: int | None = None) -> engines.Engine:
        """Return an engine that learns from such batches, or without a size one that answers.

        The online engine rounds differently for one row and for several, and is no faster for
        several: rows are answered by the lane engine in its place.
        """
        online = self.engine == "online" and batch_size is None
        return engines.create(
            network,
            losses.default_for(network),
            engine="auto" if online else self.engine,
            batch_size=batch_size,
            backend=self.backend,
            threads=self._threads(),
        )

    def _threads(self) -> int:
        wanted = self.n_jobs
        if wanted is None:
            return min(effective_n_jobs(None), threads.default_threads())
        try:
            wanted = checks.integer("n_jobs", wanted, -(2**31))
        except TypeError:
            raise TypeError(
                f"n_jobs: expected None or an int, got {checks.kind(self.n_jobs)}"
            ) from None
        if wanted == 0:
            raise ValueError("n_jobs: expected a number of threads, or -1 for all, got 0")
        # They are threads, which a worker process may have where it may not have processes.
        with parallel_config(prefer="threads"):
            return min(effective_n_jobs(wanted), threads.default_threads())

    def _images(self, X: Array) -> Array:
        return _rows.images(X, self.image_shape_, self.pixel_range_, self.network_)

    def _answers(self, network: Network, X: Any) -> Array:
        """Return a network's outputs for rows."""
        X = validate_data(self, X, reset=False)
        _scale.check_same(X, self._scale)
        with contextlib.closing(self._engine(network)) as engine:
            pieces = (X[first : first + _rows.PIECE] for first in range(0, len(X), _rows.PIECE))
            return np.concatenate([engine.predict(self._images(piece)) for piece in pieces])


class LeNetClassifier(ClassifierMixin, _LeNet):
    """A LeNet that tells classes from one another.

    Parameters
    ----------
    model : {"lenet5", "lenet4", "lenet1"}
        Which LeNet, from the largest to the smallest.
    pooling : {"max", "average", "subsample"} or None
        Of LeNet-5 only, as the next two: see :func:`lenet_fast.models.lenet5`. The other models
        have trainable sub-sampling, scaled tanh and weighted sums, and refuse other values of these
        three than the defaults.
    activation : {"relu", "scaled_tanh", "tanh", "sigmoid"}
        Squashing function; "scaled_tanh" is that of 1998.
    output : {"softmax", "rbf"}
        A weighted sum for each class, trained by cross-entropy; or squared distances to the bitmaps
        of the ten digits, as in 1998, trained by the MAP criterion, where the classes are 0 to 9,
        be they numbers or strings. These want a squashing that reaches +1 and -1, "scaled_tanh".
    image_shape : (h, w), optional
        What a row is: pixels of an image of so many rows and columns, row by row. By default a
        square; features that are no square number are followed by paper up to the next one, with
        a :class:`TableWarning` where there are more than 35.
    epochs : int, optional
        How often all rows are seen. By default 20 times, or more often where that would be fewer
        than 300 steps; ``n_iter_`` says how often it was.
    batch_size : int
        Rows a step.
    optimiser : {"adamw", "sgd"}
    learning_rate : float, optional
        By default 0.002 for AdamW, and for SGD 0.02, or 0.0014 with "rbf"; less for a batch size
        below 32, see :func:`lenet_fast.training.schedules.default_for`.
    schedule : {"cosine", "constant"}
        Whether the rate falls to a hundredth during :meth:`fit`, or stays.
    momentum : float
        Of SGD; AdamW refuses another value than the default.
    weight_decay : float
        See :class:`lenet_fast.training.AdamW` and :class:`lenet_fast.training.SGD`.
    distortion : lenet_fast.data.Distortion, optional
        What happens to the images before they are learned from, anew in each epoch, such as
        ``lenet_fast.data.distort.PAPER``. They are rounded to 256 grey levels for it.
    dtype : {"float32", "float64"}
        That of the network. Whatever dtype the rows have, they are scaled in float64 and then
        rounded to this one.
    engine, backend : str, optional
        As in :func:`lenet_fast.engines.create`.
    n_jobs : int, optional
        Threads, in scikit-learn's manner: None is 1, unless joblib's context says otherwise, and -1
        is all. There are never more than physical cores, or than ``LENET_FAST_THREADS``. Their
        number does not change any result.
    random_state : int, RandomState or None
        Decides on the first weights, the order of the rows, and the distortions.
    verbose : bool
        Whether to print a line an epoch.

    Attributes
    ----------
    classes_ : ndarray (k,)
    n_features_in_ : int
    feature_names_in_ : ndarray (features,)
        Where the columns of X have names.
    network_ : Network
        To look at, save (:func:`lenet_fast.files.save_model`) or export.
    image_shape_ : (h, w)
    pixel_range_ : (lowest, highest)
        The values that become paper and ink.
    n_iter_ : int
        Epochs so far.
    loss_curve_ : list of float
        The mean loss of each epoch, as it was met while learning.

    Notes
    -----
    The lowest value in the whole table that is learned from becomes the network's paper and the
    highest its ink; values outside are taken for those. A few that lie farther from all others than
    these from one another do not count: a column of row numbers, -999 where a value is missing.
    Tables with columns on scales of their own want a ``StandardScaler`` in front. A
    :class:`TableWarning` says so, and where later rows are on another scale than the first.

    Images are enlarged by a whole factor while they are within 28x28, are shrunk by averages over
    areas until the longer side is 28 if they are larger than the network's input (32x32; for
    LeNet-1, 28x28), and are put into the middle, on paper.

    A row gets the same answer to the last bit alone and among others, except where the layers
    engine runs, as it does with the NumPy backend. While it learns, a table takes 4 KiB a row, or 8
    in float64.

    A KeyboardInterrupt leaves the estimator with what it has learned until then. A pickled
    estimator holds arrays and no threads; only load such files from people you trust.

    Examples
    --------
    >>> from lenet_fast import data
    >>> from lenet_fast.sklearn import LeNetClassifier
    >>> digits = data.load("sample").train.subset(1000)
    >>> X, y = digits.images.reshape(1000, 784), digits.labels
    >>> classifier = LeNetClassifier(epochs=5, random_state=0).fit(X[:900], y[:900])
    >>> classifier.predict_proba(X[900:]).shape, classifier.score(X[900:], y[900:]) > 0.8
    ((100, 10), True)
    """

    def _scores(self, X: Any) -> Array:
        """Return a number for each row and class, of which the largest wins; in float64."""
        check_is_fitted(self)
        answers = self._answers(self.network_, X).astype(np.float64)
        return -answers if self.network_.output == "rbf" else answers

    def predict(self, X: Any) -> Array:
        """Return the class of each row (n,)."""
        winners = self._scores(X).argmax(axis=1)
        return self.classes_[winners]

    def decision_function(self, X: Any) -> Array:
        """Return a score for each row and class (n, k), or of two classes the second's lead (n,).

        They are the network's outputs; with "rbf", negative squared distances.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class for each row (n, k), in the order of ``classes_``.

        With "rbf", it is the one on which the MAP criterion is built, given that the row is one
        of the digits.
        """
        return softmax(self._scores(X), copy=False)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class for each row (n, k).

        They stay finite where the probability itself is so small that it becomes 0.
        """
        scores = self._scores(X)
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


class LeNetFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _LeNet):
    """What a LeNet makes of images on its way to their classes: features that it has learned.

    It learns as :class:`LeNetClassifier` does, with the same parameters and attributes, and
    transforms rows into the activations below the outputs: with LeNet-5 the 84 of F6, with LeNet-4
    the 120 of C5, and with LeNet-1 the 192 of H4. They have the network's dtype.

    Parameters
    ----------
    model, pooling, activation, output, image_shape, epochs, batch_size, optimiser, learning_rate, \
schedule, momentum, weight_decay, distortion, dtype, engine, backend, n_jobs, random_state, verbose
        As for :class:`LeNetClassifier`.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from lenet_fast import data
    >>> from lenet_fast.sklearn import LeNetFeatures
    >>> digits = data.load("sample").train.subset(1000)
    >>> X, y = digits.images.reshape(1000, 784), digits.labels
    >>> neighbours = make_pipeline(LeNetFeatures(epochs=5, random_state=0), KNeighborsClassifier())
    >>> neighbours.fit(X[:900], y[:900]).score(X[900:], y[900:]) > 0.8
    True
    >>> neighbours[0].transform(X[:3]).shape
    (3, 84)
    """

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.network_.shapes[-2])

    def transform(self, X: Any) -> Array:
        """Return the activations below the outputs, for each row (n, units)."""
        check_is_fitted(self)
        # Engines return outputs only: these are sums of a single term each.
        units = self._n_features_out
        network = _with_last(self.network_, "FEATURES", units, "linear")
        for name, array in network.parameters.items():
            array[...] = self.network_.parameters.get(name, 0)
        network.parameters["FEATURES.w"][...] = np.eye(units)
        return self._answers(network, X)


def _with_last(network: Network, name: str, units: int, output: str) -> Network:
    """Return a new network, another dense layer in place of the outputs and their squashing."""
    config = network.config()
    names = [layer["name"] for layer in config["layers"]]
    last = names.index("OUTPUT")
    dense = Dense(math.prod(network.shapes[last]), units, name=name)
    return Network.from_config(
        config | {"layers": [*config["layers"][:last], dense.config()], "output": output}
    )
