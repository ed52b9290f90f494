"""Every public function, class, method and property shows how it is used, in an example that runs.

Public is what has an entry in docs/api: the names in ``__all__`` of the public modules, and the
public members of their classes. A method counts once, where it is introduced: classes that override
it keep to the same protocol. A property may also be shown in the example of its class.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import FunctionType, GenericAlias
from typing import Any

import pytest
from helpers import require

import lenet_fast

TO_DO = 173
"""How many lack an example: 0 when this is done."""


def modules() -> Iterator[Any]:
    """Yield the modules with a page in docs/api; those of the backends are called through ops."""
    yield lenet_fast
    for found in pkgutil.walk_packages(lenet_fast.__path__, "lenet_fast."):
        if not found.name.startswith("lenet_fast.backends.") and "._" not in found.name:
            module = importlib.import_module(found.name)
            if hasattr(module, "__all__"):
                yield module


def is_member(value: object) -> bool:
    return isinstance(value, (FunctionType, classmethod, staticmethod, property))


def is_public(kind: type) -> bool:
    return kind.__module__.startswith("lenet_fast.") and not kind.__name__.startswith("_")


def introduced(kind: type) -> Iterator[tuple[type, str]]:
    """Yield the members of a class that no other public class, and none of another library, has
    before; with the class whose docstring they show."""
    ours = [each for each in kind.__mro__ if each.__module__.startswith("lenet_fast.")]
    others = [each for each in kind.__mro__[1:] if each not in ours or is_public(each)]
    for name in {name: None for each in ours for name, value in vars(each).items()}:
        definer = next(each for each in ours if name in vars(each))
        if (
            not name.startswith("_")
            and is_member(vars(definer)[name])
            and not any(name in vars(each) for each in others)
        ):
            yield definer, name


def has_example(value: object) -> bool:
    return (
        re.search(r"^Examples\n-{8}\n(.*\n)*?>>> ", inspect.getdoc(value) or "", re.M) is not None
    )


def shown(kind: type, name: str) -> bool:
    """Return whether a member has an example, or is a property that its class's example reads."""
    if has_example(getattr(kind, name)):
        return True
    example = (inspect.getdoc(kind) or "").partition("Examples\n--------\n")[2]
    prompted = "\n".join(re.findall(r"^(?:>>>|\.\.\.) (.*)", example, re.M))
    is_property = isinstance(inspect.getattr_static(kind, name), property)
    return is_property and re.search(rf"\.{name}\b", prompted) is not None


def lacking(module: Any) -> set[str]:
    """Return the public names of a module without an example."""
    found = set()
    for each in module.__all__:
        value = getattr(module, each)
        if isinstance(value, GenericAlias) or not getattr(value, "__module__", "").startswith(
            "lenet_fast"
        ):
            continue
        if inspect.isroutine(value) and not has_example(value):
            found.add(f"{value.__module__}.{value.__qualname__}")
        elif isinstance(value, type):
            if not has_example(value):
                found.add(f"{value.__module__}.{value.__qualname__}")
            for kind, name in introduced(value):
                if not shown(value, name) and not shown(kind, name):
                    found.add(f"{kind.__module__}.{kind.__qualname__}.{name}")
    return found


def test_every_public_name_has_an_example() -> None:
    for library in ("torch", "sklearn", "onnx", "matplotlib"):
        require(library)
    found = set().union(*map(lacking, modules()))
    assert len(found) <= TO_DO, "\n".join(sorted(found))


class Shape:
    """A shape.

    Examples
    --------
    >>> Shape().side
    2
    """

    @property
    def side(self) -> int:
        """Return the side, which the example of the class reads."""
        return 2

    @property
    def corners(self) -> int:
        """Return the number of corners, without an example."""
        return 4

    def area(self) -> int:
        """Return the area, without an example: >>> is not enough."""
        return 0

    def scaled(self) -> int:
        """Return a scaled shape.

        Examples
        --------
        >>> Shape().scaled()
        4
        """
        return 4


class _Hidden(Shape):
    """No user sees this class."""

    def turned(self) -> int:
        """Return a turned shape, without an example."""
        return 0


class Square(_Hidden):
    """A square, without an example."""

    def area(self) -> int:
        return 4


def unseen() -> None:
    """Nothing.

    Examples
    --------
    none
    """


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a public module with the names above."""
    for each in (Shape, _Hidden, Square, unseen):
        monkeypatch.setattr(each, "__module__", "lenet_fast.shapes")

    class Module:
        __all__ = ("Shape", "Square", "unseen", "SIDES")
        SIDES = 4

    for each in (Shape, Square, unseen):
        setattr(Module, each.__name__, staticmethod(each) if each is unseen else each)
    return Module


def test_what_lacks_an_example_is_found(module: Any) -> None:
    assert lacking(module) == {
        f"lenet_fast.shapes.{name}"
        for name in ("Shape.corners", "Shape.area", "_Hidden.turned", "Square", "unseen")
    }
