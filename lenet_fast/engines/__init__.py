"""Ways to run a network, behind one interface."""

from __future__ import annotations

from lenet_fast import checks
from lenet_fast.engines.interface import Engine, Optimiser, Rule, Totals
from lenet_fast.engines.lanes import LanesEngine
from lenet_fast.engines.layers import LayersEngine
from lenet_fast.engines.plan import Unsupported
from lenet_fast.losses import Loss
from lenet_fast.network import Network

__all__ = [
    "NAMES",
    "Engine",
    "LanesEngine",
    "LayersEngine",
    "Optimiser",
    "Rule",
    "Totals",
    "Unsupported",
    "create",
]

NAMES = ("auto", "lanes", "layers")


def create(
    network: Network,
    loss: Loss,
    *,
    engine: str = "auto",
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
    engine : {"auto", "lanes", "layers"}
        "lanes" takes a tile of images through the whole network at a time, one image a vector
        lane: the fast one, for mini-batches. "layers" runs layer by layer through
        :mod:`lenet_fast.ops`, and runs everything. "auto": lanes where it can, else layers; the
        engine's ``name`` says which, and its ``note`` why.
    backend : {"cython", "numba", "numpy"}, optional
        By default the current one; see :mod:`lenet_fast.backends`. It is settled here, for good.
    threads : int, optional
        By default ``LENET_FAST_THREADS``, or one for each physical core that the process may use.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, the number of threads no int from 1 to 1024, or the loss does not
        go with the network.
    Unsupported
        A ValueError: if the engine is "lanes", and it has no kernels in this backend, or does not
        know a layer or the loss, which the message names.
    ImportError
        If the backend is missing here.
    """
    note = ""
    if checks.choice("engine", engine, NAMES) != "layers":
        try:
            return LanesEngine(network, loss, backend=backend, threads=threads)
        except Unsupported as error:
            if engine == "lanes":
                raise
            note = str(error)
    return LayersEngine(network, loss, backend=backend, threads=threads, note=note)
