"""The options of ``lenet-fast train``, in sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import click

from lenet_fast import choices, defaults
from lenet_fast.cli import common, settings, types
from lenet_fast.cli.common import integer_option
from lenet_fast.cli.help import all_of, option, section
from lenet_fast.defaults import BATCH_SIZE, LOSSES, MODELS, MOMENTUM, RECIPES

OUT = "runs"
"""The folder of the default runs: lenet5, the next free one being lenet5-2, and so on."""


def _rates(of: Callable[[str, str, int], float]) -> str:
    """Return the default rates, in words."""
    sgd = (f"{output} {of(loss, 'sgd', BATCH_SIZE):g}" for output, loss in LOSSES.items())
    others = (f"{name} {of('map', name, BATCH_SIZE):g}" for name in defaults.ADAPTIVE_RATES)
    return ", ".join(sgd) + "; " + ", ".join(others)


def _by_recipe(name: str) -> str:
    """Return what the recipes have for an option."""
    return ", ".join(f"{recipe} {options[name]:g}" for recipe, (_, options) in RECIPES.items())


def _by_model(name: str) -> str:
    """Return what the networks without recipes have for an option."""
    return ", ".join(f"{model} {options[name]:g}" for model, options in MODELS.items())


def _number(
    name: str, text: str, kind: click.ParamType, *also: str, metavar: str = "NUMBER"
) -> Callable[[Any], Any]:
    return option(name, also=also, type=kind, metavar=metavar, help=text)


def _choice(name: str, names: Iterable[str], text: str, *also: str) -> Callable[[Any], Any]:
    return option(name, also=also, type=click.Choice(tuple(names)), help=text)


_SHARE = types.Number(0, 1, max_open=True)
_RECIPES = "; ".join(f"{name}: {purpose}" for name, (purpose, _) in RECIPES.items())

options = all_of(
    section(
        "Run",
        option(
            "--recipe",
            type=click.Choice(tuple(RECIPES)),
            help=f"A set of options for LeNet-5, each of which may be overridden. {_RECIPES}.  "
            "[default: paper]",
        ),
        option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Take the options of an earlier run from its config.toml, or its folder; those "
            "given beside it override them.",
        ),
        integer_option(
            "--epochs",
            "Number of epochs in all, with those of a resumed run.  "
            f"[default: {_by_recipe('epochs')}; {_by_model('epochs')}; sdlm {defaults.EPOCHS}]",
        ),
        integer_option(
            "--batch-size",
            "Images per step. 1: the paper's stochastic gradient, one image at a time.  "
            f"[default: {_by_recipe('batch_size')}; other networks {BATCH_SIZE}; sdlm 1]",
            also=("--batch",),
        ),
        integer_option(
            "--seed",
            "Determines the initial weights, the order of the images and their distortions.",
            0,
            least=0,
            most=2**63 - 1,
        ),
    ),
    common.data_options,
    section(
        "Data",
        integer_option("--limit", "Train on the first N images only; the test set stays complete."),
        option(
            "--distort",
            type=types.Distort(),
            metavar="HOW",
            callback=lambda context, option, value: None if value == "none" else value,
            help="Distort the training images, anew in each epoch. paper: shift, scale, squeeze "
            "and shear, as in 1998. elastic: rotate and bend. Or amounts of your own, such as "
            "shift=2,rotation=10,elastic=20.  [default: none; recipe accurate elastic]",
        ),
        option(
            "--shuffle/--no-shuffle",
            default=True,
            help="Whether to shuffle the training images in each epoch.",
        ),
    ),
    section(
        "Network",
        _choice(
            "--model",
            ("lenet5", *MODELS),
            "lenet1 and lenet1989 see digits reduced to 16x16, as theirs were.  [default: lenet5]",
            "--network",
        ),
        option(
            "--pooling",
            type=click.Choice((*get_args(choices.Pooling), "none")),
            help="none: convolutions of stride 2 instead.  " + settings.default_text("pooling"),
        ),
        option(
            "--connections",
            type=click.Choice(get_args(choices.Connections)),
            help="Which maps of S2 each map of C3 reads: those of the paper's table, or all; of "
            "lenet5 and lenet4.  " + settings.default_text("connections"),
        ),
        option(
            "--output",
            type=click.Choice(tuple(LOSSES)),
            help="rbf: distances to the digits' bitmaps, as in the paper. lenet4 has linear or "
            "softmax.  " + settings.default_text("output", "lenet4 linear"),
        ),
        option(
            "--activation",
            type=types.Activation(),
            help="Of lenet5 and lenet1989. Three take an option behind a colon: leaky_relu:0.2 and "
            "elu:0.5 (slope and bound below 0), gelu:tanh (the usual approximation).  "
            + settings.default_text("activation"),
        ),
        option(
            "--output-activation",
            type=types.Activation(),
            metavar="NAME",
            help="That of the last layer of lenet1989.  [default: as --activation]",
        ),
        integer_option(
            "--extra-dense",
            "Units of one more dense layer of lenet5, between C5 and F6.  [default: no such layer]",
            most=100_000,
        ),
        _choice(
            "--initialiser",
            get_args(choices.Initialiser),
            "Rule of the first weights.  [default: lecun1998 for lenet5 as in 1998, others where "
            "it hardly learns with that; other networks eblearn]",
            "--initializer",
        ),
        _choice(
            "--dtype", get_args(choices.DType), "Precision of all numbers.  [default: float32]"
        ),
    ),
    section(
        "Loss",
        _choice(
            "--loss",
            get_args(choices.Loss),
            "Each fits one output; penalty fits rbf: the distance to the right digit alone.  "
            "[default: map for rbf, cross_entropy for softmax, mean_squared_error for linear]",
        ),
        _number(
            "--smoothing",
            "Share of the target spread over all classes, for cross_entropy.  [default: 0]",
            _SHARE,
            "--label-smoothing",
            metavar="SHARE",
        ),
        _number(
            "--j",
            "Penalty of the rubbish class, for map; inf: no such class.  [default: 20]",
            types.Number(0, endless=True),
        ),
        _choice(
            "--curvature",
            ("paper", "exact"),
            "How the second derivatives of map pass the RBF outputs, for sdlm.  [default: paper]",
        ),
        option(
            "--target-on",
            "on",
            type=types.Number(),
            metavar="NUMBER",
            help="Target of the right output, for mean_squared_error.  [default: 1]",
        ),
        option(
            "--target-off",
            "off",
            type=types.Number(),
            metavar="NUMBER",
            help="Target of the other outputs, for mean_squared_error.  [default: -1]",
        ),
        option(
            "--loss-scale",
            "scale",
            type=types.RATE,
            metavar="NUMBER",
            help="Factor of the sum of squares, for mean_squared_error.  [default: 0.5]",
        ),
    ),
    section(
        "Learning rate",
        option(
            "--schedule",
            type=click.Choice(defaults.SCHEDULES),
            help="How the rate changes. one_cycle: it rises for a share of the steps, --warmup, "
            "and falls linearly to 0 by the end of the run; linear_decay: it falls from the start; "
            "cosine: along a cosine, to a hundredth; step_decay: by epoch, see --step; constant.  "
            "[default: one_cycle; sdlm: the paper's rates by epoch]",
        ),
        _number(
            "--rate",
            "Highest learning rate, or that of --schedule constant.  "
            f"[default: {_rates(defaults.peak)}; step_decay, constant: {_rates(defaults.rate)}; "
            f"below batches of {BATCH_SIZE} smaller, in proportion with sgd, else to the root; "
            "with output, loss and optimiser of the recipe, and neither of these schedules, its "
            f"rate ({_by_recipe('rate')}) or the network's ({_by_model('rate')}), less for "
            "smaller batches than theirs]",
            types.RATE,
            "--lr",
            "--learning-rate",
        ),
        _number(
            "--warmup",
            "Share of the steps in which the rate rises; for one_cycle and cosine.  "
            f"[default: {_by_recipe('warmup')}; other networks 0.3; cosine 0]",
            _SHARE,
            metavar="SHARE",
        ),
        _number(
            "--last-rate",
            "Where cosine, the schedule with this option, ends.  [default: a hundredth of --rate]",
            types.RATE,
        ),
        option(
            "--rates",
            type=types.Rates(),
            help="One rate per epoch, such as 0.1,0.05; the last one applies to all later epochs.",
        ),
        integer_option(
            "--step",
            "Multiply the rate by --decay-rate every this many epochs, by --schedule step_decay.  "
            f"[default: {defaults.STEP}]",
            metavar="EPOCHS",
        ),
        _number(
            "--decay-rate",
            f"Factor of the rate every --step epochs.  [default: {defaults.DECAY_RATE}]",
            types.RATE,
        ),
    ),
    section(
        "Optimiser",
        _choice(
            "--optimiser",
            (*defaults.OPTIMISERS, "sdlm"),
            "adam: weight decay is part of the gradient; adamw: it is decoupled. sdlm: as in 1998, "
            "one rate per weight, by the curvature; a step per image and the paper's rates unless "
            "you choose others.  [default: sgd]",
            "--optimizer",
        ),
        _number(
            "--momentum",
            f"For sgd, sdlm and rmsprop.  [default: sgd {MOMENTUM:g}, others 0]",
            _SHARE,
        ),
        option(
            "--nesterov/--no-nesterov",
            default=None,
            help="Nesterov's momentum, with sgd.  [default: on for batches of several images]",
        ),
        _number(
            "--weight-decay",
            "[default: adamw 0.01, others 0; recipes fast and accurate "
            f"{RECIPES['fast'][1]['weight_decay']:g}]",
            types.Number(0),
        ),
        _number("--beta1", "Share of the mean gradient kept, adam.  [default: 0.9]", _SHARE),
        _number("--beta2", "Share of the mean square kept, adam.  [default: 0.999]", _SHARE),
        _number("--alpha", "Share of the mean square kept, rmsprop.  [default: 0.99]", _SHARE),
        option(
            "--centered/--no-centered",
            default=None,
            also=("--centred/--no-centred",),
            help="Divide by the root of the variance, rmsprop.  [default: no-centered]",
        ),
        _number("--rho", "Share of the mean squares kept, adadelta.  [default: 0.9]", _SHARE),
        _number(
            "--epsilon",
            "Added to the root that divides, for adam, rmsprop and adadelta.  "
            "[default: adadelta 1e-06, others 1e-08]",
            types.RATE,
        ),
        _number(
            "--mu",
            "Added to the curvature that divides, for sdlm.  [default: map and penalty "
            f"{defaults.MU['map']:g}, others {defaults.MU['cross_entropy']:g}]",
            types.RATE,
        ),
        integer_option("--patterns", "Images for the curvature, for sdlm.  [default: 500]"),
        _number(
            "--gamma",
            "Share of the new curvature in its moving average, for sdlm.  [default: 1]",
            types.Number(0, 1, min_open=True),
        ),
        integer_option(
            "--average-from",
            "From epoch N on, test and save the average of the weights at the ends of epochs.",
        ),
    ),
    common.engine_options,
    section(
        "Several processes",
        _choice(
            "--distributed",
            ("mpi",),
            "mpi: the processes of mpiexec train one network together, with the results of one "
            "process. Each takes its share of every batch; only the first one writes and prints. "
            "--threads is then that of each.",
        ),
        option(
            "--distributed-mixed",
            is_flag=True,
            help="Allow processes with other versions or instruction sets, whose numbers differ in "
            "the last digits.",
        ),
    ),
    section(
        "Files and output",
        option(
            "--out",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help=f"Folder for the run.  [default: {OUT}/lenet5, by the network; with -2 and so on "
            "if it is taken]",
        ),
        option(
            "--overwrite",
            is_flag=True,
            help="Replace the run that --out holds, when the new one has completed an epoch or is "
            "stopped.",
        ),
        integer_option(
            "--checkpoint-every", "Also save the checkpoint within epochs, after every N images."
        ),
        option(
            "--resume",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Resume the run in this folder, with its own options.",
        ),
        option(
            "--evaluate-train",
            is_flag=True,
            help="Measure the training errors again after each epoch. By default they are counted "
            "while the network learns.",
        ),
        option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs."),
    ),
)
"""Add all options."""
