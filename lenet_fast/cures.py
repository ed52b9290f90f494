"""Commands in messages, such as those that install what is missing: they work where they are
printed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable

__all__ = ["command", "install", "pip", "python", "shell"]


def install(*packages: str) -> str:
    """Return the command that installs packages, or extras of this one, for this Python.

    Parameters
    ----------
    *packages : str
        Requirements, such as "numba" or "lenet_fast[plot]".

    Examples
    --------
    >>> from lenet_fast import cures
    >>> cures.install("lenet_fast[plot]").endswith(" -m pip install 'lenet_fast[plot]'")
    True
    """
    return pip("install", *packages)


def pip(*arguments: str) -> str:
    """Return a command of pip for this Python; of uv, if that made its environment without pip.

    Examples
    --------
    >>> from lenet_fast import cures
    >>> cures.pip("list").endswith(" -m pip list")
    True
    """
    from importlib import util  # late: it takes time, and most commands need no cure

    python = sys.executable or "python"
    if util.find_spec("pip") is None:
        return shell(["uv", "pip", *arguments, "--python", python])
    return shell([python, "-m", "pip", *arguments])


def python() -> str:
    """Return how to call this Python from a shell: "python", if that is it.

    Examples
    --------
    >>> from lenet_fast import cures
    >>> bool(cures.python())
    True
    """
    found = shutil.which("python")
    # Environments share one real file, but have folders of their own.
    if found is not None and os.path.dirname(found) == os.path.dirname(sys.executable or ""):
        return "python"
    return sys.executable or "python"


def command(*arguments: object) -> str:
    """Return the command line that runs ``lenet-fast`` with arguments, as this process was started.

    Examples
    --------
    >>> from lenet_fast import cures
    >>> cures.command("data").endswith(" data")
    True
    """
    program = sys.argv[0] if sys.argv else ""
    words = [python(), "-m", "lenet_fast"]
    if os.path.basename(program) == "lenet-fast":
        found = shutil.which("lenet-fast")
        on_path = found and os.path.exists(program) and os.path.samefile(found, program)
        words = ["lenet-fast" if on_path else program]
    return shell([*words, *map(str, arguments)])


def shell(words: Iterable[str]) -> str:
    """Return a command line as the system's shell reads it.

    Examples
    --------
    >>> from lenet_fast import cures
    >>> cures.shell(["lenet-fast", "evaluate", "a run"])
    "lenet-fast evaluate 'a run'"
    """
    if sys.platform == "win32":
        import subprocess

        return subprocess.list2cmdline(words)
    return shlex.join(words)
