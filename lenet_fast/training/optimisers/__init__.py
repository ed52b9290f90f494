"""How gradients change the weights.

An optimiser keeps its own arrays (velocities, for instance), one or more per parameter, and hands
them out by name, so that a checkpoint can hold them and a resumed run goes on with the same bits.
The rate comes with each step, from a schedule. What is written here in NumPy is the reference for
engines that update the weights on their own; see :class:`lenet_fast.engines.Optimiser`.
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
"""All optimisers, by the names that commands, estimators and files give them."""


def from_config(config: Mapping[str, Any]) -> Optimiser:
    """Return the optimiser that a :meth:`~lenet_fast.engines.Optimiser.config` describes.

    Raises
    ------
    ValueError, TypeError
        If there is no such optimiser, or not with these options.
    """
    optimiser = configs.kind_of("optimiser", config, "type", OPTIMISERS)
    return optimiser(**{key: value for key, value in config.items() if key != "type"})
