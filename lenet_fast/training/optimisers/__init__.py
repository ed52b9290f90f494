"""Update rules for the weights.

An optimiser has its own arrays (velocities, for instance), one or more per parameter, and exposes
them by name, so that a checkpoint can store them and a resumed run continues with the same bits.
The rate comes with each step, from a schedule. The NumPy code here is the reference for engines
that update the weights themselves; see :class:`lenet_fast.engines.Optimiser`.

Examples
--------
Two steps from 1, with a gradient of 2 and a rate of 0.1. RMSprop's mean square starts at 0, so its
first steps are large, and those of Adadelta small:

>>> import numpy as np
>>> from lenet_fast.training import SGD, Adadelta, Adam, RMSprop
>>> for optimiser in (SGD(), SGD(momentum=0.9), Adam(), RMSprop(), Adadelta()):
...     w, gradient = {"w": np.array([1.0])}, {"w": np.array([2.0])}
...     for _ in range(2):
...         optimiser.step(w, gradient, rate=0.1)
...     print(f"{type(optimiser).__name__:10}{w['w'][0]:.3f}")
SGD       0.600
SGD       0.420
Adam      0.800
RMSprop   -0.709
Adadelta  0.999
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lenet_fast import configs
from lenet_fast.engines.interface import Optimiser
from lenet_fast.training.optimisers.adadelta import Adadelta
from lenet_fast.training.optimisers.adam import Adam, AdamW
from lenet_fast.training.optimisers.rmsprop import RMSprop
from lenet_fast.training.optimisers.sdlm import SDLM
from lenet_fast.training.optimisers.sgd import SGD

__all__ = ["OPTIMISERS", "SDLM", "SGD", "Adadelta", "Adam", "AdamW", "RMSprop", "from_config"]

OPTIMISERS: dict[str, Callable[..., Optimiser]] = {
    "sgd": SGD,
    "adamw": AdamW,
    "adam": Adam,
    "rmsprop": RMSprop,
    "adadelta": Adadelta,
    "sdlm": SDLM,
}
"""All optimisers, by their names in commands, estimators and files."""


def from_config(config: Mapping[str, Any]) -> Optimiser:
    """Return the optimiser described by a :meth:`~lenet_fast.engines.Optimiser.config`.

    Raises
    ------
    ValueError, TypeError
        If there is no such optimiser, or it does not take these options.

    Examples
    --------
    >>> from lenet_fast.training import optimisers
    >>> optimisers.from_config({"type": "sgd", "momentum": 0.9}).rule.momentum
    0.9
    """
    optimiser = configs.kind_of("optimiser", config, "type", OPTIMISERS)
    return optimiser(**{key: value for key, value in config.items() if key != "type"})
