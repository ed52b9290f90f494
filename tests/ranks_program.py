"""Trainings of every kind, which test_ranks.py runs in one process and in several."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from typing import Any

import numpy as np

from lenet_fast import data, models
from lenet_fast.layers import Conv2D, Dense, Dropout, Dropout2D, MaxPool2D, ReLU
from lenet_fast.network import Network
from lenet_fast.training import SDLM, Adam, Ranks, RMSprop, Trainer

SAMPLE = data.load("sample")
TRAIN, TEST = SAMPLE.train.subset(330), SAMPLE.test.subset(170)  # the last batches are short


def dropping(dtype: str) -> Network:
    """Return a network that drops units and maps, and has a large dense layer."""
    layers = [
        *(Conv2D(1, 8, 5), ReLU(), Dropout2D(0.1), MaxPool2D(2), Dropout(0.25)),
        *(Dense(8 * 12 * 12, 120), ReLU(), Dropout(), Dense(120, 10)),
    ]
    return Network(layers, input_shape=(1, 28, 28), output="softmax", dtype=dtype)


def trainings() -> dict[str, tuple[Network, dict[str, Any]]]:
    """Return networks and what they are trained with, by name."""
    return {
        "nesterov": (models.lenet5(), {"batch_size": 128}),
        "dropout, float64": (
            dropping("float64"),
            {"batch_size": 100, "optimiser": Adam(), "distortion": "elastic", "schedule": 0.001},
        ),
        "curvature": (
            models.lenet5(output="softmax", dtype="float64"),
            {
                "batch_size": 40,
                "optimiser": SDLM(mu=1.0, patterns=100, momentum=0.5),
                "schedule": 0.001,
                "distortion": "paper",
            },
        ),
        "average": (
            dropping("float32"),
            {
                "batch_size": 20,
                "optimiser": RMSprop(momentum=0.5, centered=True),
                "schedule": 0.0003,
                "average_from": 1,
                "evaluate_train": True,
            },
        ),
    }


def digests(ranks: Ranks | None) -> list[str]:
    """Return what the trainings end with: weights, the optimisers' state, losses and errors."""
    found = []
    for name, (network, options) in trainings().items():
        trainer = Trainer(network, threads=2, ranks=ranks, **options)
        history = trainer.fit(TRAIN, TEST, epochs=2)
        digest = hashlib.sha256()
        for each in (network, trainer.result):
            for array in each.parameters.values():
                digest.update(np.ascontiguousarray(array).data)
        for array in trainer.optimiser.state().values():
            digest.update(np.ascontiguousarray(array).data)
        for row in history.rows:
            kept = dataclasses.replace(row, train_seconds=0, images_per_second=0)
            digest.update(repr(kept).encode())
        found.append(f"{name}: {digest.hexdigest()}")
    return found


if __name__ == "__main__":
    together = Ranks()
    lines = digests(together)
    if together.rank == together.size - 1:  # not that the first one does all
        sys.stdout.write("\n".join(lines))
