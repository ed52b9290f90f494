"""``lenet-fast train``: train LeNet-5 or an older network, or resume a run."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import cures
from lenet_fast.cli import common, configs, help, settings, train_options

if TYPE_CHECKING:
    from lenet_fast.cli.stopping import Stop
    from lenet_fast.data import Splits
    from lenet_fast.training import Callback, History, Ranks, Trainer

TITLES = {
    "lenet5": "LeNet-5",
    "lenet4": "LeNet-4",
    "lenet1": "LeNet-1",
    "lenet1989": "network of 1989",
}
"""Names of the networks in reports."""


@click.command(
    cls=help.Command,
    epilog=help.example(
        "lenet-fast train",
        "lenet-fast train --recipe fast",
        "lenet-fast train --epochs 5 --pooling max --output softmax --out runs/max",
        "lenet-fast train --model lenet1989",
        "lenet-fast train --optimiser sdlm",
        "lenet-fast train --distort paper --epochs 40",
        "lenet-fast train --config runs/max --seed 1",
        "lenet-fast train --resume runs/max --epochs 10",
        "mpiexec -n 4 lenet-fast train --batch-size 128 --distributed mpi",
    ),
)
@train_options.options
@click.pass_context
def train(context: click.Context, **options: Any) -> None:
    """Train LeNet-5 on MNIST, or an older network.

    After every epoch the run's folder holds model.safetensors (the network of the epoch with the
    fewest test errors), history.csv, config.toml and checkpoint.safetensors. --resume continues
    from the checkpoint, with the same results as if the run had never stopped; it accepts new
    values for --epochs, --data, --threads, --backend, --engine, --distributed and
    --checkpoint-every only.
    --config starts a new run with the options of another one. Ctrl-C finishes the current batches,
    saves and stops.
    """
    from lenet_fast.cli import distributed, stopping

    given = common.given(context)
    with distributed.together(options) as ranks, stopping.on_signals() as stop:
        if options["resume"] is not None:
            _resume(options, given, stop, ranks)
        else:
            config = options.pop("config")
            values = None if config is None else configs.read(context, config)
            _begin(options, given - {"config"}, values, stop, ranks)


def _begin(
    options: dict[str, Any],
    given: set[str],
    config: dict[str, Any] | None,
    stop: Stop,
    ranks: Ranks | None,
) -> None:
    """Start a new run."""
    from lenet_fast import backends
    from lenet_fast.cli import distributed
    from lenet_fast.training import Trainer

    settings.fill_in(options, given, config)
    # Check what can be wrong first: downloading the data may take a minute.
    network, loss = settings.network(options)
    schedule, optimiser = settings.schedule(options), settings.optimiser(options)
    backends.get(options["backend"])
    new = options["out"] is None  # removed again if the run does not start
    default = Path(train_options.OUT, options["model"])
    with common.writing_out():
        locked = distributed.locked(default if new else options["out"], ranks, new=new)
    with locked as out:
        # It is locked before it is checked.
        if not options["overwrite"]:
            settings.check_out(Path(out))
        splits = common.load_data(options["dataset"], options["folder"])
        splits = settings.digits(splits, options["model"], options["limit"])
        network, loss = settings.for_data(options, network, loss, splits)
        trainer = Trainer(
            network,
            loss,
            optimiser=optimiser,
            schedule=schedule,
            batch_size=options["batch_size"],
            seed=options["seed"],
            distortion=settings.distortion(options),
            shuffle=options["shuffle"],
            evaluate_train=options["evaluate_train"],
            average_from=options["average_from"],
            engine=options["engine"],
            backend=options["backend"],
            threads=options["threads"],
            ranks=ranks,
            out=out,
            overwrite=options["overwrite"],
            checkpoint_every=options["checkpoint_every"],
            callbacks=[stop, *_reports(options["as_json"])],
            options=settings.recorded(options, splits),
        )
        _fit(trainer, splits, Path(out), options["epochs"], stop, ranks, options["as_json"])


def _resume(options: dict[str, Any], given: set[str], stop: Stop, ranks: Ranks | None) -> None:
    """Resume a run."""
    from lenet_fast.cli import distributed
    from lenet_fast.training import Trainer, runs

    out = runs.checkpoint_path(options["resume"]).parent
    with distributed.locked(out, ranks) as locked:
        trainer = Trainer.resume(
            locked,
            engine=options["engine"] if "engine" in given else None,
            backend=options["backend"],
            threads=options["threads"],
            ranks=ranks,
            checkpoint_every=options["checkpoint_every"],
            callbacks=[stop, *_reports(options["as_json"])],
        )
        recorded = trainer.options
        settings.check_same(options, given, recorded, out)
        epochs = options["epochs"] if "epochs" in given else trainer.epochs
        done = len(trainer.history.rows)
        if epochs < done:
            raise click.UsageError(f"--epochs: expected at least {done}, as {out} has completed")
        settings.check_average(trainer.average_from or None, epochs)
        if options["folder"] is not None:  # the next resume looks there, too
            recorded["data"] = os.fspath(common.full_path("--data", options["folder"]))
        dataset, folder, model, limit = settings.of_run(recorded, out)
        splits = settings.digits(common.load_data(dataset, folder), model, limit)
        _fit(trainer, splits, out, epochs, stop, ranks, options["as_json"])
    if epochs == done:
        its = "its epoch" if done == 1 else f"all of its {done} epochs"
        common.say(f"\nThe run has completed {its}; for more, pass --epochs.")


def _reports(as_json: bool) -> list[Callback]:
    """Return the callbacks that show the progress: on standard error beside JSON."""
    from rich.console import Console

    from lenet_fast.training import EpochTable, ProgressBar

    return [ProgressBar(Console(stderr=True))] if as_json else [ProgressBar(), EpochTable()]


def _describe(trainer: Trainer, splits: Splits, out: Path, ranks: Ranks | None) -> None:
    """Print what the run trains, and how."""
    counts = trainer.network.counts()
    common.line(
        "network",
        f"{TITLES[trainer.options.get('model', 'lenet5')]} ({trainer.network.output} output)",
        f"{counts.parameters:,} free parameters",
        f"{counts.connections:,} connections",
    )
    common.line("data", splits.source)
    counts_of = [f"{len(splits.train):,} training images", f"{len(splits.test):,} test images"]
    if len(splits.train.classes) != 10:
        counts_of.append(f"{len(splits.train.classes)} classes")
    common.line("", *counts_of)
    if trainer.network.input_shape[-1] < 32:
        common.line("", "digits of 16x16 pixels")
    common.engine_lines(trainer.engine)
    if ranks is not None:
        common.line("", f"in each of {ranks.size} MPI process{'es' * (ranks.size > 1)}")
    common.line("training", trainer.optimiser)
    common.line("", textwrap.shorten(str(trainer.schedule), 68, placeholder=" ..."))
    common.line("", trainer.loss, f"batches of {trainer.batch_size}", f"seed {trainer.seed}")
    if trainer.distortion is not None:
        common.line("distorted", trainer.distortion)
    if trainer.average_from:
        common.line("", f"average of the weights from epoch {trainer.average_from} on")
    common.line("run", out)
    click.echo()
    if trainer.engine.backend == "numba":
        from lenet_fast.backends.numba_backend import jit

        often = "once per machine"
        if not jit.keeps():
            often = "each time, as no cache folder can be written; NUMBA_CACHE_DIR names one"
        common.say(f"Numba compiles in the first batches: half a minute, {often}.\n")


def _fit(
    trainer: Trainer,
    splits: Splits,
    out: Path,
    epochs: int,
    stop: Stop,
    ranks: Ranks | None,
    as_json: bool,
) -> None:
    """Train, and print the settings before and the outcome after."""
    from lenet_fast.training import TrainingDiverged, TrainingInterrupted, runs

    new = trainer.saved is None
    if not as_json:
        _describe(trainer, splits, out, ranks)
    again = cures.command("train", "--resume", out)
    if ranks is not None:
        again = f"mpiexec -n {ranks.size} {again} --distributed mpi"
    go_on = f"To resume:\n  {again}"
    try:
        trainer.fit(splits.train, splits.test, epochs, verbose=False)  # it has callbacks
    except TrainingInterrupted:
        pass  # it is saved: see below
    except KeyboardInterrupt:
        common.say(f"\nStopped at once; {_kept(trainer, out, go_on)}")
        raise stop.leave() from None
    except TrainingDiverged as diverged:
        if new and trainer.saved is None:
            kept = f"No epoch was complete, so {out} still holds the run from before."
        elif new and not trainer.history.rows:
            runs.clear(out)  # a folder is not taken by a run that cannot be resumed
            kept = f"Nothing is kept: no epoch was complete, and {out} is free again."
        else:
            kept = (
                f"{out} holds the last good state, {trainer.saved}, but --resume would fail here "
                "again: choose another folder, or pass --overwrite."
            )
        raise TrainingDiverged(diverged.reason, kept) from diverged
    except OSError as failed:
        lost_terminal = stop.came and failed.filename is None
        if isinstance(failed, FileExistsError) or failed.strerror is None or lost_terminal:
            raise
        what = common.problem(failed)
        if isinstance(failed, FileNotFoundError) and failed.filename == str(out):
            raise click.ClickException(f"{what}; the run in it is lost") from failed
        # An error takes one line.
        kept = _kept(trainer, out, go_on.replace("\n ", ""))
        raise click.ClickException(f"{what}; {kept}") from failed
    finally:
        trainer.engine.close()
    history = trainer.history
    if as_json:
        common.print_json(_facts(trainer, splits, out, history))
    elif history.best is not None:
        _conclude(trainer, out, history)
    if splits.notice:
        common.notice(splits.notice)
    if history.interrupted:
        done = len(history.rows)
        common.say(f"\nStopped in epoch {done + 1} of {trainer.epochs}; saved. {go_on}")
        raise stop.leave()


def _conclude(trainer: Trainer, out: Path, history: History) -> None:
    """Print the best epoch, and what to do with it."""
    from lenet_fast.training import runs

    best = history.best
    assert best is not None
    error = 100 * best.test_errors / history.test_images
    text = (
        f"best: epoch {best.epoch}, {error:.2f} % test error, {best.test_errors:,} of "
        f"{history.test_images:,} test images wrong"
    )
    click.echo(f"\n{common.wrapped(text)}")
    common.line("model", out / runs.MODEL)
    dataset = trainer.options.get("dataset", "auto")
    # "mnist" says that the labels of own files are digits.
    default = dataset == "auto" or (dataset == "mnist" and "data" not in trainer.options)
    data = [] if default else ["--dataset", dataset]
    if "data" in trainer.options:
        data += ["--data", trainer.options["data"]]
    click.echo()
    common.command("next", cures.command("evaluate", out, *data))
    picture = ["--what", "mistakes", "--out", "mistakes.png"]
    common.command("", cures.command("plot", out, *picture, *data))
    if trainer.network.input_shape[0] == 1:
        common.command("", cures.command("serve", out, *data))


def _facts(trainer: Trainer, splits: Splits, out: Path, history: History) -> dict[str, Any]:
    """Return what --json prints."""
    from lenet_fast.training import runs

    best = history.best
    return {
        "out": os.fspath(out),
        "model": None if best is None else os.fspath(out / runs.MODEL),
        "data": splits.source,
        "train_images": history.train_images,
        "test_images": history.test_images,
        "parameters": trainer.network.counts().parameters,
        "options": trainer.options,
        "backend": trainer.engine.backend,
        "engine": trainer.engine.name,
        "threads": trainer.engine.threads,
        "epochs": trainer.epochs,
        "interrupted": history.interrupted,
        "best": None if best is None else dataclasses.asdict(best),
        "history": [dataclasses.asdict(row) for row in history.rows],
    }


def _kept(trainer: Trainer, out: Path, go_on: str) -> str:
    """Return what is left of a run that ended early, in words."""
    from lenet_fast.training import runs

    if trainer.saved is None:
        held = any(os.path.lexists(out / name) for name in runs.FILES)
        return f"nothing was saved, and {out} holds {'what it held before' if held else 'no run'}"
    if not os.path.lexists(out / runs.CHECKPOINT):
        return f"the state saved in {out} is gone"
    return f"the last saved state, {trainer.saved}, is kept. {go_on}"
