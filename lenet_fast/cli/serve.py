"""``lenet-fast serve``: a page to draw digits on, and to watch a network learn."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import click

from lenet_fast import cures
from lenet_fast.cli import common, help

OUT = Path("runs", "page")
"""The folder that the page saves to; the next free one is page-2, page-3, ..."""

_WAYS_OUT = {
    errno.EADDRINUSE: "another program uses this port; choose another --port",
    errno.EACCES: "choose a --port of 1024 or more",
    errno.EADDRNOTAVAIL: "expected an address of this machine, or 0.0.0.0 for all of them",
    socket.EAI_NONAME: "expected a name or an address of this machine",
}


def _checked_names(context: click.Context, option: click.Option, given: tuple[str, ...]) -> object:
    try:
        from lenet_fast.web import names

        return tuple(map(names.checked, given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _checked_token(context: click.Context, option: click.Option, given: str | None) -> str | None:
    if given is None:
        return None
    from lenet_fast.web import pupils

    try:
        return "" if given == "none" else pupils.checked_token(given)
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("token: ")) from error


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast serve",
        "lenet-fast serve runs/lenet5",
        "lenet-fast serve --port 8080 --no-browser",
        "lenet-fast serve --host 0.0.0.0 --allow-host labpc.local",
        "lenet-fast serve --host 0.0.0.0 --token class-5b-2026 --trainings 2",
    ),
)
@click.argument("run_or_model", required=False, type=click.Path(path_type=Path))
@common.data_options
@common.onnx_options
@help.option(
    "--host",
    default="127.0.0.1",
    help="Address to listen on. With one that others can reach, the page asks for a token, and "
    "each visitor has a state of their own.",
)
@help.option(
    "--allow-host",
    "allowed",
    multiple=True,
    metavar="NAME",
    callback=_checked_names,
    help="A host name under which the page may be opened, besides localhost and numeric addresses: "
    "this machine's name in the network, or a proxy's. May be repeated.",
)
@help.option(
    "--token",
    metavar="TEXT",
    callback=_checked_token,
    help="What the address must contain, 8 to 64 letters, digits, hyphens and underscores; 'none' "
    "for none.  [default: none on this machine only, else a random one]",
)
@common.integer_option(
    "--pupils",
    "Most visitors with a state of their own: runs, network that reads; some 10 MB each. 0: one "
    "state for all.  [default: 0 on this machine only, else 40]",
    least=0,
    most=1000,
)
@common.integer_option(
    "--trainings", "Most trainings at a time; others wait.  [default: 1]", least=1, most=64
)
@common.integer_option(
    "--port",
    "0: any free port.  [default: 8000, or any free port if that is taken]",
    least=0,
    most=65535,
)
@help.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
@help.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    default=OUT,
    help="Folder for what the page saves; DIR-2 and so on if it is taken.",
)
def serve(
    run_or_model: Path | None,
    folder: Path | None,
    dataset: str,
    host: str,
    allowed: tuple[str, ...],
    token: str | None,
    pupils: int | None,
    trainings: int | None,
    port: int | None,
    browser: bool,
    out: Path,
) -> None:
    """Serve a page to draw digits on, inspect a network and watch it learn.

    RUN_OR_MODEL is the folder of a run, or a model file, also ONNX. Without it, the page starts to
    train a network, which takes seconds; everything works meanwhile. A class is
    served when it is trained.

    For a class, let others reach it with --host, and give them the address that is printed.

    The page loads nothing from the internet. Ctrl-C ends the server. Needs Flask and waitress,
    the extra "web".
    """
    out = common.full_path("--out", out)
    if not out.name:
        raise click.UsageError(f"--out: expected a folder that can be created, got {out}")
    if not host:  # for a socket, an empty name means all addresses
        raise click.UsageError("--host: expected an address such as 127.0.0.1, got nothing")
    try:
        from lenet_fast.web import pupils as class_
        from lenet_fast.web import server
        from lenet_fast.web.manager import BusyError, TrainingManager
        from lenet_fast.web.shared import Shared
    except ModuleNotFoundError as error:
        raise ImportError(
            f"serve needs Flask and waitress, and {error.name} is missing: "
            + cures.install("lenet_fast[web]")
        ) from error

    network = None
    if run_or_model is not None:
        file, network, _ = common.read_model(run_or_model)
        if network.input_shape[0] > 1:
            raise ValueError(
                f"{file}: expected a network for grey images, as the page draws grey digits, got "
                f"one for {network.input_shape[0]} channels; evaluate, predict and plot read it"
            )
        common.line("model", file)
    splits = common.load_data(dataset, folder)
    common.line("data", splits.source)
    if splits.train.channels > 1:
        raise click.UsageError(
            "--dataset: expected grey images, as the page draws grey digits, got those of "
            f"{splits.title}, of {splits.train.channels} channels"
        )
    common.check_size(splits, common.LARGEST, "the page")
    if network is not None:
        network.classes = common.class_names(file, network, splits)
    local = server.is_local(host)
    if token is None:
        token = "" if local else class_.new_token()
    most = pupils if pupils is not None else (0 if local else class_.MOST)
    shared = Shared(splits, folder, trainings or 1)
    try:
        manager = TrainingManager(splits, out, network, str(run_or_model or ""), shared=shared)
    except BusyError as error:  # no thread for the first training
        raise OSError(str(error)) from error
    states = class_.Pupils(manager, most)
    try:
        served = server.create(states, host, port, allowed=allowed, token=token)
    except OSError as error:
        manager.close()
        way_out = _WAYS_OUT.get(error.errno or 0)
        where = f"{host}, {'any' if port is None else port}"
        reason = f"{error.strerror}; {way_out}" if way_out else error.strerror
        raise OSError(f"--host, --port: {where}: {reason}") from error
    url = server.address(served, host, token)
    common.line("page", url)
    for each in server.addresses(served, host, allowed, token):
        common.line("others", each)
    if most and network is None:
        common.line("", "training a network for all to begin with")
        manager.join()
    common.line("", "Ctrl-C ends the server")
    server.run(served, states, url, browser=browser)
