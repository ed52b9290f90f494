"""The estimators: scikit-learn's interface to a network, an engine and an optimiser."""

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

from lenet_fast import (
    checks,
    choices,
    defaults,
    docstrings,
    engines,
    initialisers,
    layers,
    losses,
    models,
    threads,
)
from lenet_fast.checks import Array
from lenet_fast.data import Distortion
from lenet_fast.engines import Optimiser, Totals, online
from lenet_fast.layers import Activation, Dense
from lenet_fast.network import Network
from lenet_fast.sklearn import _rows, _scale
from lenet_fast.training import OPTIMISERS, SGD, Constant, TrainingDiverged, schedules
from lenet_fast.training.batches import shuffled
from lenet_fast.training.schedules import Schedule

EPOCHS, LEAST_STEPS = 20, 300
"""Default epochs of a fit; with few rows there are more epochs, up to this many steps."""

_CHOICES = {
    "model": ("lenet5", "lenet4", "lenet1"),
    "output": ("softmax", "rbf"),
    "optimiser": defaults.OPTIMISERS,
    "schedule": ("cosine", "one_cycle", "linear_decay", "constant"),
    "engine": engines.NAMES,
}
_USED_WITH = {
    "pooling": ("model", "lenet5"),
    "activation": ("model", "lenet5"),
    "output": ("model", "lenet5"),
    "momentum": ("optimiser", "sgd"),
}
"""Parameters that apply only with one choice of another parameter."""

_SETTLED = (
    *("model", "pooling", "activation", "output", "image_shape", "optimiser", "momentum"),
    *("weight_decay", "dtype"),
)
"""Parameters that determine network and optimiser, and cannot change once learning has begun."""


_of_rows = docstrings.completed(
    Parameters="X : array-like (n, features)\n    As for :meth:`fit`.",
    Raises="""TypeError, ValueError
    If the rows do not fit those that it has learned from.
sklearn.exceptions.NotFittedError
    If it has not learned.""",
)
"""Completes the docstring of a method that answers for rows."""


