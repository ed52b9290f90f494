"""The command line, one module per command.

Commands import the modules that compute only when they run, so that ``--help`` is quick. Results
that a program may read go to standard output; notices, progress and errors go to standard error.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from lenet_fast import __version__
from lenet_fast.cli import common, failures, help
from lenet_fast.cli.bench import bench
from lenet_fast.cli.completion import completion
from lenet_fast.cli.data import data
from lenet_fast.cli.evaluate import evaluate
from lenet_fast.cli.export import export
from lenet_fast.cli.info import info
from lenet_fast.cli.notebook import notebook
from lenet_fast.cli.page import page
from lenet_fast.cli.plot import plot
from lenet_fast.cli.predict import predict
from lenet_fast.cli.reproduce import reproduce
from lenet_fast.cli.runs import compare, runs
from lenet_fast.cli.serve import serve
from lenet_fast.cli.sweep import sweep
from lenet_fast.cli.train import train


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
        "Train and test": (train, evaluate, predict, sweep),
        "Look at runs": (runs, compare, plot, serve, page),
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
    except Exception as error:
        return failures.reported(error)


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    common.say(f"lenet-fast: note: {message}", style="yellow")
