"""Engines, which run and train a network, behind one interface.

Examples
--------
>>> import numpy as np
>>> from lenet_fast import data, engines, losses, models
>>> network, images = models.lenet5(), data.load("sample").test.images[:50]
>>> lanes, layers = (
...     engines.create(network, losses.MAP(), engine=name) for name in ("lanes", "layers")
... )
>>> np.allclose(lanes.predict(images), layers.predict(images), rtol=1e-4)
True
"""

from __future__ import annotations

from typing import get_args

from lenet_fast import checks, choices, losses
from lenet_fast.engines.compile import Unsupported
from lenet_fast.engines.compiled import check_rule
from lenet_fast.engines.interface import Engine, Optimiser, Rule, Totals
from lenet_fast.engines.lanes import LanesEngine, Recorded
from lenet_fast.engines.layers import LayersEngine
from lenet_fast.engines.online import OnlineEngine
from lenet_fast.losses import Loss
from lenet_fast.network import Network

__all__ = [
    "NAMES",
    "Engine",
    "LanesEngine",
    "LayersEngine",
    "OnlineEngine",
    "Optimiser",
    "Recorded",
    "Rule",
    "Totals",
    "Unsupported",
    "create",
]

NAMES = get_args(choices.Engine)
"""Names that :func:`create` accepts."""


def create(
    network: Network,
    loss: Loss | choices.Loss,
    *,
    engine: choices.Engine = "auto",
    batch_size: int | None = None,
    optimiser: Optimiser | None = None,
    backend: choices.Backend | None = None,
    threads: int | None = None,
) -> Engine:
    """Return an engine for a network.

    Parameters
    ----------
    network : Network
        The engine reads its arrays at every call, so it always uses the current weights.
    loss : Loss or str
        One that fits the network's output layer, or its name; see :mod:`lenet_fast.losses`.
    engine : {"auto", "lanes", "online", "layers"}
        "lanes", the fastest for mini-batches, takes a tile of images at a time through the whole
        network, one image per vector lane. "online" trains on one image at a time and predicts a
        single image in microseconds; otherwise it works like "lanes". "layers" runs every network,
        layer by layer, through :mod:`lenet_fast.ops`. "auto" selects online for batches of one and
        lanes for others, if they support the network, else layers; the engine's ``name`` is the
        one selected, and its ``note`` the reason.
    batch_size : int, optional
        Images per training step; used by "auto".
    optimiser : Optimiser, optional
        The optimiser for training. "auto" selects the layers engine if the others do not know its
        rule, for instance if it is your own. Without this argument they reject such an optimiser
        when training starts.
    backend : {"cython", "numba", "numpy"}, optional
        Default: the current one; see :mod:`lenet_fast.backends`. The engine keeps it.
    threads : int, optional
        Default: ``LENET_FAST_THREADS``, or one per physical core that the process may use.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, the number of threads is not an int from 1 to 1024, the loss does not
        fit the network, or `optimiser` is not an optimiser.
    Unsupported
        A ValueError: if the engine is "lanes" or "online" and has no kernels in this backend, or
        does not support a layer, the loss or the optimiser's rule; the message names it.
    ImportError
        If the backend is missing here.

    Examples
    --------
    >>> from lenet_fast import engines, losses, models
    >>> network = models.lenet5()
    >>> engine = engines.create(network, losses.MAP(), engine="layers", threads=2)
    >>> engine.name, engine.threads
    ('layers', 2)
    >>> engine = engines.create(network, losses.MAP(), backend="numpy")
    >>> engine.name, engine.note.partition(",")[0]  # NumPy has no kernels for the lane engine
    ('layers', "engine: expected 'layers' with the numpy backend")
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {checks.kind(network)}")
    loss = losses.chosen(loss)
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
