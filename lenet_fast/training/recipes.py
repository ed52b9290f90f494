"""Recipes: sets of options with which LeNet-5 reaches a given accuracy on MNIST, by name.

``lenet-fast train --recipe NAME`` uses one; options given beside it take precedence.
All were chosen on the last 5,000 images of the training set; `accurate` in runs of 10 epochs, and
`paper` again after its first choice had missed 98.9 % of the test set by 0.03. In Python,
:meth:`Recipe.trainer` returns a trainer:

>>> from lenet_fast import data
>>> from lenet_fast.training import recipes
>>> sample = data.load("sample")
>>> trainer = recipes.FAST.trainer(seed=1)
>>> trainer.schedule, trainer.batch_size
(OneCycle(0.1, warmup=0.15), 64)
>>> history = trainer.fit(sample.train.subset(320), sample.test.subset(100), recipes.FAST.epochs)
>>> len(history.rows)
2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lenet_fast import checks, choices, defaults, losses, models
from lenet_fast.data import distort
from lenet_fast.training import parts
from lenet_fast.training.optimisers import SGD
from lenet_fast.training.schedules import SCHEDULES
from lenet_fast.training.trainer import Trainer

__all__ = ["ACCURATE", "FAST", "PAPER", "RECIPES", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A set of options for training LeNet-5, with Nesterov's momentum and a one-cycle schedule.

    Attributes
    ----------
    name : str
        That of ``lenet-fast train --recipe``.
    purpose : str
        What the recipe is for, and what it reaches.
    options : dict
        The options of ``lenet-fast train``, by their names in Python, such as ``batch_size``.

    Examples
    --------
    >>> from lenet_fast.training import recipes
    >>> recipe = recipes.FAST
    >>> recipe.name, recipe.epochs, recipe.options["pooling"], recipe.options["batch_size"]
    ('fast', 2, 'max', 64)
    """

    name: str
    purpose: str
    options: dict[str, Any]

    @property
    def epochs(self) -> int:
        """Number of epochs of a whole run, on which the schedule depends."""
        epochs: int = self.options["epochs"]
        return epochs

    @choices.american
    def trainer(self, *, seed: int = 0, **settings: Any) -> Trainer:
        """Return a trainer with a new network.

        Parameters
        ----------
        seed : int
            Determines the initial weights, the order of the images and their distortions.
        **settings
            Arguments of :class:`~lenet_fast.training.Trainer`, which override those of the recipe.
            The rate, also of the schedules "linear_decay" and "cosine", is in proportion to a
            `batch_size` smaller than the recipe's; it is that of
            :func:`~lenet_fast.training.schedules.named` for another `loss`, or an `optimiser` that
            is not SGD; "sgd" is the recipe's own optimiser. With a `batch_size` of 1 there is no
            Nesterov's momentum; with SDLM that is the default, at the paper's rates.

        Returns
        -------
        Trainer
            Call its ``fit`` with :attr:`epochs`.

        Raises
        ------
        TypeError, ValueError
            As for :class:`~lenet_fast.training.Trainer`.

        Examples
        --------
        >>> from lenet_fast.training import recipes
        >>> recipes.FAST.trainer().schedule, recipes.FAST.trainer(batch_size=16).schedule
        (OneCycle(0.1, warmup=0.15), OneCycle(0.025, warmup=0.15))
        """
        options = self.options
        network = models.lenet5(
            **{name: options[name] for name in ("pooling", "connections", "output", "activation")},
            seed=seed,
        )
        usual = losses.default_for(network)
        loss = losses.chosen(settings["loss"]) if settings.get("loss") is not None else usual
        optimiser, size = settings.get("optimiser"), settings.get("batch_size")
        own = optimiser is None or (isinstance(optimiser, str) and optimiser == "sgd")
        rule = "sgd" if own else parts.rule(parts.optimiser(optimiser, loss.name))
        if size is None:
            size = 1 if rule == "sdlm" else options["batch_size"]
        size = checks.integer("batch_size", size, 1)
        if own:  # with batches of one, the online engine is faster without Nesterov's
            optimiser = SGD(
                defaults.MOMENTUM, weight_decay=options["weight_decay"], nesterov=size > 1
            )
        schedule = settings.get("schedule")
        name = "one_cycle" if schedule is None else schedule
        falls = isinstance(name, str) and name in {*defaults.SCHEDULES} - {*defaults.BY_EPOCH}
        if falls and rule in defaults.OPTIMISERS and loss.name in defaults.RATES:
            rate = defaults.peak(loss.name, rule, size)
            if rule == "sgd" and loss.name == usual.name:
                rate = defaults.recipe_rate(options, size)
            warmup = {"warmup": options["warmup"]} if name == "one_cycle" else {}
            schedule = SCHEDULES[name](rate, **warmup)
        made = {
            "distortion": distort.PRESETS.get(options["distort"]),
            "options": {"recipe": self.name},
        } | settings
        made |= {"optimiser": optimiser, "batch_size": size, "schedule": schedule}
        return Trainer(network, seed=seed, **made)


RECIPES: dict[str, Recipe] = {
    name: Recipe(name, purpose, dict(options))
    for name, (purpose, options) in defaults.RECIPES.items()
}
"""All recipes, by name."""

PAPER = RECIPES["paper"]
"""The network of 1998, in a few epochs."""

FAST = RECIPES["fast"]
"""99 % in the least time, with the usual modern network."""

ACCURATE = RECIPES["accurate"]
"""99.5 %, with distortions."""


def named(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> from lenet_fast.training.recipes import named
    >>> named("paper").epochs
    6
    """
    return RECIPES[checks.choice("recipe", name, tuple(RECIPES))]
