"""Ways to run a network, behind one interface."""

from __future__ import annotations

from lenet_fast import checks
from lenet_fast.engines.interface import Engine, Totals
from lenet_fast.engines.layers import LayersEngine
from lenet_fast.losses import Loss
from lenet_fast.network import Network

__all__ = ["NAMES", "Engine", "LayersEngine", "Totals", "create"]

NAMES = ("auto", "layers")


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
    engine : {"auto", "layers"}
        "layers" runs layer by layer through :mod:`lenet_fast.ops`. "auto": the one that is best
        for the network, of which there is no other yet.
    backend : {"cython", "numba", "numpy"}, optional
        By default the current one; see :mod:`lenet_fast.backends`. It is settled here, for good.
    threads : int, optional
        By default ``LENET_FAST_THREADS``, or one for each physical core that the process may use.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, the number of threads no int from 1 to 1024, or the loss does not
        go with the network.
    ImportError
        If the backend is missing here.
    """
    checks.choice("engine", engine, NAMES)
    return LayersEngine(network, loss, backend=backend, threads=threads)
