"""Checkpoints: the whole state of a run comes back, and nothing else is taken for one."""

import dataclasses

import numpy as np
import pytest

from lenet_fast import files, losses, models
from lenet_fast.errors import FileFormatError
from lenet_fast.training import SGD, Row, StepDecay, checkpoints

PARTS = ("network", "loss", "optimiser", "schedule", "run")


@pytest.fixture
def checkpoint():
    network = models.lenet5(seed=2)
    optimiser = SGD(momentum=0.9, weight_decay=1e-4)
    rng = np.random.default_rng(0)
    gradients = {
        name: rng.normal(size=network.parameters[name].shape).astype(np.float32)
        for name in network.trainable_names
    }
    optimiser.step(network.parameters, gradients, 1e-3)
    return checkpoints.Checkpoint(
        network=network,
        loss=losses.default_for(network),
        optimiser=optimiser,
        schedule=StepDecay(0.1, 2, 0.5),
        batch_size=32,
        seed=2**63 - 1,
        epochs=9,
        code={"backend": "numpy", "engine": "layers"},
        train=checkpoints.Fingerprint("mnist-train", 60_000, "ab" * 32),
        test=checkpoints.Fingerprint("mnist-test", 10_000, "cd" * 32),
        options={"rate": 0.1, "nothing": None, "list": [1, 2]},
        position=checkpoints.Position(epoch=1, batch=17, loss_sum=1 / 3, seconds=0.1),
        rows=[Row(1, 1.5, 40_000.1, 0.1 + 0.2, 7, 2 / 3, 8, 0.1)],
    )


def test_everything_comes_back(tmp_path, checkpoint):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path)
    loaded = checkpoints.load(path)
    for part in ("network", "loss", "optimiser", "schedule"):
        assert getattr(loaded, part).config() == getattr(checkpoint, part).config()
    for field in dataclasses.fields(checkpoint):
        if field.name not in ("network", "loss", "optimiser", "schedule"):
            assert getattr(loaded, field.name) == getattr(checkpoint, field.name), field.name
    for name, w in checkpoint.network.parameters.items():
        np.testing.assert_array_equal(loaded.network.parameters[name], w)
    velocities = checkpoint.optimiser.state()
    assert (
        loaded.optimiser.state().keys()
        == velocities.keys()
        == set(checkpoint.network.trainable_names)
    )
    for name, velocity in velocities.items():
        assert velocity.any()
        np.testing.assert_array_equal(loaded.optimiser.state()[name], velocity)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        checkpoints.load(tmp_path / "absent")


def test_a_model_file_is_no_checkpoint(tmp_path):
    files.save_model(tmp_path / "model.safetensors", models.lenet5())
    with pytest.raises(FileFormatError, match="expected a lenet_fast checkpoint file, got a len"):
        checkpoints.load(tmp_path / "model.safetensors")


def test_a_checkpoint_is_no_model_file(tmp_path, checkpoint):
    checkpoint.save(tmp_path / "checkpoint.safetensors")
    with pytest.raises(FileFormatError, match="expected a lenet_fast model file, got a lenet_f"):
        files.load_model(tmp_path / "checkpoint.safetensors")


def test_damage_is_noticed(tmp_path, checkpoint):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path)
    content = path.read_bytes()
    for place in (20, 700, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:place])
        with pytest.raises(FileFormatError, match=r"checkpoint\.safetensors: expected"):
            checkpoints.load(path)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(FileFormatError, match=r"checkpoint\.safetensors: expected"):
            checkpoints.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", None),
        ("run", {}),
        ("run", {"position": 5}),
        ("optimiser", {"type": "adam"}),
        ("optimiser", None),
        ("schedule", {"type": "constant", "rate": -1.0}),
        ("loss", None),
        ("network", {"layers": []}),
    ],
)
def test_metadata_that_describe_no_run(tmp_path, checkpoint, key, value):
    path = tmp_path / "file"
    checkpoint.save(path)
    tensors, metadata = files.read_tensors(path, "checkpoint")
    metadata = {name: metadata[name] for name in PARTS}
    files.write_tensors(path, "checkpoint", tensors, metadata)
    checkpoints.load(path)
    files.write_tensors(path, "checkpoint", tensors, metadata | {key: value})
    with pytest.raises(FileFormatError, match=f"file: expected a .*{key}"):
        checkpoints.load(path)


def test_velocities_that_do_not_fit(tmp_path, checkpoint):
    path = tmp_path / "file"
    checkpoint.save(path)
    tensors, metadata = files.read_tensors(path, "checkpoint")
    metadata = {name: metadata[name] for name in PARTS}
    tensors["optimiser/C1.w"] = np.zeros(3, np.float32)
    files.write_tensors(path, "checkpoint", tensors, metadata)
    with pytest.raises(FileFormatError, match=r"file: state: expected .* for C1\.w"):
        checkpoints.load(path)
