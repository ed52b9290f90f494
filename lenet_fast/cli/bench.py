"""``lenet-fast bench``: measure the speed on this machine, of every engine and backend."""

from __future__ import annotations

from pathlib import Path

import click

from lenet_fast import backends, choices
from lenet_fast.cli import common, help, types


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast bench",
        "lenet-fast bench --only 'batch 1' --only latency --out bench",
        "lenet-fast bench --profile",
    ),
)
@help.option(
    "--only", metavar="WORD", multiple=True, help="Only work with WORD in the name; repeatable."
)
@help.option(
    "--seconds",
    type=types.Number(0.001, 60),
    metavar="NUMBER",
    default=0.05,
    help="Least time per contender and piece of work.",
)
@help.option(
    "--threads",
    type=types.Integer(1, 1024),
    default=1,
    help="Threads for whole networks; single calls use one.",
)
@help.option(
    "--out",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write report.md here as well.",
)
@help.option(
    "--profile",
    "profiles",
    is_flag=True,
    help="Instead print where the lane engine and the online engine spend their time.",
)
@help.option(
    "--backend",
    type=click.Choice(backends.NAMES),
    help="For --profile.  [default: the first of these that works here]",
)
@click.pass_context
def bench(
    context: click.Context,
    only: tuple[str, ...],
    seconds: float,
    threads: int,
    folder: Path | None,
    profiles: bool,
    backend: choices.Backend | None,
) -> None:
    """Time LeNet-5 on this machine, by every engine and backend that works here, in about a minute.

    Whole networks train and predict, in batches and one image at a time. The engines take turns;
    each must give the right answer first. The machine should be idle.

    The benchmarks of the source time single operations, and compare with PyTorch and other
    libraries: pytest benchmarks/ --benchmark-only.

    With --profile: for each layer of the network of 1998, and of the plain one (all connections,
    average pooling, softmax), the time of the lane engine (batches) and of the online engine (one
    image at a time) on one thread: forward, back to the layer's input, and back to its weights,
    with multiply-adds and their share of the core's peak; then training and prediction as a whole.
    """
    if profiles:
        _profile(context, backend, seconds)
        return
    if backend is not None:
        raise click.UsageError("--backend: expected together with --profile")
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    from lenet_fast import disk
    from lenet_fast.bench import comparison, machine

    for word in only:
        if not comparison.tasks((word,), threads):
            first, *_, last = comparison.tasks()
            raise click.UsageError(
                f"--only: expected a part of a name such as {first.name!r} or {last.name!r}, got "
                f"{word!r}; single operations are measured from the source: "
                "pytest benchmarks/ --benchmark-only -k WORD"
            )
    tasks = comparison.tasks(only, threads)
    if threads > 1 and all(task.calls for task in tasks):
        raise click.UsageError(
            f"--threads: expected with more than single calls, got --only {only[0]}"
        )
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with common.progress_bar(*columns) as bar:
        task = bar.add_task("", total=len(tasks))

        def advance(name: str) -> None:
            bar.update(task, advance=1, description=name)

        rows, failures = comparison.measure(tasks, seconds, advance)
    text = comparison.markdown(rows, machine.describe())
    click.echo(text, nl=False)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        disk.write_atomic(folder / "report.md", text.encode())
        common.say(f"wrote {folder / 'report.md'}")
    for one in failures:
        common.fail(f"{one.group}: {one.contender}: {one.error}")
    if failures:
        raise click.exceptions.Exit(1)


def _profile(context: click.Context, backend: choices.Backend | None, seconds: float) -> None:
    from lenet_fast.bench import profile, workloads
    from lenet_fast.bench.rounds import WrongAnswerError

    for name, option in (("only", "only"), ("threads", "threads"), ("folder", "out")):
        if name in common.given(context):
            raise click.UsageError(f"--{option}: expected without --profile")
    wanted = backend or backends.current()
    here = [engine for engine in profile.ENGINES if workloads.has_engine(engine, wanted)]
    if not here:
        raise click.UsageError(
            f"--profile: expected a --backend with kernels for the lane engine, got {wanted}"
        )
    try:
        found = [
            profile.measure(name, wanted, seconds, engine)
            for engine in here
            for name in workloads.NETWORKS
        ]
    except WrongAnswerError as error:
        raise click.ClickException(str(error)) from error
    click.echo(profile.markdown(found), nl=False)
