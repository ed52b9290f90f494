"""What the docstrings of all operations share."""

from __future__ import annotations

from lenet_fast import docstrings

ERRORS = "TypeError, ValueError, ImportError\n    See :mod:`lenet_fast.ops`."

operation = docstrings.completed(
    Parameters="backend, out\n    See :mod:`lenet_fast.ops`.", Raises=ERRORS
)
"""Completes the docstring of an operation: the options and errors that all of them share."""
