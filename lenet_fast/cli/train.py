"""``lenet-fast train``: train LeNet-5, or resume a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_fast import defaults
from lenet_fast.cli import common, settings
from lenet_fast.cli.common import integer_option
from lenet_fast.defaults import BATCH_SIZE, LOSSES, MOMENTUM, RECIPES

if TYPE_CHECKING:
    from lenet_fast.cli.stopping import Stop
    from lenet_fast.data import Splits
    from lenet_fast.training import Trainer

OUT = Path("runs", "lenet5")
"""The default folder of a run; the next free one is lenet5-2, lenet5-3, ..."""


def _rates(of: Callable[[str, str, int], float]) -> str:
    """Return the default rates, in words."""
    sgd = (f"{output} {of(loss, 'sgd', BATCH_SIZE):g}" for output, loss in LOSSES.items())
    others = (f"{name} {of('map', name, BATCH_SIZE):g}" for name in defaults.ADAPTIVE_RATES)
    return ", ".join(sgd) + "; " + ", ".join(others)


_RECIPES = "; ".join(f"{name}: {purpose}" for name, (purpose, _) in RECIPES.items())


@click.command(
    epilog=common.example(
        "lenet-fast train",
        "lenet-fast train --recipe fast",
        "lenet-fast train --epochs 5 --pooling max --output softmax --out runs/max",
        "lenet-fast train --optimiser adamw --rate 0.002",
        "lenet-fast train --batch-size 1 --epochs 5",
        "lenet-fast train --distort paper --epochs 40",
        "lenet-fast train --resume runs/max --epochs 10",
    )
)
@common.data_options
@integer_option("--limit", "Train on the first N images only; the test set stays complete.")
@click.option(
    "--recipe",
    type=click.Choice(tuple(RECIPES)),
    default="paper",
    help=f"A set of options, each of which may be overridden. {_RECIPES}.",
)
@integer_option(
    "--epochs",
    "Number of epochs in all, with those of a resumed run.  [default: "
    + ", ".join(f"{name} {options['epochs']}" for name, (_, options) in RECIPES.items())
    + "]",
)
@integer_option(
    "--batch-size",
    "Images per step. 1: the paper's stochastic gradient, one image at a time.  [default: "
    + ", ".join(f"{name} {options['batch_size']}" for name, (_, options) in RECIPES.items())
    + "]",
)
@click.option(
    "--optimiser",
    type=click.Choice(defaults.OPTIMISERS),
    help="adam: weight decay is part of the gradient; adamw: it is decoupled.  [default: sgd]",
)
@click.option(
    "--schedule",
    type=click.Choice(defaults.SCHEDULES),
    help="How the rate changes. one_cycle: it rises for a share of the steps, --warmup, and falls "
    "linearly to 0 by the end of the run; linear_decay: it falls from the start; cosine: along a "
    "cosine, to a hundredth; step_decay: by epoch, see --step; constant.  [default: one_cycle]",
)
@click.option(
    "--rate",
    type=settings.RATE,
    metavar="NUMBER",
    help="Highest learning rate, or that of --schedule constant.  "
    f"[default: {_rates(defaults.peak)}; step_decay, constant: {_rates(defaults.rate)}; below "
    f"batches of {BATCH_SIZE} smaller, in proportion with sgd, else to the root; without --output, "
    "--loss and --optimiser that of the recipe: "
    + ", ".join(f"{name} {options['rate']:g}" for name, (_, options) in RECIPES.items())
    + ", in proportion to smaller batches than its own]",
)
@click.option(
    "--warmup",
    type=settings.Number(0, 1, max_open=True),
    metavar="SHARE",
    help="Share of the steps in which the rate rises; for one_cycle and cosine.  [default: "
    + ", ".join(f"{name} {options['warmup']:g}" for name, (_, options) in RECIPES.items())
    + "; cosine 0]",
)
@click.option(
    "--rates",
    type=settings.Rates(),
    help="One rate per epoch, such as 0.1,0.05; the last one applies to all later epochs.",
)
@integer_option(
    "--step",
    "Multiply the rate by --decay-rate every this many epochs, by --schedule step_decay.  "
    f"[default: {defaults.STEP}]",
    metavar="EPOCHS",
)
@click.option(
    "--decay-rate",
    type=settings.RATE,
    metavar="NUMBER",
    help=f"Factor of the rate every --step epochs.  [default: {defaults.DECAY_RATE}]",
)
@click.option(
    "--momentum",
    type=settings.Number(0, 1, max_open=True),
    metavar="NUMBER",
    help=f"For sgd and rmsprop.  [default: sgd {MOMENTUM:g}, rmsprop 0]",
)
@click.option(
    "--nesterov/--no-nesterov",
    default=None,
    help="Nesterov's momentum, with sgd.  [default: on for batches of several images]",
)
@click.option(
    "--weight-decay",
    type=settings.Number(0),
    metavar="NUMBER",
    help="[default: adamw 0.01, others 0; recipes fast and accurate "
    f"{RECIPES['fast'][1]['weight_decay']:g}]",
)
@click.option(
    "--pooling",
    type=click.Choice(("subsample", "average", "max", "none")),
    help="none: convolutions of stride 2 instead.  " + settings.default_text("pooling"),
)
@click.option(
    "--connections",
    type=click.Choice(("table", "full")),
    help="Which maps of S2 each map of C3 reads: those of the paper's table, or all.  "
    + settings.default_text("connections"),
)
@click.option(
    "--output",
    type=click.Choice(tuple(LOSSES)),
    help="rbf: distances to the digits' bitmaps, as in the paper.  "
    + settings.default_text("output"),
)
@click.option(
    "--loss",
    type=click.Choice(("map", "penalty", "cross_entropy", "mean_squared_error")),
    help="Each fits one output; penalty fits rbf: the distance to the right digit alone.  "
    "[default: map for rbf, cross_entropy for softmax, mean_squared_error for linear]",
)
@click.option(
    "--activation",
    type=settings.Activation(),
    help="Three take an option behind a colon: leaky_relu:0.2 and elu:0.5 (slope and bound below "
    "0), gelu:tanh (the usual approximation). Networks with sigmoids are slow to start learning.  "
    + settings.default_text("activation"),
)
@click.option(
    "--initialiser",
    type=click.Choice(("lecun1998", "lecun_sqrt", "eblearn", "glorot_uniform", "he_normal")),
    help="[default: lecun1998 for the paper's network, others where it hardly learns with that]",
)
@integer_option(
    "--seed",
    "Determines the initial weights, the order of the images and their distortions.",
    0,
    least=0,
    most=2**63 - 1,
)
@click.option(
    "--distort",
    type=click.Choice(("none", "paper", "elastic")),
    callback=lambda context, option, value: None if value == "none" else value,
    help="Distort the training images, anew in each epoch. paper: shift, scale, squeeze and shear, "
    "as in 1998. elastic: rotate and bend.  [default: none; recipe accurate elastic]",
)
@integer_option(
    "--average-from",
    "From epoch N on, test and save the average of the weights at the ends of epochs.",
)
@click.option(
    "--evaluate-train",
    is_flag=True,
    help="Measure the training errors again after each epoch. By default they are counted while "
    "the network learns.",
)
@common.engine_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Folder for the run.  [default: {OUT}, or {OUT}-2 and so on if it is taken]",
)
@click.option("--overwrite", is_flag=True, help="Replace the run that --out holds.")
@integer_option(
    "--checkpoint-every", "Also save the checkpoint within epochs, after every N images."
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Resume the run in this folder, with its own options.",
)
@click.pass_context
def train(context: click.Context, **options: Any) -> None:
    """Train LeNet-5 on MNIST.

    After every epoch the run's folder holds model.safetensors (the network of the epoch with the
    fewest test errors), history.csv, config.toml and checkpoint.safetensors. --resume continues
    from the checkpoint, with the same results as if the run had never stopped; it accepts new
    values for --epochs, --data, --threads, --backend, --engine and --checkpoint-every only. Ctrl-C
    finishes the current batches, saves and stops.
    """
    from lenet_fast.cli import stopping

    given = common.given(context)
    with stopping.on_signals() as stop:
        if options["resume"] is not None:
            _resume(options, given, stop)
        else:
            _begin(options, given, stop)


def _begin(options: dict[str, Any], given: set[str], stop: Stop) -> None:
    """Start a new run."""
    from lenet_fast import backends
    from lenet_fast.locks import LockedFolder
    from lenet_fast.training import EpochTable, ProgressBar, Trainer

    settings.fill_in(options, given)
    # Check what can be wrong first: downloading the data may take a minute.
    network, loss = settings.network(options)
    schedule, optimiser = settings.schedule(options), settings.optimiser(options)
    backends.get(options["backend"])
    new = options["out"] is None  # removed again if the run does not start
    with LockedFolder.new(OUT) if new else LockedFolder(options["out"]) as out:
        # It is locked before it is checked.
        if not options["overwrite"]:
            settings.check_out(out.path)
        splits = common.load_data(options["dataset"], options["folder"])
        splits = settings.limited(splits, options["limit"])
        trainer = Trainer(
            network,
            loss,
            optimiser=optimiser,
            schedule=schedule,
            batch_size=options["batch_size"],
            seed=options["seed"],
            distortion=settings.distortion(options),
            evaluate_train=options["evaluate_train"],
            average_from=options["average_from"],
            engine=options["engine"],
            backend=options["backend"],
            threads=options["threads"],
            out=out,
            overwrite=options["overwrite"],
            checkpoint_every=options["checkpoint_every"],
            callbacks=[stop, ProgressBar(), EpochTable()],
            options=settings.recorded(options, splits),
        )
        _fit(trainer, splits, out.path, options["epochs"], stop)


def _resume(options: dict[str, Any], given: set[str], stop: Stop) -> None:
    """Resume a run."""
    from lenet_fast.locks import LockedFolder
    from lenet_fast.training import EpochTable, ProgressBar, Trainer, runs

    out = runs.checkpoint_path(options["resume"]).parent
    with LockedFolder(out) as locked:
        trainer = Trainer.resume(
            locked,
            engine=options["engine"] if "engine" in given else None,
            backend=options["backend"],
            threads=options["threads"],
            checkpoint_every=options["checkpoint_every"],
            callbacks=[stop, ProgressBar(), EpochTable()],
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
        dataset, folder, limit = settings.of_run(recorded, out)
        splits = common.load_data(dataset, folder)
        _fit(trainer, settings.limited(splits, limit), out, epochs, stop)
    if epochs == done:
        common.say(f"\nThe run has completed its {done} epochs; for more, pass --epochs.")


def _describe(trainer: Trainer, splits: Splits, out: Path) -> None:
    """Print what the run trains, and how."""
    counts = trainer.network.counts()
    common.line(
        "network",
        f"LeNet-5 ({trainer.network.output} output)",
        f"{counts.parameters:,} free parameters",
        f"{counts.connections:,} connections",
    )
    common.line("data", splits.source)
    common.line("", f"{len(splits.train):,} training images", f"{len(splits.test):,} test images")
    common.engine_lines(trainer.engine)
    common.line("training", trainer.optimiser)
    common.line("", trainer.schedule)
    common.line("", trainer.loss, f"batches of {trainer.batch_size}", f"seed {trainer.seed}")
    if trainer.distortion is not None:
        common.line("distorted", trainer.distortion)
    if trainer.average_from:
        common.line("", f"average of the weights from epoch {trainer.average_from} on")
    common.line("run", out)
    click.echo()
    if trainer.engine.backend == "numba":
        common.say("Numba compiles in the first batches: half a minute, once per machine.\n")


def _fit(trainer: Trainer, splits: Splits, out: Path, epochs: int, stop: Stop) -> None:
    """Train, and print the settings before and the outcome after."""
    from lenet_fast.training import TrainingDiverged, runs

    new = trainer.saved is None
    _describe(trainer, splits, out)
    go_on = f"To resume:\n  {common.command_line('train', '--resume', out)}"
    try:
        history = trainer.fit(splits.train, splits.test, epochs)
    except KeyboardInterrupt:
        common.say(f"\nStopped at once; {_kept(trainer, out, go_on)}")
        raise stop.leave() from None
    except TrainingDiverged as diverged:
        if new and not trainer.history.rows:
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
        what = (
            failed.strerror if failed.filename is None else f"{failed.filename}: {failed.strerror}"
        )
        if isinstance(failed, FileNotFoundError) and failed.filename == str(out):
            raise click.ClickException(f"{what}; the run in it is lost") from failed
        # An error takes one line.
        kept = _kept(trainer, out, go_on.replace("\n ", ""))
        raise click.ClickException(f"{what}; {kept}") from failed
    finally:
        trainer.engine.close()
    best = history.best
    if best is not None:
        error = 100 * best.test_errors / history.test_images
        click.echo(
            f"\nbest: epoch {best.epoch}, {error:.2f} % test error, {best.test_errors:,} of "
            f"{history.test_images:,} test images wrong"
        )
        common.line("model", out / runs.MODEL)
    if splits.notice:
        common.notice(splits.notice)
    if history.interrupted:
        done = len(history.rows)
        common.say(f"\nStopped in epoch {done + 1} of {trainer.epochs}; saved. {go_on}")
        raise stop.leave()


def _kept(trainer: Trainer, out: Path, go_on: str) -> str:
    """Return what is left of a run that ended early, in words."""
    from lenet_fast.training import runs

    if trainer.saved is None:
        held = any(os.path.lexists(out / name) for name in runs.FILES)
        return f"nothing was saved, and {out} holds {'what it held before' if held else 'no run'}"
    if not os.path.lexists(out / runs.CHECKPOINT):
        return f"the state saved in {out} is gone"
    return f"the last saved state, {trainer.saved}, is kept. {go_on}"
