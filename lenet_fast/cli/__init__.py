"""The command line, one module per command.

Commands import the modules that compute only when they run, so that ``--help`` is quick. Results
that a program may read go to standard output; notices, progress and errors go to standard error.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from lenet_fast import __version__
from lenet_fast.cli import common, help
from lenet_fast.cli.bench import bench
from lenet_fast.cli.completion import completion
from lenet_fast.cli.data import data
from lenet_fast.cli.evaluate import evaluate
from lenet_fast.cli.export import export
from lenet_fast.cli.info import info
from lenet_fast.cli.notebook import notebook
from lenet_fast.cli.plot import plot
from lenet_fast.cli.predict import predict
from lenet_fast.cli.reproduce import reproduce
from lenet_fast.cli.runs import compare, runs
from lenet_fast.cli.serve import serve
from lenet_fast.cli.train import train

TRACEBACK_VARIABLE = "LENET_FAST_TRACEBACK"

_EXPECTED = (ValueError, TypeError, ImportError, OSError, ArithmeticError, MemoryError)
"""Errors that the library raises for wrong input, or where the machine lacks something. Python's
RuntimeError when the system has no thread left is treated alike."""


@click.group(
    cls=help.Group,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,  # in the help of the commands, too
    },
    epilog=help.example("lenet-fast train --epochs 2", "lenet-fast train --help"),
)
@click.version_option(__version__, "-V", "--version", package_name="lenet_fast")
@click.pass_context
def group(context: click.Context) -> None:
    """Train, test and use LeNet-5 on MNIST."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


group.add_sections(
    {
        "Train and test": (train, evaluate, predict),
        "Look at runs": (runs, compare, plot, serve),
        "Other programs": (export, completion),
        "Papers and lessons": (reproduce, notebook),
        "The machine": (data, info, bench),
    }
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    The exit status is 0 on success, 1 if the command failed, 2 if it was called wrongly, and 130
    after Ctrl-C. An error takes one line, unless LENET_FAST_TRACEBACK is set. By default,
    `arguments` are those that Python was started with.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        _do_without_threads()
        status = _run(arguments)
    sys.exit(status)


def _do_without_threads() -> None:
    """Where the system has no thread left, let NumPy's OpenBLAS not ask for any: it would end us,
    by a SIGINT of its own."""
    try:
        thread = threading.Thread(target=_nothing)
        thread.start()
        thread.join()
    except RuntimeError:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _nothing() -> None:
    """Do nothing, in a thread."""


def _run(arguments: Sequence[str] | None) -> int:
    try:
        # click's standalone mode would print a usage error on four lines.
        status = group.main(arguments, prog_name="lenet-fast", standalone_mode=False)
        if sys.stdout is not None:  # None where it was closed before Python began
            sys.stdout.flush()
        return int(status or 0)
    except click.UsageError as error:
        if error.__cause__ is not None and _wants_traceback():  # the library refused an argument
            traceback.print_exc()
        called = error.ctx.command_path if error.ctx else "lenet-fast"
        message = " ".join(error.format_message().split())  # click lists choices a line each
        common.fail(f"{message.rstrip('.')}; see {called} --help")
        return 2
    except click.ClickException as error:
        common.fail(error.format_message())
        return error.exit_code
    except click.Abort:
        common.fail("stopped")
        return common.STOPPED
    except Exception as error:  # reported in one line, not swallowed
        if _wants_traceback():
            traceback.print_exc()
        else:
            common.fail(_explained(error))
        common.flush(sys.stdout)
        return 1


def _wants_traceback() -> bool:
    return os.environ.get(TRACEBACK_VARIABLE, "0") not in ("", "0")


def _explained(error: Exception) -> str:
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


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    common.say(f"lenet-fast: note: {message}", style="yellow")
