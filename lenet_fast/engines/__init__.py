"""Ways to run a network, behind one interface."""

from __future__ import annotations

from lenet_fast import checks
from lenet_fast.engines.compile import Unsupported
from lenet_fast.engines.compiled import check_rule
from lenet_fast.engines.interface import Engine, Optimiser, Rule, Totals
from lenet_fast.engines.lanes import LanesEngine
from lenet_fast.engines.layers import LayersEngine
from lenet_fast.engines.online import OnlineEngine
from lenet_fast.losses import Loss, no_loss
from lenet_fast.network import Network

__all__ = [
    "NAMES",
    "Engine",
    "LanesEngine",
    "LayersEngine",
    "OnlineEngine",
    "Optimiser",
    "Rule",
    "Totals",
    "Unsupported",
    "create",
]

NAMES = ("auto", "lanes", "online", "layers")
"""What :func:`create` knows."""


def create(
    network: Network,
    loss: Loss,
    *,
    engine: str = "auto",
    batch_size: int | None = None,
    optimiser: Optimiser | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Engine:
    """Return an engine for a network.

    Parameters
    ----------
    network : Network
        The engine reads its arrays at every call, so it always runs the weights of the moment.
    loss : Loss
        One that goes with the network's output; see :func:`lenet_fast.losses.default_for`.
    engine : {"auto", "lanes", "online", "layers"}
        "lanes" takes a tile of images through the whole network at a time, one image per vector
        lane: the fast one, for mini-batches. "online" learns from one image after the other, and
        predicts a single one in microseconds; else it is "lanes". "layers" runs layer by layer
        through :mod:`lenet_fast.ops`, and runs everything. "auto": online for batches of one,
        lanes for others, where they can, else layers; the engine's ``name`` says which, and its
        ``note`` why.
    batch_size : int, optional
        Images per step in training, for "auto" to choose by.
    optimiser : Optimiser, optional
        What the engine will train with. "auto" takes the layers engine for one whose rule the
        others do not know, such as your own; without it, they refuse such an optimiser when they
        get it.
    backend : {"cython", "numba", "numpy"}, optional
        By default the current one; see :mod:`lenet_fast.backends`. It is settled here, for good.
    threads : int, optional
        By default ``LENET_FAST_THREADS``, or one for each physical core that the process may use.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, the number of threads no int from 1 to 1024, the loss does not go
        with the network, or the optimiser is none.
    Unsupported
        A ValueError: if the engine is "lanes" or "online", and it has no kernels in this backend,
        or does not know a layer, the loss or the optimiser's rule, which the message names.
    ImportError
        If the backend is missing here.
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
    if not isinstance(loss, Loss):
        raise TypeError(no_loss(loss))
    if batch_size is not None:
        batch_size = checks.integer("batch_size", batch_size, 1)
    if optimiser is not None and not isinstance(getattr(optimiser, "rule", None), Rule):
        what = "an optimiser, such as lenet_fast.training.AdamW()"
        raise TypeError(f"optimiser: expected {what}, got {checks.kind(optimiser)}")
    note = ""
    if checks.choice("engine", engine, NAMES) != "layers":
        online = engine == "online" or (engine == "auto" and batch_size == 1)
        try:
            if optimiser is not None:
                check_rule(optimiser)
            return (OnlineEngine if online else LanesEngine)(
                network, loss, backend=backend, threads=threads
            )
        except Unsupported as error:
            if engine != "auto":
                raise
            note = str(error)
    return LayersEngine(network, loss, backend=backend, threads=threads, note=note)
