"""The cost of fresh distortions: seconds per image, and as a share of the training time.

python -m benchmarks.distortions [--network 1998|plain] [--threads N] [--batch-size N] ...

Every backend distorts the same images, and so does SciPy, one image at a time, without elastic
fields, on one thread. All must give the reference's bytes, SciPy within one grey level. Then the
engine for the batch size trains on undistorted images, and on images that are distorted first, as
the trainer does it. They take turns; the tables show medians over the rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.arguments import positive
from benchmarks.contenders import installed
from benchmarks.epochs import measure
from lenet_fast import backends, data
from lenet_fast.bench import workloads
from lenet_fast.data import Distortion
from lenet_fast.data.distort import PRESETS
from lenet_fast.threads import Pool, resolve

SIZE = 32
"""Input size of the network: digits may move out of an image's 28 pixels."""

Array = np.ndarray[Any, Any]


def scipys(images: Array, matrices: Array) -> Array:
    """Return images warped by SciPy; `matrices` map output positions to input positions."""
    from scipy.ndimage import affine_transform

    options: dict[str, Any] = {"output_shape": (SIZE, SIZE), "order": 1, "mode": "grid-constant"}
    made = [
        affine_transform(image.astype(np.float32), m[:, :2], m[:, 2], **options)
        for image, m in zip(images, matrices, strict=True)
    ]
    return np.rint(made).astype(np.uint8)


def contenders(images: Array, preset: str) -> dict[str, Callable[[], Array]]:
    """Return the functions that distort images by a preset; ours first."""
    samples, distortion = np.arange(len(images)), PRESETS[preset]
    found: dict[str, Callable[[], Array]] = {}
    for name, state in backends.available().items():
        if state.usable and name != "numpy":
            found[name] = partial(distortion, images, samples, 1, 0, size=SIZE, backend=name)
    found["numpy"] = partial(distortion, images, samples, 1, 0, size=SIZE, backend="numpy")
    if installed("scipy") and not distortion.elastic:
        found["SciPy"] = partial(scipys, images, matrices(distortion, samples))
    return found


def matrices(distortion: Distortion, samples: Array) -> Array:
    """Return the affine maps (n, 2, 3) of a distortion, from its random amounts."""
    drawn = distortion.draw(samples, 1, 0)
    made = np.empty((len(samples), 2, 3))
    for i in range(len(samples)):
        shift_down, shift_right, scale, squeeze, shear, degrees = (
            drawn[name][i] for name in Distortion.DRAWN
        )
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        size = np.diag([(1 + scale) * (1 + squeeze), (1 + scale) / (1 + squeeze)])
        back = np.linalg.inv(turn @ np.array([[1, 0], [-shear, 1]]) @ size)
        centre, middle = np.full(2, (data.images.SIZE - 1) / 2), np.full(2, (SIZE - 1) / 2)
        made[i, :, :2] = back
        made[i, :, 2] = centre - back @ (middle + np.array([shift_down, shift_right]))
    return made


def verify(runs: dict[str, Callable[[], Array]]) -> None:
    """Raise unless all give the reference's bytes, SciPy within one grey level."""
    expected = runs["numpy"]().astype(int)
    for name, run in runs.items():
        difference = np.abs(run() - expected).max()
        if difference > (name == "SciPy"):
            raise SystemExit(
                f"{name}: expected the bytes of numpy, got a difference of {difference}"
            )


def trainings(
    network: str, images: Array, labels: Array, batch: int, threads: int
) -> dict[str, Callable[[], object]]:
    """Return a share of an epoch with and without distortions, on identical networks."""
    pool, samples = Pool(threads), np.arange(len(images))

    def one(preset: str | None) -> Callable[[], object]:
        start = workloads.fresh(network, batch)
        engine = workloads.create(workloads.names(batch)[0], start, threads)
        train = workloads.trainer(engine, start.rate)

        def run() -> object:
            x = images
            if preset is not None:
                x = PRESETS[preset](images, samples, 1, 0, size=SIZE, pool=pool)
            return train(x, labels, batch)

        return run

    return {preset or "none": one(preset) for preset in (None, *PRESETS)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distortions", description=__doc__)
    parser.add_argument("--data", help="folder of MNIST's files")
    parser.add_argument("--dataset", default="auto", help="as for lenet-fast train (auto)")
    parser.add_argument("--network", choices=workloads.NETWORKS, default="plain", help="(plain)")
    parser.add_argument("--images", type=positive, default=4_096, help="images per round (4096)")
    parser.add_argument("--rounds", type=positive, default=9, help="rounds (9)")
    parser.add_argument("--batch-size", type=positive, default=256, help="images per step (256)")
    parser.add_argument("--threads", type=positive, default=1, help="threads (1)")
    options = parser.parse_args()
    threads = resolve(options.threads)
    train = data.load(options.dataset, options.data).train
    train = train.subset(min(options.images, len(train)))
    n = len(train)
    print(f"{n} images of {train.name}, {options.rounds} rounds\n")
    print("| | paper, us per image | elastic |\n|---|---:|---:|")
    seconds = {}
    for preset in PRESETS:
        runs = contenders(train.images, preset)
        verify(runs)
        seconds[preset] = measure(runs, options.rounds)
    for name in seconds["paper"]:
        cells = [f"{1e6 * took[name] / n:.1f}" if name in took else "" for took in seconds.values()]
        print(f"| {name} | {' | '.join(cells)} |")
    runs = trainings(
        options.network, train.images, train.labels.astype(np.int64), options.batch_size, threads
    )
    for run in runs.values():
        run()
    took = measure(runs, options.rounds)
    print(
        f"\nTraining LeNet-5, {options.network}, batch {options.batch_size}, {threads} threads:\n"
    )
    print("| distortions | images/s | time |\n|---|---:|---:|")
    for name, each in took.items():
        print(f"| {name} | {n / each:,.0f} | {each / took['none']:.2f} x |")


if __name__ == "__main__":
    main()
