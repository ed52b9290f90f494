"""Commands that install what is missing, for messages: they work where they are printed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable

__all__ = ["install", "pip", "shell"]


def install(*packages: str) -> str:
    """Return the command that installs packages, or extras of this one, for this Python.

    Parameters
    ----------
    *packages : str
        Requirements, such as "numba" or "lenet_fast[plot]".

    Examples
    --------
    >>> from lenet_fast.cures import install
    >>> install("lenet_fast[plot]").endswith(" -m pip install 'lenet_fast[plot]'")
    True
    """
    return pip("install", *packages)


def pip(*arguments: str) -> str:
    """Return a command of pip for this Python; of uv, if that made its environment without pip.

    Examples
    --------
    >>> from lenet_fast.cures import pip
    >>> pip("list").endswith(" -m pip list")
    True
    """
    from importlib import util  # late: it takes time, and most commands need no cure

    python = sys.executable or "python"
    if util.find_spec("pip") is None:
        return shell(["uv", "pip", *arguments, "--python", python])
    return shell([python, "-m", "pip", *arguments])


def shell(words: Iterable[str]) -> str:
    """Return a command line as the system's shell reads it.

    Examples
    --------
    >>> from lenet_fast.cures import shell
    >>> shell(["lenet-fast", "evaluate", "a run"])
    "lenet-fast evaluate 'a run'"
    """
    if sys.platform == "win32":
        import subprocess

        return subprocess.list2cmdline(words)
    return shlex.join(words)
