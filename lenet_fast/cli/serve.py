"""``lenet-fast serve``: the page on which to draw a digit, and to watch the network learn."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import click

from lenet_fast.cli import common

OUT = Path("runs", "page")
"""The folder that the page saves to; the next ones are called page-2, page-3, ..."""

_WAYS_OUT = {
    errno.EADDRINUSE: "another program listens there; take another --port",
    errno.EACCES: "take a --port of 1024 or more",
    errno.EADDRNOTAVAIL: "expected an address of this machine, or 0.0.0.0 for all it has",
    socket.EAI_NONAME: "expected a name or an address of this machine",
}


def _checked_names(context: click.Context, option: click.Option, given: tuple[str, ...]) -> object:
    try:
        from lenet_fast.web import names

        return tuple(map(names.checked, given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(
    epilog=common.example(
        "lenet-fast serve",
        "lenet-fast serve runs/lenet5",
        "lenet-fast serve --port 8080 --no-browser",
        "lenet-fast serve --host 0.0.0.0 --allow-host labpc.local",
    )
)
@click.argument("run_or_model", required=False, type=click.Path(path_type=Path))
@common.data_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. With another than this, all who reach it may draw and train.",
)
@click.option(
    "--allow-host",
    "allowed",
    multiple=True,
    metavar="NAME",
    callback=_checked_names,
    help="A name by which the page may be opened, besides localhost and numeric addresses: that of "
    "this machine in the network, or of a proxy. May be given several times.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="0: any that is free.  [default: 8000, or any that is free if that is taken]",
)
@click.option(
    "--browser/--no-browser", default=True, show_default=True, help="Open the page in a browser."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    default=OUT,
    show_default=True,
    help="Folder for what is saved on the page; DIR-2 and so on if that is taken.",
)
def serve(
    run_or_model: Path | None,
    folder: Path | None,
    dataset: str,
    host: str,
    allowed: tuple[str, ...],
    port: int | None,
    browser: bool,
    out: Path,
) -> None:
    """Show a page: draw a digit, watch the network think, watch it learn.

    RUN_OR_MODEL is the folder of a run, or a model file. Without it, the page begins to train a
    network, which takes seconds, and all can be seen on it.

    The page needs no network but the one inside this machine. Ctrl-C ends it. It needs Flask and
    waitress: pip install 'lenet_fast[web]'
    """
    out = common.full_path("--out", out)
    if not out.name:
        raise click.UsageError(f"--out: expected a folder that can be made, got {out}")
    if not host:  # sockets take it for all addresses
        raise click.UsageError("--host: expected an address such as 127.0.0.1, got nothing")
    try:
        from lenet_fast.web import server
        from lenet_fast.web.learning import BusyError, Learning
    except ModuleNotFoundError as error:
        raise ImportError(
            f"serve needs Flask and waitress, and {error.name} is missing: "
            "pip install 'lenet_fast[web]'"
        ) from error

    network = None
    if run_or_model is not None:
        file, network, _ = common.read_model(run_or_model)
        common.line("model", file)
    splits = common.load_data(dataset, folder)
    common.line("data", splits.source)
    try:
        learning = Learning(splits, out, network, str(run_or_model or ""))
    except BusyError as error:  # no thread for the first training
        raise OSError(str(error)) from error
    try:
        served = server.create(learning, host, port, allowed=allowed)
    except OSError as error:
        learning.close()
        way_out = _WAYS_OUT.get(error.errno or 0)
        where = f"{host}, {'any' if port is None else port}"
        reason = f"{error.strerror}; {way_out}" if way_out else error.strerror
        raise OSError(f"--host, --port: {where}: {reason}") from error
    url = server.address(served, host)
    common.line("page", url)
    common.line("", "Ctrl-C ends it")
    server.run(served, learning, url, browser=browser)
