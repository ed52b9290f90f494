"""One image at a time, as a user asks for it: how long a single call takes, with all around it.

Ours is :meth:`lenet_fast.network.Network.predict`. Everyone gets the image as a NumPy array that is
prepared, and hands back an array.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from lenet_fast import backends
from lenet_fast.bench import networks
from lenet_fast.bench.contenders import Contender
from lenet_fast.bench.networks import PYTORCH, WORKS, Work

LATENCIES = tuple(work for work in WORKS if not work.trains and work.batch == 1)


def names() -> list[str]:
    """Return the contenders that are here: ours, with each instruction set, and PyTorch."""
    return [name for name in networks.names(1) if name.startswith("online") or name == PYTORCH[0]]


def make(name: str, work: Work) -> Contender:
    """Return one of the contenders that :func:`names` gives, on one thread."""
    return networks.make(name, work, 1) if name in PYTORCH else ours(name, work)


def ours(name: str, work: Work) -> Contender:
    """Return our network, asked with one of our backends."""
    engine, backend, *sets = name.split()
    network = networks.fresh(work.network).network
    image = work.parts[0][0][0]
    module = backends.get(backend)
    with (
        backends.use_backend(backend),
        module.use_isa(*sets) if sets else contextlib.nullcontext(),
    ):
        network.predict(image)  # from now on it has an engine, with these instructions
        isa = module.isa() if backend == "cython" else None
    check = networks.checker(name, work)
    info: dict[str, Any] = {"backend": backend, "engine": engine, "isa": isa}
    return Contender(
        name,
        partial(network.predict, image),
        lambda y: check([y[None]]),
        partial(backends.use_backend, backend),
        info=info,
    )
