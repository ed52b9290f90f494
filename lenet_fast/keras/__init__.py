"""Keras' front end: training of compiled models with our engines, and conversion of models.

- :func:`fit` takes the place of ``model.fit``, with the model's own weights, optimizer, loss,
  metrics and callbacks, and is several times faster.
- :func:`from_keras` and :func:`to_keras` convert networks.

Keras 3 is required, with any of its backends: weights and settings are read from Keras' objects.
Keras reads the name of its backend from the environment variable ``KERAS_BACKEND`` when it is first
imported.

Examples
--------
>>> import keras
>>> from lenet_fast.keras import from_keras
>>> model = keras.Sequential(
...     [
...         keras.layers.Input((28, 28, 1)),
...         keras.layers.Conv2D(6, 5, activation="tanh"),
...         keras.layers.Flatten(),
...         keras.layers.Dense(10, activation="softmax"),
...     ]
... )
>>> from_keras(model).counts().parameters == model.count_params()
True
"""

from lenet_fast import cures as _cures

try:
    import keras  # noqa: F401  (to name what is missing, before a module fails)
except ImportError as error:
    _what = getattr(error, "name", None)
    raise ImportError(
        f"lenet_fast.keras needs Keras 3: {_cures.install('lenet_fast[keras]')}"
        if _what in (None, "keras")
        else f"lenet_fast.keras needs a backend of Keras: {_what} is missing; set the environment "
        "variable KERAS_BACKEND to one that is installed, such as torch"
    ) from error

from lenet_fast.keras.converting import from_keras, to_keras
from lenet_fast.keras.fitting import fit

__all__ = ["fit", "from_keras", "to_keras"]
