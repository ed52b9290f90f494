"""Checkpoints: the whole state of a run comes back, and nothing else is taken for one."""

import dataclasses

import numpy as np
import pytest

from lenet_fast import files, losses, models
from lenet_fast.data import Distortion
from lenet_fast.errors import FileFormatError
from lenet_fast.training import SGD, AdamW, Row, StepDecay, checkpoints

PARTS = ("network", "loss", "optimiser", "schedule", "run")


def random_gradients(network, seed):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=network.parameters[name].shape).astype(np.float32)
        for name in network.trainable_names
    }


def new_checkpoint(optimiser):
    """Return a checkpoint after one step."""
    network = models.lenet5(seed=2)
    optimiser.step(network.parameters, random_gradients(network, 0), 1e-3)
    return checkpoints.Checkpoint(
        network=network,
        loss=losses.default_for(network),
        optimiser=optimiser,
        schedule=StepDecay(0.1, 2, 0.5),
        batch_size=32,
        seed=2**63 - 1,
        distortion=Distortion(shift=1.5, elastic=20),
        evaluate_train=True,
        epochs=9,
        code={"backend": "numpy", "engine": "layers"},
        train=checkpoints.Fingerprint("mnist-train", 60_000, "ab" * 32),
        test=checkpoints.Fingerprint("mnist-test", 10_000, "cd" * 32),
        options={"rate": 0.1, "nothing": None, "list": [1, 2]},
        position=checkpoints.Position(epoch=1, batch=17, loss_sum=1 / 3, seconds=0.1),
        rows=[Row(1, 1.5, 40_000.1, 0.1 + 0.2, 7, 2 / 3, 8, 0.1)],
    )


@pytest.fixture
def checkpoint():
    return new_checkpoint(SGD(momentum=0.9, weight_decay=1e-4))


def factors():
    rng = np.random.default_rng(1)
    return {"C3.w": rng.uniform(0, 2, (16, 6, 5, 5)).astype("f4"), "F6.b": np.zeros(84, "f4")}


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
    state = checkpoint.optimiser.state()
    velocities = {f"velocities/{name}" for name in checkpoint.network.trainable_names}
    assert loaded.optimiser.state().keys() == state.keys() == {"steps", *velocities}
    for name, array in state.items():
        assert array.any()
        np.testing.assert_array_equal(loaded.optimiser.state()[name], array)


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda: SGD(),
        lambda: SGD(0.9, 1e-4, nesterov=True),
        lambda: AdamW(),
        lambda: SGD(0.9, factors=factors()),
        lambda: AdamW(0.8, 0.99, 1e-6, 0.1, factors=factors()),
    ],
    ids=["sgd", "nesterov", "adamw", "sgd with factors", "adamw with factors"],
)
def test_a_run_goes_on_with_the_same_bits(tmp_path, optimiser):
    one = new_checkpoint(optimiser())
    one.save(tmp_path / "file")
    other = checkpoints.load(tmp_path / "file")
    fresh = new_checkpoint(optimiser())
    fresh.optimiser = optimiser()
    for seed in range(1, 4):
        for run in (one, other, fresh):
            run.optimiser.step(
                run.network.parameters, random_gradients(run.network, seed), 1e-3 / seed
            )
    assert other.optimiser.steps == 4
    assert other.optimiser.rule == one.optimiser.rule
    for name, array in one.optimiser.state().items():
        np.testing.assert_array_equal(other.optimiser.state()[name], array)
    for name, w in one.network.parameters.items():
        np.testing.assert_array_equal(other.network.parameters[name], w)
    if one.optimiser.rule != SGD().rule:  # what was kept does matter
        assert (one.network.parameters["C5.w"] != fresh.network.parameters["C5.w"]).any()


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
        ("optimiser", {"type": "sgd", "momentum": 2}),
        ("optimiser", {"type": "sgd", "nesterov": "yes"}),
        ("optimiser", {"type": "adamw", "factors": {"C1.w": [1.0]}}),
        ("optimiser", None),
        ("schedule", {"type": "constant", "rate": -1.0}),
        ("loss", None),
        ("distortion", {"shift": 1}),
        ("distortion", Distortion().config() | {"shift": -1}),
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


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("velocities/C1.w", np.zeros(3, np.float32), r"velocities\['C1\.w'\]: expected shape"),
        ("velocities/C1.w", None, r"expected velocities of all parameters, got none of .*C1\.w"),
        ("velocities/C1.b", np.full(6, np.inf, np.float32), r"C1\.b'\]: expected finite numbers"),
        ("velocities/RBF.w", np.zeros((10, 84), np.float32), r"expected .* got velocities/RBF\.w"),
        (
            "factors/C1.b",
            np.full(6, -1, np.float32),
            r"C1\.b'\]: expected finite numbers not below 0",
        ),
        ("first_moments/C1.b", np.zeros(6, np.float32), r"expected .* got first_moments/C1\.b"),
        ("steps", np.array([-1]), r"expected steps, one int64 not below 0, got .*-1"),
        ("steps", None, "expected steps, one int64 not below 0, got none"),
    ],
)
def test_a_state_of_the_optimiser_that_does_not_fit(tmp_path, checkpoint, name, array, message):
    path = tmp_path / "file"
    checkpoint.save(path)
    tensors, metadata = files.read_tensors(path, "checkpoint")
    metadata = {name: metadata[name] for name in PARTS}
    tensors.pop(f"optimiser/{name}", None)
    if array is not None:
        tensors[f"optimiser/{name}"] = array
    files.write_tensors(path, "checkpoint", tensors, metadata)
    with pytest.raises(FileFormatError, match=f"file: state: .*{message}"):
        checkpoints.load(path)
