"""What every engine offers, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lenet_fast.checks import Array


@dataclass(frozen=True)
class Totals:
    """What a set of images came to: the sum of their losses, the misclassified, all of them."""

    loss: float = 0.0
    errors: int = 0
    images: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.loss + other.loss, self.errors + other.errors, self.images + other.images
        )


class Engine(Protocol):
    """A way to run a network: the same results from all, within rounding.

    Images are arrays (n, c, h, w) in the dtype of the network, prepared as it expects them, and
    labels integer arrays (n,). Results do not depend on the number of threads, and are the same
    bits whenever the same engine is given the same.

    Attributes
    ----------
    name : str
    backend : str
        Whose operations run.
    threads : int
    """

    name: str
    backend: str
    threads: int

    def predict(self, x: Array) -> Array:
        """Return the network's outputs (n, k)."""

    def evaluate(self, x: Array, labels: Array) -> Totals:
        """Return loss and errors."""

    def loss_and_gradients(self, x: Array, labels: Array) -> tuple[Totals, dict[str, Array]]:
        """Return loss and errors, and by parameter name the gradient of the mean loss."""

    def hessian_diagonal(self, x: Array, labels: Array) -> dict[str, Array]:
        """Return, by parameter name, the diagonal of the Hessian in the mean over the images.

        It is that of LeCun et al. 1998, appendix C: never negative, with the terms in f'' and
        those between weights that are shared left out.
        """

    def close(self) -> None:
        """End the engine's threads; the next call would start new ones."""
