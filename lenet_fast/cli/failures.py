"""What the command line says when a command fails, in one line."""

from __future__ import annotations

import os
import sys
import traceback

import click

from lenet_fast.cli import common

TRACEBACK_VARIABLE = "LENET_FAST_TRACEBACK"

_EXPECTED = (ValueError, TypeError, ImportError, OSError, ArithmeticError, MemoryError)
"""Errors that the library raises for wrong input, or where the machine lacks something. Python's
RuntimeError when the system has no thread left is treated alike."""


def reported(error: Exception, where: str = "") -> int:
    """Report what ended a command, in one line that may say where; return the exit status."""
    if isinstance(error, click.UsageError):
        if error.__cause__ is not None and _wants_traceback():  # the library refused an argument
            traceback.print_exception(error)
        called = error.ctx.command_path if error.ctx else "lenet-fast"
        message = " ".join(error.format_message().split())  # click lists choices a line each
        common.fail(f"{where}{message.rstrip('.')}; see {called} --help")
        return 2
    if isinstance(error, click.ClickException):
        common.fail(f"{where}{error.format_message()}")
        return error.exit_code
    if isinstance(error, click.Abort):
        common.fail(f"{where}stopped")
        return common.STOPPED
    if _wants_traceback():
        traceback.print_exception(error)
    else:
        common.fail(f"{where}{explained(error)}")
    common.flush(sys.stdout)
    return 1


def _wants_traceback() -> bool:
    return os.environ.get(TRACEBACK_VARIABLE, "0") not in ("", "0")


def explained(error: BaseException) -> str:
    """Return what ended a command, in one line."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if not isinstance(error, Exception) or isinstance(error, click.Abort | click.exceptions.Exit):
        return "stopped"
    if isinstance(error, RecursionError):
        return "expected input with less nesting; Python's stack is full"
    if isinstance(error, RuntimeError) and "new thread" in str(error):
        return f"the system has no thread left ({error}); --threads 1 needs the fewest"
    if not isinstance(error, _EXPECTED):
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return (
            f"this is a bug in lenet-fast, please report it: {what}; "
            f"{TRACEBACK_VARIABLE}=1 shows where it happens"
        )
    if isinstance(error, MemoryError):
        return f"out of memory: {error}" if str(error) else "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return common.problem(error)
    return str(error) or type(error).__name__
