"""The state of a run between two batches, whole enough to go on with the same bits.

A checkpoint holds the weights, the optimiser's arrays, where in which epoch the run stands, the
rows of its history, and everything that the next batch depends on. The order of the images and
their distortions are not in it: they follow from the seed and the epoch.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from lenet_fast import files, losses
from lenet_fast.checks import Array
from lenet_fast.data import distort
from lenet_fast.errors import FileFormatError
from lenet_fast.network import Network
from lenet_fast.training import optimisers, schedules
from lenet_fast.training.history import Row


@dataclasses.dataclass
class Position:
    """Where a run stands: `epoch` epochs are complete, and `batch` batches of the next one.

    ``loss_sum``, ``errors`` and ``seconds`` are those of that next epoch's batches so far.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    errors: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What tells a data set from another."""

    name: str
    images: int
    sha256: str


@dataclasses.dataclass
class Checkpoint:
    """All of a run's state; ``code`` says which engine, backend and versions computed it."""

    network: Network
    loss: losses.Loss
    optimiser: optimisers.Optimiser
    schedule: schedules.Schedule
    batch_size: int
    seed: int
    distortion: distort.Distortion | None
    evaluate_train: bool
    epochs: int
    code: dict[str, str]
    train: Fingerprint
    test: Fingerprint
    options: dict[str, Any]
    position: Position
    rows: list[Row]
    shuffle: bool = True
    average_from: int = 0  # 0: there is no mean of the weights
    averaged: int = 0  # epochs in it
    average: dict[str, Array] = dataclasses.field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the checkpoint, atomically."""
        tensors = {f"weights/{name}": w for name, w in self.network.parameters.items()}
        tensors |= {f"optimiser/{name}": array for name, array in self.optimiser.state().items()}
        tensors |= {f"average/{name}": array for name, array in self.average.items()}
        parts = {
            "network": self.network.config(),
            "loss": self.loss.config(),
            "optimiser": self.optimiser.config(),
            "schedule": self.schedule.config(),
            "distortion": None if self.distortion is None else self.distortion.config(),
        }
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in parts and field.name != "average"
        }
        plain |= {
            "train": dataclasses.asdict(self.train),
            "test": dataclasses.asdict(self.test),
            "position": dataclasses.asdict(self.position),
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }
        files.write_tensors(path, "checkpoint", tensors, parts | {"run": plain})


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is no checkpoint, or one that was cut or altered.
    """
    tensors, metadata = files.read_tensors(path, "checkpoint")
    weights, arrays = _below(tensors, "weights/"), _below(tensors, "optimiser/")
    network = files.build_network(path, metadata.get("network"), weights)
    optimiser: optimisers.Optimiser = files.build(
        path, "optimiser", optimisers.from_config, metadata.get("optimiser")
    )
    try:
        optimiser.load_state(arrays, {name: weights[name] for name in network.trainable_names})
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from None

    def assemble(run: dict[str, Any]) -> Checkpoint:
        return Checkpoint(
            network=network,
            loss=files.build(path, "loss", losses.from_config, metadata.get("loss")),
            optimiser=optimiser,
            schedule=files.build(path, "schedule", schedules.from_config, metadata.get("schedule")),
            average=_below(tensors, "average/"),
            distortion=files.build(
                path,
                "distortion",
                distort.from_config,
                metadata.get("distortion"),
                optional=True,
            ),
            **run
            | {
                "train": Fingerprint(**run["train"]),
                "test": Fingerprint(**run["test"]),
                "position": Position(**run["position"]),
                "rows": [Row(**row) for row in run["rows"]],
            },
        )

    checkpoint: Checkpoint = files.build(path, "run", assemble, metadata.get("run"))
    return checkpoint


def _below(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
