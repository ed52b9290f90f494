"""Parts of docstrings that many functions share, each written once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

Documented = TypeVar("Documented", bound=Callable[..., Any])

_ORDER = ("Parameters", "Attributes", "Returns", "Raises", "Notes", "Examples")


def completed(**sections: str) -> Callable[[Documented], Documented]:
    """Return a decorator that adds to the sections of a docstring, such as "Parameters".

    What it adds to a section comes last there, unless the docstring already has its first line.

    Examples
    --------
    >>> from lenet_fast.docstrings import completed
    >>> @completed(Raises="TypeError\\n    If it is not a number.")
    ... def double(x):
    ...     '''Return ``2 x``.'''
    >>> print(double.__doc__)
    Return ``2 x``.
    <BLANKLINE>
    Raises
    ------
    TypeError
        If it is not a number.
    """

    def place(part: str) -> int:
        title = part.partition("\n")[0]
        return _ORDER.index(title) if title in _ORDER else -1  # the summary

    def complete(documented: Documented) -> Documented:
        if documented.__doc__:  # none under python -OO
            text = inspect.cleandoc(documented.__doc__)
            parts = re.split(r"\n\n(?=\w+\n-+\n)", text)
            for title, added in sections.items():
                if added.partition("\n")[0] not in text:
                    head = f"{title}\n{'-' * len(title)}"
                    own = next((part for part in parts if part.startswith(head)), None)
                    parts = [part for part in parts if part != own] + [f"{own or head}\n{added}"]
            documented.__doc__ = "\n\n".join(sorted(parts, key=place))
        return documented

    return complete
