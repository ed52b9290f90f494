"""Training of a compiled model in place, with our engines."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from lenet_fast import checks, choices, counts, engines, layers
from lenet_fast.checks import Array
from lenet_fast.keras import updates
from lenet_fast.keras.goals import Goal
from lenet_fast.keras.reading import Link, Reading, as_array
from lenet_fast.training import TrainingDiverged
from lenet_fast.training.interrupts import Stop, stop_on_sigint

_log = logging.getLogger(__name__)

_EVALUATED = 4096  # images at a time, so that Ctrl-C takes effect soon
_REGULARIZERS = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)

_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
_HARMLESS = (
    keras.callbacks.History,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.TerminateOnNaN,
)
"""Callbacks that look at no weights after a batch, although they are called then."""


class Data(NamedTuple):
    """Images as the network takes them, and their targets."""

    x: Array
    labels: Array
    targets: Array  # as the model's metrics take them
    weights: Array | None


def fit(
    model: keras.Model,
    x: Any,
    y: Any,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: str | int = "auto",
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: dict[int, float] | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    *,
    validation_batch_size: int | None = None,
    validation_freq: int | Iterable[int] = 1,
    engine: choices.Engine = "auto",
    backend: choices.Backend | None = None,
    threads: int | None = None,
) -> keras.callbacks.History:
    """Train a model as ``model.fit`` does, several times faster.

    Weights, optimizer state, logs and history end as those of ``model.fit``, within rounding, for
    the same order of the images; training can go on either way.

    Parameters
    ----------
    model : keras.Model
        Sequential or functional, compiled, float32 or float64: a row of the layers listed in the
        notes. Its weights are updated in place; layers with ``trainable=False`` do not change.
    x : array
        Images as the model takes them, such as (n, 28, 28, 1), of any real dtype; or a tensor of
        Keras' backend. Data sets and generators are refused.
    y : array
        Integer labels (n,) or (n, 1) for sparse_categorical_crossentropy; one-hot targets (n, k)
        for categorical_crossentropy and mean_squared_error.
    batch_size : int, optional
        By default 32, as in Keras.
    epochs : int
        Number of the last epoch, counted from `initial_epoch`.
    verbose : {"auto", 0, 1, 2}
        As in Keras: nothing, a progress bar, or a line per epoch.
    callbacks : list of keras.callbacks.Callback, optional
        Called as by Keras, when the model and its optimizer are as a loop leaves them. For a
        callback with its own ``on_train_batch_begin`` or ``on_train_batch_end`` they are so after
        every batch, which costs some time.
    validation_split : float
        Share of the images that is not trained on: the last ones, before any shuffling.
    validation_data : tuple, optional
        (x, y) or (x, y, sample_weight) to evaluate on.
    shuffle : bool
        Whether each epoch has its own random order.
    class_weight : dict of int to float, optional
        Factor of the loss of each class, by default 1.
    sample_weight : array (n,), optional
        Factor of each image's loss.
    initial_epoch : int
    validation_batch_size : int, optional
        Images per batch of the metrics that only Keras computes.
    validation_freq : int or list of int
        Evaluate after every so many epochs, or after these.
    engine, backend, threads : optional
        As in :func:`lenet_fast.engines.create`.

    Returns
    -------
    keras.callbacks.History
        Also ``model.history``.

    Raises
    ------
    TypeError, ValueError
        If something cannot be done the same way here; the message names the layer, the option or
        the argument. Nothing has been changed.
    lenet_fast.training.TrainingDiverged
        If a loss is not finite, and no callback such as TerminateOnNaN ends training. That batch
        has changed nothing, the batches before it have.
    KeyboardInterrupt
        After Ctrl-C, when the current call of the engine (up to 512 images) has finished. Model and
        optimizer are in the state after a step.

    Notes
    -----
    Layers: Conv2D, DepthwiseConv2D, Dense, MaxPooling2D, AveragePooling2D, GlobalMaxPooling2D,
    GlobalAveragePooling2D, Flatten, Dropout, SpatialDropout2D, Activation, ReLU, LeakyReLU, ELU,
    Softmax, and at the beginning Rescaling, Normalization of all pixels alike and Reshape. A
    ZeroPadding2D must come before a Conv2D. Activations: linear, relu, leaky_relu, elu, gelu, tanh,
    sigmoid, and softmax or log_softmax at the end.

    Losses: crossentropy, sparse or not, after a softmax or ``from_logits=True``, also with label
    smoothing; mean squared error of one-hot targets. It is computed from the outputs before the
    softmax, as Keras does with TensorFlow; other backends of Keras clip probabilities at 1e-7.

    The engines compute the steps of SGD, Adam, AdamW and Adadelta, and the accuracy. Where other
    optimizers, gradient clipping, other metrics, weights of samples or classes, regularizers or
    constraints are used, Keras' own optimizer runs around the engines, which then compute gradients
    only. That is slower; the logger ``lenet_fast.keras.fitting`` says so, and for which reason, at
    level WARNING.

    Dropout drops other units than in Keras, with the same probabilities. The order of the images
    and the dropped units follow from ``keras.utils.set_random_seed``.

    Examples
    --------
    >>> import keras
    >>> from lenet_fast import data
    >>> from lenet_fast.keras import fit
    >>> model = keras.Sequential(
    ...     [
    ...         keras.layers.Input((28, 28, 1)),
    ...         keras.layers.Conv2D(6, 5, activation="relu"),
    ...         keras.layers.MaxPooling2D(2),
    ...         keras.layers.Flatten(),
    ...         keras.layers.Dense(10, activation="softmax"),
    ...     ]
    ... )
    >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> digits = data.load("sample").train
    >>> x = digits.images[..., None] / 255
    >>> history = fit(model, x, digits.labels, epochs=2, validation_split=0.1, verbose=0)
    >>> list(history.history)
    ['accuracy', 'loss', 'val_accuracy', 'val_loss']
    >>> history.history["val_accuracy"][-1] > 0.8
    True
    """
    batch_size = 32 if batch_size is None else checks.integer("batch_size", batch_size, 1)
    epochs = checks.integer("epochs", epochs, 1)
    initial_epoch = checks.integer("initial_epoch", initial_epoch, 0)
    shuffle = checks.flag("shuffle", shuffle)
    reading = Reading(model)
    _check_own(model, reading)
    goal = Goal(model, reading, y)
    reading.network.output = goal.loss.output
    if class_weight is not None and sample_weight is not None:
        raise ValueError("class_weight: expected None beside sample_weight, got both")
    given = (x, y, sample_weight)
    if validation_split and validation_data is None:
        given, validation_data = _split(given, validation_split)
    data = _data(reading, goal, ("x", "y", "sample_weight"), given)
    if class_weight is not None:
        data = data._replace(weights=_class_weights(class_weight, data.labels, reading))
    tested = None
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise ValueError(
                "validation_data: expected (x, y) or (x, y, sample_weight), got "
                f"{checks.kind(validation_data)}"
            )
        names = ("validation_data[0]", "validation_data[1]", "validation_data[2]")
        tested = _data(reading, goal, names, (*validation_data, None)[:3])
    if validation_batch_size is not None:
        validation_batch_size = checks.integer("validation_batch_size", validation_batch_size, 1)
    weighted = _weights(data, tested)
    reasons = [updates.beyond(model.optimizer), goal.beyond, weighted, _own(reading)]
    reasons = [reason for reason in reasons if reason]
    if reasons:
        _log.warning(
            "Keras' own optimizer, around the engines: slower than the engines alone, for which "
            "fit needs: %s",
            "; ".join(reasons),
        )
    if (note := counts.note_on_speed(reading.network)) is not None:
        _log.warning(note)
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=math.ceil(len(data.x) / batch_size),
            model=model,
        )
    drops = any(isinstance(layer, layers.Dropout) for layer in reading.network.layers)
    seed = _drawn() if shuffle or drops else 0
    made = engines.create(
        *(reading.network, goal.loss),
        engine=engine,
        batch_size=batch_size,
        backend=backend,
        threads=threads,
    )
    kind = _Outputs if goal.beyond or weighted else _Around if reasons else _Alone
    run = kind(model, reading, goal, made, seed)
    loop = _Loop(model, run, callbacks, batch_size)
    random = np.random.default_rng(seed)
    model.stop_training = False
    logs: dict[str, float] = {}
    try:
        callbacks.on_train_begin()
        # BackupAndRestore says so where a run goes on.
        initial_epoch = getattr(model, "_initial_epoch", None) or initial_epoch
        with stop_on_sigint(loop.stop):
            for epoch in range(initial_epoch, epochs):
                model.reset_metrics()
                callbacks.on_epoch_begin(epoch)
                order = random.permutation(len(data.x)) if shuffle else np.arange(len(data.x))
                logs = loop.train(data, order)
                if tested is not None and _is_due(validation_freq, epoch):
                    found = loop.evaluate(tested, validation_batch_size or batch_size)
                    logs |= {f"val_{name}": value for name, value in found.items()}
                callbacks.on_epoch_end(epoch, logs)
                if model.stop_training:
                    break
    finally:
        made.close()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    callbacks.on_train_end(logs)
    return model.history


class _Batch(NamedTuple):
    """What was computed for some images."""

    images: int
    loss: float  # summed
    right: int  # images whose class was found
    metrics: dict[str, float]  # of Keras, over all images since they were reset


class _Sums:
    """Sums over batches, and the logs that callbacks get of them."""

    def __init__(self, accuracies: list[str]) -> None:
        self._accuracies, self._images, self._loss, self._right = accuracies, 0, 0.0, 0

    def add(self, batch: _Batch) -> dict[str, float]:
        """Return the logs, with this batch."""
        self._images += batch.images
        self._loss += batch.loss
        self._right += batch.right
        accuracy = dict.fromkeys(self._accuracies, self._right / self._images)
        logs = {"loss": self._loss / self._images} | accuracy | batch.metrics
        return dict(sorted(logs.items()))  # as Keras has them


class _Loop:
    """Epochs of training and evaluation, with Keras' callbacks."""

    def __init__(self, model: Any, run: _Alone, callbacks: Any, batch_size: int) -> None:
        self._model, self._run, self._callbacks, self._size = model, run, callbacks, batch_size
        self.stop = Stop()
        self._each = any(map(_sees_batches, callbacks.callbacks))
        self._heard = any(map(_hears_batches, callbacks.callbacks))
        self._call = batch_size * max(1, 1 if self._each else run.images // batch_size)

    def train(self, data: Data, order: Array) -> dict[str, float]:
        """Train an epoch in this order, and return its logs."""
        run, callbacks, number, logs = self._run, self._callbacks, 0, {}
        sums = _Sums(run.goal.accuracies)
        run.take()
        try:
            for first in range(0, len(order), self._call):
                if self._each:
                    callbacks.on_train_batch_begin(number)
                    run.take()
                chosen = order[first : first + self._call]
                for batch in run.train(data, chosen, self._size):
                    logs = sums.add(batch)
                    if self._each:
                        run.give()
                    number += 1
                if self._heard:  # the last of the call, unless the call has only one
                    if not self._each:
                        callbacks.on_train_batch_begin(number - 1)
                    callbacks.on_train_batch_end(number - 1, logs)
                if not math.isfinite(batch.loss) and not self._model.stop_training:
                    raise TrainingDiverged(
                        f"batch {number} of the epoch: expected a finite loss, got {batch.loss}. "
                        "The model is as before that batch; start again with a lower learning_rate"
                    )
                self.stop.check()
                if self._model.stop_training:
                    break
        finally:
            run.give()
        return logs

    def evaluate(self, data: Data, size: int) -> dict[str, float]:
        """Return the logs of an evaluation."""
        run, callbacks, logs = self._run, self._callbacks, {}
        if not isinstance(run, _Outputs):
            size *= max(1, _EVALUATED // size)
        self._model.reset_metrics()
        callbacks.on_test_begin()
        sums = _Sums(run.goal.accuracies)
        for number, first in enumerate(range(0, len(data.x), size)):
            callbacks.on_test_batch_begin(number)
            logs = sums.add(run.evaluate(data, slice(first, first + size)))
            callbacks.on_test_batch_end(number, logs)
            self.stop.check()
        callbacks.on_test_end(logs)
        return logs


class _Alone:
    """Training by the engine alone, with our optimiser in place of Keras'."""

    def __init__(
        self, model: Any, reading: Reading, goal: Goal, engine: engines.Engine, seed: int
    ) -> None:
        self.goal = goal
        self._model, self._reading, self._engine, self._seed = model, reading, engine, seed
        self._begin()

    def _begin(self) -> None:
        self._update = updates.Update(self._model, self._reading)
        self.images = 1 if self._update.one_step else self._engine.images_a_call

    def take(self) -> None:
        """Take weights and state from the model."""
        self._reading.take()
        self._update.take()

    def give(self) -> None:
        """Return them to the model."""
        self._reading.give()
        self._update.give()

    def train(self, data: Data, order: Array, batch_size: int) -> Iterator[_Batch]:
        """Make a step per batch, and yield what was computed."""
        rates = self._update.rates(math.ceil(len(order) / batch_size))
        # Overflow shows up as a non-finite loss.
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._engine.train(
                *(data.x, data.labels, order, batch_size, self._update.ours, rates),
                seed=self._seed,
            )
        if not math.isfinite(found[-1].loss):
            self._update.undo(len(rates) - len(found) + 1)
        yield from map(self._counted, found)

    def evaluate(self, data: Data, chosen: slice) -> _Batch:
        """Return what was computed for some images."""
        return self._counted(self._engine.evaluate(data.x[chosen], data.labels[chosen]))

    def _counted(self, totals: engines.Totals) -> _Batch:
        return _Batch(totals.images, totals.loss, totals.images - totals.errors, {})


class _Around(_Alone):
    """The engine computes loss and gradients; the optimizer is Keras' own."""

    images = 1

    def _begin(self) -> None:
        links = {id(link.variable): link for link in self._reading.links}
        self._links = [links[id(variable)] for variable in self._model.trainable_variables]

    def take(self) -> None:
        """Take the weights from the model."""
        self._reading.take()

    def give(self) -> None:
        """Do nothing: Keras' optimizer has done it."""

    def train(self, data: Data, order: Array, batch_size: int) -> Iterator[_Batch]:
        """Make a step per batch, and yield what was computed."""
        for first in range(0, len(order), batch_size):
            numbers = order[first : first + batch_size]
            step = int(keras.ops.convert_to_numpy(self._model.optimizer.iterations))
            with np.errstate(over="ignore", invalid="ignore"):
                batch, gradients = self._gradients(data, numbers, (self._seed, step))
            if math.isfinite(batch.loss):
                self._step(gradients)
            yield batch

    def _gradients(
        self, data: Data, numbers: Array, dropout: tuple[int, int]
    ) -> tuple[_Batch, dict[str, Array]]:
        """Return what was computed for a batch, and the gradients of its mean loss."""
        totals, gradients = self._engine.loss_and_gradients(
            data.x[numbers], data.labels[numbers], dropout=dropout
        )
        return self._counted(totals), gradients

    def _step(self, gradients: dict[str, Array]) -> None:
        arrays = [
            link.to_keras(gradients[f"{link.layer.name}.{link.name}"]) + _regularizer_gradient(link)
            for link in self._links
        ]
        tensors = [keras.ops.convert_to_tensor(np.ascontiguousarray(each)) for each in arrays]
        self._model.optimizer.apply(tensors, self._model.trainable_variables)
        self._reading.take()

    def _counted(self, totals: engines.Totals) -> _Batch:
        return self._regularized(super()._counted(totals))

    def _regularized(self, batch: _Batch) -> _Batch:
        penalty = sum(map(_regularizer_value, self._links))
        return batch._replace(loss=batch.loss + batch.images * penalty)


class _Outputs(_Around):
    """The engine computes outputs and gradients; metrics and optimizer are Keras' own, and the
    losses of images may have weights."""

    def _gradients(
        self, data: Data, numbers: Array, dropout: tuple[int, int]
    ) -> tuple[_Batch, dict[str, Array]]:
        outputs = self._engine.forward(data.x[numbers], dropout=dropout)
        gradient = self.goal.loss.gradient(outputs, data.labels[numbers])
        gradient *= 1 / len(numbers)
        if data.weights is not None:
            gradient *= data.weights[numbers, None]
        return self._batch(data, numbers, outputs), self._engine.backward(gradient)

    def evaluate(self, data: Data, chosen: slice) -> _Batch:
        """Return what was computed for some images."""
        return self._batch(data, chosen, self._engine.predict(data.x[chosen]))

    def _batch(self, data: Data, chosen: Array | slice, outputs: Array) -> _Batch:
        """Let Keras update its metrics; return them, and the loss."""
        values = self.goal.loss.values(outputs, data.labels[chosen])
        weights = None if data.weights is None else data.weights[chosen]
        tensor = keras.ops.convert_to_tensor
        found = self._model.compute_metrics(
            None,
            tensor(data.targets[chosen]),
            tensor(self._reading.outputs(outputs)),
            None if weights is None else tensor(weights),
        )
        metrics = {
            name: float(keras.ops.convert_to_numpy(value))
            for name, value in found.items()
            if name != "loss"  # which is not Keras' here
        }
        loss = float((values if weights is None else values * weights).sum())
        return self._regularized(_Batch(len(values), loss, 0, metrics))


# --- arguments  ---


def _data(reading: Reading, goal: Goal, names: Iterable[str], given: tuple[Any, ...]) -> Data:
    """Return checked arrays from images, targets and weights."""
    name_x, name_y, name_w = names
    x, y, weights = given
    images = reading.images(name_x, x)
    if not len(images):
        raise ValueError(f"{name_x}: expected at least one image, got none")
    targets = as_array(name_y, y)
    if len(targets) != len(images):
        raise ValueError(
            f"{name_y}: expected one target per image, {len(images)}, got {len(targets)}"
        )
    if weights is not None:
        weights = as_array(name_w, weights)
        if (
            weights.shape not in ((len(images),), (len(images), 1))
            or weights.dtype.kind not in "fiub"
        ):
            raise ValueError(
                f"{name_w}: expected one number per image, ({len(images)},), got {weights.dtype} "
                f"of shape {weights.shape}"
            )
        weights = weights.reshape(-1).astype(images.dtype)
        if not np.isfinite(weights).all():
            raise ValueError(f"{name_w}: expected finite numbers, got NaN or infinity")
    return Data(images, goal.labels(name_y, targets), targets, weights)


def _split(given: tuple[Any, ...], share: float) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split images, targets and weights; the last ones are for validation."""
    share = checks.below_one("validation_split", share)
    arrays = [
        each if each is None else as_array(name, each)
        for name, each in zip(("x", "y", "sample_weight"), given, strict=True)
    ]
    count = len(as_array("x", given[0]))
    at = math.floor(count * (1 - share))
    if not 0 < at < count:
        raise ValueError(
            f"validation_split: expected a share that leaves images on both sides, got {share} of "
            f"{count} images"
        )
    parts = [(None, None) if each is None else (each[:at], each[at:]) for each in arrays]
    first, last = zip(*parts, strict=True)
    return first, last


def _class_weights(given: Any, labels: Array, reading: Reading) -> Array:
    """Return a weight for each image by its class."""
    if not isinstance(given, dict):
        raise TypeError(f"class_weight: expected a dict of int to float, got {checks.kind(given)}")
    classes = reading.network.output_shape[0]
    table = np.ones(classes, keras.config.floatx())
    for key, value in given.items():
        name = f"class_weight[{key!r}]"
        table[checks.integer(f"{name}: class", key, 0, classes - 1)] = checks.real(name, value)
    return table[labels]


def _weights(*given: Data | None) -> str:
    """Return why only Keras' loop takes the weights of images; "" if there are none."""
    weighted = any(data is not None and data.weights is not None for data in given)
    return "sample_weight: expected no weights of images or classes, got some" if weighted else ""


def _own(reading: Reading) -> str:
    """Return why only Keras can update the variables; "" if the engines can."""
    for link in reading.links:
        for what in ("regularizer", "constraint"):
            value = getattr(link.variable, what)
            if value is not None:
                name = link.variable.path
                return f"model: expected no {what}, got {type(value).__name__} of {name}"
    return ""


def _check_own(model: Any, reading: Reading) -> None:
    """Raise an error if a model trains in its own way, or its weights are regularized by others."""
    for method in ("train_step", "test_step", "compute_loss", "compute_metrics"):
        if getattr(type(model), method) not in (
            getattr(keras.Model, method),
            getattr(keras.Sequential, method),
        ):
            raise TypeError(
                f"model: expected Keras' own {method}, got that of {type(model).__name__}"
            )
    for layer in reading.row:
        if layer.activity_regularizer is not None:
            raise ValueError(
                f"model: layer {layer.name}: expected activity_regularizer=None, got "
                f"{type(layer.activity_regularizer).__name__}"
            )
    for link in reading.links:
        value = link.variable.regularizer
        if value is not None and type(value) not in _REGULARIZERS:
            raise ValueError(
                f"model: expected L1, L2 or L1L2 to regularize {link.variable.path}, got "
                f"{type(value).__name__}"
            )


def _regularizer_value(link: Link) -> float:
    value, w = link.variable.regularizer, link.layer.parameters[link.name]
    if value is None:
        return 0.0
    l1, l2 = (float(getattr(value, name, 0.0)) for name in ("l1", "l2"))
    return l1 * float(np.abs(w).sum()) + l2 * float((w * w).sum())


def _regularizer_gradient(link: Link) -> Array | float:
    value, w = link.variable.regularizer, link.to_keras(link.layer.parameters[link.name])
    if value is None:
        return 0.0
    l1, l2 = (w.dtype.type(getattr(value, name, 0.0)) for name in ("l1", "l2"))
    gradient: Array = l1 * np.sign(w) + 2 * l2 * w
    return gradient


def _hears_batches(callback: Any) -> bool:
    """Return whether a callback does something before or after a batch of training."""
    given = (getattr(callback, hook) for hook in _HOOKS)
    return any(
        getattr(method, "__func__", method) is not getattr(keras.callbacks.Callback, hook)
        for hook, method in zip(_HOOKS, given, strict=True)
    )


def _sees_batches(callback: Any) -> bool:
    """Return whether a callback may look at the model then."""
    harmless = type(callback) in _HARMLESS or getattr(callback, "save_freq", None) == "epoch"
    return _hears_batches(callback) and not harmless


def _is_due(frequency: int | Iterable[int], epoch: int) -> bool:
    """Return whether to evaluate after an epoch, counted from 0."""
    number = epoch + 1
    return number % frequency == 0 if isinstance(frequency, int) else number in frequency


def _drawn() -> int:
    """Return a seed that follows from ``keras.utils.set_random_seed``."""
    return int(np.random.randint(2**31 - 1))  # noqa: NPY002  (which that function seeds)
