"""LeNet-5 of 1998: exact, and fast on a CPU.

Submodules are imported when they are first used: ``lenet_fast.models`` needs no import of its own.

Examples
--------
>>> import lenet_fast as lf
>>> digits = lf.data.load("sample")  # of MNIST
>>> network = lf.models.lenet5(pooling="max", activation="relu", output="softmax")
>>> trainer = lf.training.Trainer(network, optimiser="adamw", schedule=0.003)
>>> history = trainer.fit(digits.train, digits.test, epochs=1)
>>> trainer.evaluate(digits.test).accuracy > 0.9
True
>>> network.classify(digits.test.images[:5])
array([4, 0, 6, 2, 5])
"""

from __future__ import annotations

import importlib.util
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lenet_fast import (
        backends,
        bitmaps,
        connections,
        data,
        drop_in,
        engines,
        errors,
        export,
        federated,
        files,
        initialisers,
        layers,
        losses,
        models,
        network,
        onnx,
        ops,
        plots,
        sklearn,
        threads,
        torch,
        training,
    )
    from lenet_fast.backends import use_backend
    from lenet_fast.files import load_model as load

__version__ = "0.1.0"
"""The version of this package."""

__all__ = [
    "__version__",
    "backends",
    "bitmaps",
    "connections",
    "data",
    "drop_in",
    "engines",
    "errors",
    "export",
    "federated",
    "files",
    "initialisers",
    "layers",
    "load",
    "losses",
    "models",
    "network",
    "onnx",
    "ops",
    "plots",
    "sklearn",
    "threads",
    "torch",
    "training",
    "use_backend",
]


def _found(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ValueError:  # loaded already, without a spec
        return True


_LIBRARIES = {"sklearn": "sklearn", "torch": "torch", "keras": "keras"}
"""What a module imports at once. Without it, completion, help and ``import *`` leave it out; and
always ``keras``, because Keras cannot be imported before its backend is chosen."""

for _name, _library in _LIBRARIES.items():
    if _name in __all__ and not _found(_library):
        __all__.remove(_name)

_FUNCTIONS = {"load": ("files", "load_model"), "use_backend": ("backends", "use_backend")}


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        module, function = _FUNCTIONS[name]
        return getattr(importlib.import_module(f"{__name__}.{module}"), function)
    if name in (each.name for each in pkgutil.iter_modules(__path__)):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ImportError as error:
            if name in _LIBRARIES:  # hasattr and inspect expect this error
                raise AttributeError(str(error)) from error
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