class _LeNet(BaseEstimator):
    """Shared by both estimators: the parameters and the learning."""

    network_: Network
    _optimiser: Optimiser

    def __init__(
        self,
        model: str = "lenet5",
        *,
        pooling: choices.Pooling | None = "max",
        activation: choices.Activation | str | Activation = "relu",
        output: choices.Output = "softmax",
        image_shape: tuple[int, int] | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        optimiser: choices.Optimiser = "adamw",
        learning_rate: float | None = None,
        schedule: choices.Schedule = "cosine",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        distortion: Distortion | None = None,
        dtype: choices.DType = "float32",
        engine: choices.Engine = "auto",
        backend: choices.Backend | None = None,
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
        """Give a class its own copies of methods, so that Python's errors name that class."""
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
            Real numbers, one image per row.
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
            If the loss or a weight is no longer finite. After any error the estimator is unchanged:
            not fitted, or as the last fit left it.

        Warns
        -----
        TableWarning
            If the table may not be what it seems.

        Examples
        --------
        >>> from lenet_fast import data
        >>> from lenet_fast.sklearn import LeNetClassifier
        >>> digits = data.load("sample").train.subset(100)
        >>> classifier = LeNetClassifier(epochs=1, random_state=0)
        >>> classifier.fit(digits.images.reshape(100, 784), digits.labels).n_iter_
        1
        >>> classifier.classes_, classifier.pixel_range_
        (array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], dtype=uint8), (0.0, 255.0))
        """
        with self._unchanged_by_errors():
            X, y = validate_data(self, X, y)
            check_classification_targets(y)
            self._check_parameters()
            self._begin(X, np.unique(y))
            epochs = self.epochs
            if epochs is None:
                epochs = max(EPOCHS, math.ceil(LEAST_STEPS / math.ceil(len(X) / self.batch_size)))
            kind = schedules.SCHEDULES[self.schedule]
            by_epoch = {"epochs": epochs} if self.schedule == "cosine" else {}
            self._learn(X, y, kind(self._rate(), **by_epoch), epochs)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Learn from some rows once, at a constant rate, in addition to earlier ones.

        Parameters
        ----------
        X : array-like (n, features)
            Real numbers, one image per row. The first call determines the scale of the pixels.
        y : array-like (n,)
            The class of each row.
        classes : array-like (k,), optional
            All classes that can ever occur; by default those of the first call's `y`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, lenet_fast.training.TrainingDiverged
            As for :meth:`fit`; also if the classes change or lack one of `y`, or if a parameter
            changes that determines network or optimiser.

        Warns
        -----
        TableWarning
            As for :meth:`fit`; also if the rows are on another scale than those of the first call.

        Examples
        --------
        >>> from lenet_fast import data
        >>> from lenet_fast.sklearn import LeNetClassifier
        >>> digits = data.load("sample").train.subset(100)
        >>> X, y = digits.images.reshape(100, 784), digits.labels
        >>> classifier = LeNetClassifier(random_state=0)
        >>> classifier = classifier.partial_fit(X[:50], y[:50], classes=range(10))
        >>> classifier.partial_fit(X[50:], y[50:]).n_iter_
        2
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
                # An error restores the originals, which have not learned from these rows.
                self.network_, self._optimiser = copy.deepcopy((self.network_, self._optimiser))
            self._learn(X, y, Constant(self._rate()), 1)
        return self

    @contextlib.contextmanager
    def _unchanged_by_errors(self) -> Iterator[None]:
        """Restore the previous state if learning fails."""
        before = self.__dict__.copy()
        try:
            yield
        except Exception:
            self.__dict__ = before
            raise

    def _check_parameters(self) -> None:
        """Raise unless each parameter is valid and applies with the others."""
        for name, allowed in _CHOICES.items():
            checks.choice(name, getattr(self, name), allowed)
        layers.activation("activation", self.activation)
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
            got, chosen = self._setting(name), getattr(self, other)
            if chosen != value and got != usual[name]:
                raise ValueError(
                    f"{name}: expected {usual[name]!r}, the default, with {other}={chosen!r}, "
                    f"which ignores it, got {got!r}; it applies with {other}={value!r}"
                )

    def _check_settled(self) -> None:
        """Raise if a parameter has changed that determined the network or the optimiser."""
        for name, value in self._settled.items():
            if self._setting(name) != value:
                raise ValueError(
                    f"{name}: expected {value!r}, as when learning began, got "
                    f"{self._setting(name)!r}; fit learns from scratch, with new parameters"
                )

    def _setting(self, name: str) -> Any:
        """Return a parameter, be it given one way or another."""
        value = getattr(self, name)
        return layers.activation(name, value).text if name == "activation" else value

    def _begin(self, X: Array, classes: Array) -> None:
        """Create a new network, and set everything that stays fixed from here on."""
        momentum = {"momentum": self.momentum} if self.optimiser == "sgd" else {}
        optimiser = OPTIMISERS[self.optimiser](weight_decay=self.weight_decay, **momentum)
        shape = _rows.image_shape(X.shape[1], self.image_shape)
        _scale.check_shape(X.shape[1], shape)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with initialisers.deferred():
            self.network_, initialiser = self._new_network(classes)
        self.network_.initialise(initialiser, seed)
        self.classes_, self.image_shape_ = classes, shape
        self._scale = _scale.learn(X)
        self.pixel_range_ = self._scale.lowest, self._scale.highest
        self._seed, self._optimiser = seed, optimiser
        self._settled = {name: self._setting(name) for name in _SETTLED}
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []

    def _new_network(self, classes: Array) -> tuple[Network, choices.Initialiser]:
        """Return a network for these classes, and the name of its initialiser."""
        initialiser: choices.Initialiser = "lecun_sqrt"
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
                "output: expected 'softmax' unless the classes are the ten digits, for which 'rbf' "
                f"has bitmaps, got 'rbf' for the classes {classes}"
            )
        return network, initialiser

    def _rate(self) -> float:
        if self.learning_rate is None:
            loss = losses.default_for(self.network_)
            if self.schedule in ("one_cycle", "linear_decay"):
                return defaults.peak(loss.name, self.optimiser, self.batch_size)
            # The default is for a step schedule; the mean of a cosine is half of its first rate.
            return 2 * schedules.default_for(loss, self.optimiser, self.batch_size).rate(1)
        rate = checks.real("learning_rate", self.learning_rate)
        if rate <= 0:
            raise ValueError(f"learning_rate: expected a number above 0, got {rate}")
        return rate

    def _learn(self, X: Array, y: Array, schedule: Schedule, epochs: int) -> None:
        images, labels = self._images(X), np.searchsorted(self.classes_, y)
        batches = math.ceil(len(images) / self.batch_size)
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
                order = shuffled(len(images), self._seed, age)
                rates = schedules.rates(schedule, epoch, 0, batches, batches=batches, epochs=epochs)
                with np.errstate(over="ignore", invalid="ignore"):  # checked below
                    found = engine.train(
                        seen,
                        labels,
                        order,
                        self.batch_size,
                        self._optimiser,
                        rates,
                        seed=self._seed,
                    )
                totals = sum(found, Totals())
                self._check_finite(totals.loss, float(rates.max()))
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
        """Return an engine that trains with a batch size, or without one an engine that predicts.

        The online engine rounds differently for one row than for several, and is no faster for
        several, so the lane engine predicts in its place.
        """
        online = self.engine == "online" and batch_size is None
        return engines.create(
            network,
            losses.default_for(network),
            engine="auto" if online else self.engine,
            batch_size=batch_size,
            optimiser=None if batch_size is None else self._optimiser,
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
        # A worker process may have threads where it may not have processes.
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
    """A LeNet as a classifier.

    Parameters
    ----------
    model : {"lenet5", "lenet4", "lenet1"}
        Which LeNet, from the largest to the smallest.
    pooling : {"max", "average", "subsample"} or None
        Only for LeNet-5, like the next two; see :func:`lenet_fast.models.lenet5`. The other models
        have trainable sub-sampling, scaled tanh and weighted sums, and refuse other values of
        these three than the defaults.
    activation : str or Activation
        "relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid", or "scaled_tanh", that of 1998. With
        an option: "leaky_relu:0.2", ``LeakyReLU(0.2)``; see :func:`lenet_fast.models.lenet5`.
    output : {"softmax", "rbf"}
        A weighted sum per class, trained with cross-entropy; or, as in 1998, squared distances to
        the bitmaps of the ten digits, trained with the MAP criterion, for the classes 0 to 9 as
        numbers or strings. The latter needs an activation that reaches +1 and -1, "scaled_tanh".
    image_shape : (h, w), optional
        Rows and columns of the image in each row, whose pixels are in row-major order. By default
        a square; rows whose length is not a square are padded with background to the next square,
        with a :class:`TableWarning` above 35 features.
    epochs : int, optional
        Number of passes over all rows. By default 20, or more if that makes fewer than 300 steps;
        see ``n_iter_``.
    batch_size : int
        Rows per step.
    optimiser : {"adamw", "adam", "rmsprop", "adadelta", "sgd"}
        See :mod:`lenet_fast.training.optimisers`.
    learning_rate : float, optional
        By default twice the first rate of :func:`lenet_fast.training.schedules.default_for`: 0.002
        for AdamW, smaller for a batch size below 32. For SGD it is three times that rate with the
        schedules by step.
    schedule : {"cosine", "one_cycle", "linear_decay", "constant"}
        How the rate changes during :meth:`fit`: it falls to a hundredth along a cosine, epoch by
        epoch; it rises for 15 % of the steps and then falls to 0, step by step; it falls to 0 from
        the start; or it stays constant. See :mod:`lenet_fast.training.schedules`.
    momentum : float
        For SGD; the others refuse other values than the default.
    weight_decay : float
        Added to the gradient, or with AdamW to the step.
    distortion : lenet_fast.data.Distortion, optional
        Distorts the images before training, anew in each epoch, such as
        ``lenet_fast.data.distort.PAPER``. The images are first rounded to 256 grey levels.
    dtype : {"float32", "float64"}
        Dtype of the network. Rows of any dtype are scaled in float64 and then rounded to this one.
    engine, backend : str, optional
        As in :func:`lenet_fast.engines.create`.
    n_jobs : int, optional
        Number of threads, with scikit-learn's meaning: None is 1, unless joblib's context says
        otherwise, and -1 is all. The number never exceeds the physical cores or
        ``LENET_FAST_THREADS``, and does not change results.
    random_state : int, RandomState or None
        Determines the initial weights, the order of the rows, and the distortions.
    verbose : bool
        Whether to print a line per epoch.

    Attributes
    ----------
    classes_ : ndarray (k,)
    n_features_in_ : int
    feature_names_in_ : ndarray (features,)
        If the columns of X have names.
    network_ : Network
        To inspect, save (:func:`lenet_fast.files.save_model`) or export.
    image_shape_ : (h, w)
    pixel_range_ : (lowest, highest)
        The values that become background and foreground.
    n_iter_ : int
        Number of epochs so far.
    loss_curve_ : list of float
        The mean training loss of each epoch.

    Notes
    -----
    The lowest value in the whole training table becomes the network's background and the highest
    its foreground; values outside are clipped. A few values farther from all others than these from
    one another are ignored, such as a column of row numbers, or -999 for missing values. If the
    columns have different scales, put a ``StandardScaler`` in front. A :class:`TableWarning` says
    so, and reports later rows on another scale than the first.

    Images within 28x28 are enlarged by a whole factor. Images larger than the network's input
    (32x32; for LeNet-1, 28x28) are shrunk by area means until the longer side is 28. All are
    centred on background.

    A row gets the same bits alone and among others, except on the layers engine, which the NumPy
    backend always uses. Training takes 4 KiB per row, 8 KiB in float64.

    After a KeyboardInterrupt the estimator holds what it has learned so far. A pickled estimator
    holds arrays and no threads; only load such files from people you trust.

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
        """Return a score for each row and class, of which the largest wins; in float64."""
        check_is_fitted(self)
        answers = self._answers(self.network_, X).astype(np.float64)
        return -answers if self.network_.output == "rbf" else answers

    @_of_rows
    def predict(self, X: Any) -> Array:
        """Return the class of each row.

        Returns
        -------
        ndarray (n,)
            Out of ``classes_``.

        Examples
        --------
        Two easy classes, in rows of four pixels, as 2x2 images:

        >>> import numpy as np
        >>> from lenet_fast.sklearn import LeNetClassifier
        >>> X = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]).repeat(10, axis=0)
        >>> y = np.array(["left", "right"]).repeat(10)
        >>> classifier = LeNetClassifier(epochs=10, random_state=0).fit(X, y)
        >>> classifier.predict([[0.9, 0.1, 0.9, 0.1], [0.2, 0.8, 0.1, 0.9]])
        array(['left', 'right'], dtype='<U5')
        """
        winners = self._scores(X).argmax(axis=1)
        return self.classes_[winners]

    @_of_rows
    def decision_function(self, X: Any) -> Array:
        """Return scores, of which the largest wins.

        They are the network's outputs; with "rbf", negative squared distances.

        Returns
        -------
        float64 ndarray (n, k), or (n,)
            Per row and class; for two classes, the second's lead.

        Examples
        --------
        >>> from lenet_fast import data
        >>> from lenet_fast.sklearn import LeNetClassifier
        >>> digits = data.load("sample").train.subset(100)
        >>> X, y = digits.images.reshape(100, 784), digits.labels
        >>> classifier = LeNetClassifier(epochs=1, random_state=0).fit(X, y)
        >>> scores = classifier.decision_function(X[:5])
        >>> scores.shape, bool((scores.argmax(axis=1) == classifier.predict(X[:5])).all())
        ((5, 10), True)
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    @_of_rows
    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        With "rbf", it is the probability on which the MAP criterion is based, given that the row is
        one of the digits.

        Returns
        -------
        float64 ndarray (n, k)
            Per row and class, in the order of ``classes_``.

        Examples
        --------
        >>> from lenet_fast import data
        >>> from lenet_fast.sklearn import LeNetClassifier
        >>> digits = data.load("sample").train.subset(100)
        >>> X, y = digits.images.reshape(100, 784), digits.labels
        >>> classifier = LeNetClassifier(epochs=1, random_state=0).fit(X, y)
        >>> classifier.predict_proba(X[:3]).sum(axis=1).round(6)
        array([1., 1., 1.])
        """
        return softmax(self._scores(X), copy=False)

    @_of_rows
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class.

        It stays finite where the probability itself rounds to 0.

        Returns
        -------
        float64 ndarray (n, k)
            Per row and class, in the order of ``classes_``.

        Examples
        --------
        >>> import numpy as np
        >>> from lenet_fast import data
        >>> from lenet_fast.sklearn import LeNetClassifier
        >>> digits = data.load("sample").train.subset(100)
        >>> X, y = digits.images.reshape(100, 784), digits.labels
        >>> classifier = LeNetClassifier(epochs=1, random_state=0).fit(X, y)
        >>> logarithms = classifier.predict_log_proba(X)
        >>> np.allclose(np.exp(logarithms), classifier.predict_proba(X))
        True
        """
        scores = self._scores(X)
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


class LeNetFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _LeNet):
    """A LeNet as a transformer, which returns the features that it has learned.

    It learns like :class:`LeNetClassifier`, with the same parameters and attributes, and
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

    @_of_rows
    def transform(self, X: Any) -> Array:
        """Return the activations below the outputs.

        Returns
        -------
        ndarray (n, units)
            In the network's dtype.

        Examples
        --------
        >>> from lenet_fast import data
        >>> from lenet_fast.sklearn import LeNetFeatures
        >>> digits = data.load("sample").train.subset(100)
        >>> X, y = digits.images.reshape(100, 784), digits.labels
        >>> LeNetFeatures("lenet1", epochs=1, random_state=0).fit(X, y).transform(X).shape
        (100, 192)
        """
        check_is_fitted(self)
        # Engines return outputs only; an identity layer on top returns the activations unchanged.
        units = self._n_features_out
        with initialisers.deferred():
            network = _with_last(self.network_, "FEATURES", units, "linear")
        for name, array in network.parameters.items():
            array[...] = self.network_.parameters.get(name, 0)
        network.parameters["FEATURES.w"][...] = np.eye(units)
        return self._answers(network, X)


def _with_last(network: Network, name: str, units: int, output: choices.Output) -> Network:
    """Return a new network with another dense layer instead of the outputs and their activation."""
    config = network.config()
    names = [layer["name"] for layer in config["layers"]]
    last = names.index("OUTPUT")
    dense = Dense(math.prod(network.shapes[last]), units, name=name)
    return Network.from_config(
        config | {"layers": [*config["layers"][:last], dense.config()], "output": output}
    )
