"""Every public function, class, method and property shows how it is used, in an example that runs.

Public is what has an entry in docs/api: the names in ``__all__`` of the public modules, and the
public members of their classes. A method counts once, where it is introduced, or in the protocol
that has it: classes that override it do the same. A property may also be shown in the example of
its class.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator
from types import FunctionType, SimpleNamespace
from typing import Any, Protocol

import pytest
from helpers import require

import lenet_fast


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


def classes(modules: Iterable[Any]) -> set[type]:
    """Return the public classes of modules."""
    values = [getattr(module, name) for module in modules for name in module.__all__]
    return {value for value in values if isinstance(value, type)}


def members(kind: type) -> list[str]:
    """Return the public members that a class or one of its bases in this package defines."""
    ours = [each for each in kind.__mro__ if each.__module__.startswith("lenet_fast.")]
    named = {name: value for each in ours for name, value in vars(each).items()}
    return [name for name, value in named.items() if name[0] != "_" and is_member(value)]


def introduced(kind: type, public: set[type]) -> Iterator[tuple[type, str]]:
    """Yield the members of a class that neither another public class has before, nor one of another
    library, nor a protocol that the class implements; with the class whose docstring they show."""
    before = [
        each
        for each in kind.__mro__[1:]
        if each in public or not each.__module__.startswith("lenet_fast.")
    ]
    protocols = [each for each in public - {kind} if getattr(each, "_is_protocol", False)]
    before += [each for each in protocols if all(hasattr(kind, name) for name in members(each))]
    for name in members(kind):
        if not any(name in vars(each) for each in before):
            yield next(each for each in kind.__mro__ if name in vars(each)), name


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


def lacking(module: Any, public: set[type]) -> set[str]:
    """Return the public names of a module without an example."""
    found = set()
    for value in (getattr(module, name) for name in module.__all__):
        if not f"{getattr(value, '__module__', '')}.".startswith("lenet_fast."):
            continue  # a number, a module, an alias of a type
        if hasattr(value, "__qualname__") and not has_example(value):
            found.add(f"{value.__module__}.{value.__qualname__}")
        for kind, name in introduced(value, public) if isinstance(value, type) else ():
            if not shown(value, name) and not shown(kind, name):
                found.add(f"{kind.__module__}.{kind.__qualname__}.{name}")
    return found


def test_every_public_name_has_an_example() -> None:
    for library in ("torch", "sklearn", "keras", "onnx", "matplotlib"):
        require(library)
    every = list(modules())
    public = classes(every)
    found = set().union(*(lacking(module, public) for module in every))
    assert not found, "without an example:\n" + "\n".join(sorted(found))


class Sized(Protocol):
    """What has an area.

    Examples
    --------
    >>> Shape().area()
    4
    """

    def area(self) -> int:
        """Return the area, without an example: >>> is not enough."""


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
        """Return the area, as the protocol has it."""
        return 4

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


class Square(_Hidden, dict[str, int]):
    """A square, without an example."""

    def scaled(self) -> int:
        """Return a scaled square, as the base class has it."""
        return 4

    def clear(self) -> None:
        """Clear it, as a dict has it."""


def unseen() -> None:
    """Nothing.

    Examples
    --------
    none
    """


def test_what_lacks_an_example_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(Sized=Sized, Shape=Shape, Square=Square, unseen=unseen, SIDES=4)
    module.__all__ = list(vars(module))
    for each in (Sized, Shape, _Hidden, Square, unseen):
        monkeypatch.setattr(each, "__module__", "lenet_fast.shapes")
    assert lacking(module, classes([module])) == {
        f"lenet_fast.shapes.{name}"
        for name in ("Sized.area", "Shape.corners", "_Hidden.turned", "Square", "unseen")
    }
