"""Seconds of training to a test accuracy on MNIST: our recipes, and PyTorch with the same.

python -m benchmarks.time_to_accuracy [--seeds N] [--pytorch-seeds N] [--threads N] ...

The recipe for each accuracy was chosen on the last 5,000 images of the training set. It is trained
in full on all 60,000, once per seed, and the network is tested after the last epoch. The
table shows the mean over the seeds, and the median and the least of the seconds: training with
shuffling, distortions and the conversion of bytes, without evaluation, loading and start of the
program.

PyTorch trains the same network from the same initial weights, with the same images in the same
order, distorted by our code, the same optimiser and rates, and as many threads. It flushes numbers
too small for a full mantissa, as our engines do. The two take turns, seed by seed. The paper's
network has layers that PyTorch lacks, and is ours only.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from benchmarks.contenders import installed
from lenet_fast import data
from lenet_fast.threads import Pool, resolve
from lenet_fast.training import recipes, schedules
from lenet_fast.training.batches import shuffled
from lenet_fast.training.recipes import Recipe


@dataclass(frozen=True)
class Goal:
    """What a recipe reaches, in percent of the test images, after some epochs."""

    accuracy: float
    recipe: Recipe
    epochs: int


GOALS = (
    Goal(98.0, recipes.FAST, 1),
    Goal(99.0, recipes.FAST, recipes.FAST.epochs),
    Goal(99.4, recipes.ACCURATE, 7),
    Goal(99.5, recipes.ACCURATE, recipes.ACCURATE.epochs),
    Goal(98.9, recipes.PAPER, recipes.PAPER.epochs),
)


@dataclass(frozen=True)
class Result:
    """One run."""

    accuracy: float  # in percent
    seconds: float


def ours(goal: Goal, splits: data.Splits, seed: int, threads: int) -> Result:
    """Train by our trainer."""
    trainer = goal.recipe.trainer(seed=seed, threads=threads)
    rows = trainer.fit(splits.train, splits.test, goal.epochs, verbose=False).rows
    right = len(splits.test) - rows[-1].test_errors
    return Result(100 * right / len(splits.test), sum(row.train_seconds for row in rows))


def pytorch(goal: Goal, splits: data.Splits, seed: int, threads: int) -> Result:
    """Train by PyTorch, in the usual loop."""
    import torch

    from lenet_fast.torch import to_torch

    torch.set_num_threads(threads)
    trainer = goal.recipe.trainer(seed=seed)
    module, size = to_torch(trainer.network), trainer.batch_size
    rule = trainer.optimiser.rule
    optimiser = torch.optim.SGD(
        module.parameters(),
        lr=1.0,
        momentum=rule.momentum,
        weight_decay=rule.weight_decay,
        nesterov=rule.nesterov,
    )
    criterion = torch.nn.CrossEntropyLoss()
    train = splits.train
    labels = torch.from_numpy(train.labels.astype(np.int64))
    batches = math.ceil(len(train) / size)
    started = time.perf_counter()
    with contextlib.closing(Pool(threads)) as pool, contextlib.ExitStack() as after:
        after.callback(torch.set_flush_denormal, False)  # it holds for whatever else runs here
        torch.set_flush_denormal(True)
        for epoch in range(1, goal.epochs + 1):
            order = shuffled(len(train), seed, epoch)
            rates = schedules.rates(
                trainer.schedule, epoch, 0, batches, batches=batches, epochs=goal.epochs
            )
            for k, rate in enumerate(rates.tolist()):
                chosen = order[k * size : (k + 1) * size]
                images = train.images[chosen]
                if trainer.distortion is not None:
                    images = trainer.distortion(images, chosen, epoch, seed, size=32, pool=pool)
                optimiser.param_groups[0]["lr"] = rate
                optimiser.zero_grad()
                outputs = module(torch.from_numpy(data.prepare(images)))
                criterion(outputs, labels[chosen]).backward()
                optimiser.step()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        winners = module(torch.from_numpy(data.prepare(splits.test.images))).argmax(1).numpy()
    return Result(100 * float(np.mean(winners == splits.test.labels)), seconds)


Results = dict[str, list[Result]]
Run = Callable[[Goal, data.Splits, int, int], Result]


def measure(goal: Goal, splits: data.Splits, runs: dict[str, tuple[Run, int]], threads: int) -> Any:
    """Return the results of each contender, given with its number of seeds; they take turns."""
    found: Results = {name: [] for name in runs}
    for seed in range(max(seeds for _, seeds in runs.values())):
        for name, (run, seeds) in runs.items():
            if seed < seeds:
                found[name].append(run(goal, splits, seed, threads))
    return found


def row(goal: Goal, found: Results) -> str:
    """Return a line of the table."""
    cells = [f"{goal.accuracy:g} %", f"`{goal.recipe.name}`", str(goal.epochs)]
    for name in ("ours", "PyTorch"):
        results = found.get(name)
        if not results:
            cells += ["", ""]
            continue
        accuracies = [result.accuracy for result in results]
        mean, least = statistics.mean(accuracies), min(accuracies)
        cells.append(f"{mean:.2f} % ({least:.2f}, {len(results)} seeds)")
        seconds = [result.seconds for result in results]
        cells.append(f"{statistics.median(seconds):.1f} ({min(seconds):.1f})")
    return "| " + " | ".join(cells) + " |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="folder of MNIST's files")
    parser.add_argument("--dataset", default="mnist", help="as for lenet-fast train (mnist)")
    parser.add_argument("--seeds", type=positive, default=10, help="runs of each recipe (10)")
    parser.add_argument("--pytorch-seeds", type=int, default=1, help="likewise by PyTorch (1)")
    parser.add_argument("--threads", type=positive, help="threads (default: one per physical core)")
    parser.add_argument(
        "--goals",
        nargs="+",
        type=float,
        choices=[goal.accuracy for goal in GOALS],
        default=[goal.accuracy for goal in GOALS],
        help="only these accuracies",
    )
    options = parser.parse_args(arguments)
    if options.pytorch_seeds < 0:
        parser.error("--pytorch-seeds: expected at least 0")
    threads = resolve(options.threads)
    splits = data.load(options.dataset, options.data)
    print(f"{splits.train.name}, {threads} threads\n")
    seconds = "seconds, median (least)"
    print(f"| to | recipe | epochs | accuracy, mean (least) | {seconds} | PyTorch | {seconds} |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for goal in GOALS:
        if goal.accuracy not in options.goals:
            continue
        runs: dict[str, tuple[Run, int]] = {"ours": (ours, options.seeds)}
        if installed("torch") and goal.recipe is not recipes.PAPER and options.pytorch_seeds:
            runs["PyTorch"] = pytorch, options.pytorch_seeds
        print(row(goal, measure(goal, splits, runs, threads)), flush=True)


if __name__ == "__main__":
    main()
