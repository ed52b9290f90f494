"""What every engine offers, what it returns, and what it can ask of an optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lenet_fast.checks import Array


@dataclass(frozen=True)
class Totals:
    """Totals over a set of images: summed loss, misclassified images, images."""

    loss: float = 0.0
    errors: int = 0
    images: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.loss + other.loss, self.errors + other.errors, self.images + other.images
        )


class Rule(NamedTuple):
    """How an optimiser changes the weights, in numbers; those without a meaning for it are 0.

    The formulas stand at the classes of :mod:`lenet_fast.training.optimisers`.

    Attributes
    ----------
    name : str
        One that all engines know, such as "sgd"; or any other, which only the layers engine takes,
        because it calls :meth:`Optimiser.step`.
    momentum : float
    nesterov : bool
    weight_decay : float
    beta1, beta2 : float
        The shares of the mean gradient, and of the mean square, that each step keeps.
    epsilon : float
    """

    name: str
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    epsilon: float = 0.0


class Optimiser(Protocol):
    """What the trainer and the engines need of an optimiser.

    An engine calls :meth:`step` with the gradients of a batch. Or it updates the weights on its
    own: it does what :attr:`rule` says with ``factors``, changes the arrays of :meth:`slots`
    in place, and counts on in ``steps``; the optimiser is then as if it had made the steps
    itself, within rounding.

    Attributes
    ----------
    steps : int
        How many steps were made; may be set.
    factors : dict of str to ndarray
        By the name of a parameter, what the rate of each of its weights is multiplied by:
        finite, not negative. A parameter that is missing has the factor 1.
    curvature_images : int
        From how many images the diagonal of the Hessian is to be estimated before each epoch, for
        :meth:`follow`; 0: not at all.
    """

    steps: int
    factors: dict[str, Array]
    curvature_images: int

    @property
    def rule(self) -> Rule:
        """How the weights are changed."""

    def slots(self, parameters: Mapping[str, Array]) -> list[dict[str, Array]]:
        """Return the optimiser's own arrays, one dict per kind, by the names of the parameters.

        The rule determines how many kinds there are, and their order: SGD has [velocities] with a
        momentum and none without; AdamW has [first moments, second moments]. The dicts hold the
        names given and no others; missing arrays are created, of zeros. The arrays are live: to
        change them in place changes the state. Each has the shape and dtype of its parameter and
        is C-contiguous.

        Raises
        ------
        TypeError, ValueError
            If an array, or a factor, is there for a parameter of another shape or dtype, or a
            factor for a name that is not given.
        """

    def step(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], rate: float
    ) -> None:
        """Change, in place, the parameters that have a gradient."""

    def follow(self, diagonal: Mapping[str, Array]) -> None:
        """Set the factors by the diagonal of the Hessian, given by parameter name."""

    def state(self) -> dict[str, Array]:
        """Return, by name, all that :meth:`config` lacks for going on with the same bits."""

    def load_state(self, state: Mapping[str, Array], parameters: Mapping[str, Array]) -> None:
        """Take over what :meth:`state` gave, for these trainable parameters."""

    def config(self) -> dict[str, Any]:
        """Return a JSON-able description for :func:`lenet_fast.training.optimisers.from_config`."""


class Engine(Protocol):
    """A way to run a network: the same results from all, within rounding.

    Images `x` are floats (n, c, h, w) in the dtype of the network, prepared as it expects them;
    or, for a network with one square input map, bytes (n, rows, columns), which the engine puts
    into the middle and on the scale of :func:`lenet_fast.data.prepare` piece by piece. Labels are
    integer arrays (n,). Results do not depend on the number of threads, and are the same bits
    whenever the same engine is given the same.

    Most of a call runs without Python's lock. Labels and the order are copied before, so another
    thread may change them; one that changes pixels or weights changes results, and no more.

    All methods raise TypeError or ValueError for arrays that do not fit the network.

    Attributes
    ----------
    name : str
    backend : str
        Whose operations run.
    threads : int
    note : str
        Why "auto" took this engine and not a faster one; empty where there is nothing to say.
    images_a_call : int
        How many images, at least, :meth:`train` should get at a time, if there are so many: a call
        has a cost of its own.
    """

    name: str
    backend: str
    threads: int
    note: str
    images_a_call: int

    def predict(self, x: Array) -> Array:
        """Return the network's outputs (n, k)."""

    def predict_one(self, image: Array) -> Array:
        """Return the outputs (k,) for one image: bytes (rows, columns), or floats (c, h, w)."""

    def evaluate(self, x: Array, labels: Array) -> Totals:
        """Return loss and errors."""

    def loss_and_gradients(self, x: Array, labels: Array) -> tuple[Totals, dict[str, Array]]:
        """Return loss and errors, and by parameter name the gradient of the mean loss."""

    def hessian_diagonal(self, x: Array, labels: Array) -> dict[str, Array]:
        """Return, by parameter name, the diagonal of the Hessian in the mean over the images.

        It is that of LeCun et al. 1998, appendix C: never negative, with the terms in f'' and
        those between weights that are shared left out.
        """

    def train(
        self,
        x: Array,
        labels: Array,
        order: Array,
        batch_size: int,
        optimiser: Optimiser,
        rate: float,
    ) -> list[Totals]:
        """Make one step of the optimiser for each mini-batch, in turn.

        Parameters
        ----------
        x, labels : ndarray
            A whole data set.
        order : int ndarray (m,)
            Which of its images to go through, in this order.
        batch_size : int
            Images per step; the last batch may have fewer.
        optimiser : Optimiser
        rate : float

        Returns
        -------
        list of Totals
            Of each batch, before its step. It ends with the first loss that is not finite: that
            batch changes nothing, and those behind it are not begun.
        """

    def close(self) -> None:
        """End the engine's threads; the next call would start new ones."""
