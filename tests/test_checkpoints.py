"""Checkpoints: the whole state of a run comes back, and nothing else is taken for one."""

import copy
import dataclasses

import numpy as np
import pytest

from lenet_fast import files, losses, models
from lenet_fast.data import Distortion
from lenet_fast.errors import FileFormatError
from lenet_fast.training import (
    SGD,
    Adadelta,
    Adam,
    AdamW,
    RMSprop,
    Row,
    StepDecay,
    Trainer,
    checkpoints,
    runs,
)

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
        lambda: Adam(weight_decay=0.1),
        lambda: RMSprop(),
        lambda: RMSprop(0.9, 0.1, 0.5, True, 0.1, factors=factors()),
        lambda: Adadelta(),
    ],
    ids=[
        *("sgd", "nesterov", "adamw", "sgd with factors", "adamw with factors", "adam"),
        *("rmsprop", "rmsprop with all", "adadelta"),
    ],
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
        ("optimiser", {"type": "lbfgs"}),
        ("optimiser", {"type": "rmsprop", "centered": 1}),
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
    with pytest.raises(FileFormatError, match=f"file: expected (an o|a [^o]).*{key[1:]}"):
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


# ------------------------------------------------------------------ altered, with a right seal


def resealed(path, change):
    """Write a checkpoint again with its description changed, and sealed anew."""
    tensors, metadata = files.read_tensors(path, "checkpoint")
    metadata = {key: metadata[key] for key in (*PARTS, "distortion")}
    change(metadata)
    files.write_tensors(path, "checkpoint", tensors, metadata)


def nested(levels):
    inner = []
    for _ in range(levels):
        inner = [inner]
    return inner


WRONG_RUNS = [
    ("batch_size", 0),
    ("batch_size", True),
    ("batch_size", 2**40),
    ("seed", -1),
    ("seed", 2**63),
    ("seed", "1"),
    ("evaluate_train", 1),
    ("shuffle", "yes"),
    ("shuffle", None),
    ("epochs", "x"),
    ("epochs", 0),
    ("epochs", 9.0),
    ("epochs", float("nan")),
    ("average_from", -1),
    ("average_from", 1),  # of which there is no mean
    ("averaged", 1),
    ("code", {}),
    ("code", {"backend": "numpy"}),
    ("code", {"backend": "numpy", "engine": "auto"}),
    ("code", {"backend": "none", "engine": "layers"}),
    ("code", {"backend": "numpy", "engine": "online"}),
    ("code", {"backend": "numpy", "engine": "layers", "numpy": 2}),
    ("code", ["backend"]),
    ("options", ["..."]),
    ("options", None),
    ("options", {"deep": nested(25)}),
    ("options", {"list": [None]}),
    ("position", None),
    ("position", {}),
    ("position.batch", -(10**12)),
    ("position.batch", -5),
    ("position.batch", 10**9),
    ("position.batch", 1876),  # of 1875
    ("position.batch", 0),  # with a loss
    ("position.batch", False),
    ("position.epoch", 0),
    ("position.epoch", 2),
    ("position.epoch", 1.0),
    ("position.loss_sum", "1"),
    ("position.loss_sum", float("nan")),
    ("position.loss_sum", 10**400),
    ("position.errors", -1),
    ("position.errors", 17 * 32 + 1),
    ("position.seconds", -1.0),
    ("position.seconds", float("inf")),
    ("position.more", 1),
    ("train", None),
    ("train.images", 0),
    ("train.images", "60000"),
    ("train.name", 5),
    ("train.name", "x" * 1001),
    ("code.built", "x" * 200_000),
    ("test.sha256", "x" * 64),
    ("test.sha256", "ab"),
    ("rows", {}),
    ("rows", ["text"]),
    ("rows", []),
    ("rows.0.epoch", 2),
    ("rows.0.train_errors", 60_001),
    ("rows.0.test_errors", -1),
    ("rows.0.test_errors", 1.5),
    ("rows.0.train_loss", float("nan")),
    ("rows.0.test_loss", float("inf")),
    ("rows.0.test_loss", "low"),
    ("rows.0.rate", -0.1),
    ("rows.0.train_seconds", -1),
    ("rows.0.images_per_second", True),
    ("more", 1),
]


@pytest.mark.parametrize(("place", "value"), WRONG_RUNS)
def test_runs_that_cannot_be(tmp_path, checkpoint, place, value):
    """None of them may be gone on with: one trained for ever, another counted 408 errors of 300."""
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path)

    def change(metadata):
        inner, keys = metadata["run"], place.split(".")
        for key in keys[:-1]:
            inner = inner[int(key) if key.isdigit() else key]
        inner[keys[-1]] = value

    resealed(path, change)
    with pytest.raises(FileFormatError, match=r"checkpoint\.safetensors: expected a run") as caught:
        checkpoints.load(path)
    assert len(str(caught.value)) < len(str(path)) + 1000


def test_keys_that_older_files_lack_may_be_absent(tmp_path, checkpoint):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path)
    resealed(path, lambda metadata: [metadata["run"].pop(key) for key in ("shuffle", "averaged")])
    assert checkpoints.load(path).shuffle is True
    for key in ("rows", "seed", "position", "code"):
        resealed(path, lambda metadata, key=key: metadata["run"].pop(key))
        with pytest.raises(FileFormatError, match="expected the keys"):
            checkpoints.load(path)
        checkpoint.save(path)


def test_a_loss_that_does_not_go_with_the_network(tmp_path, checkpoint):
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path)
    resealed(path, lambda metadata: metadata.update(loss=losses.CrossEntropy().config()))
    with pytest.raises(FileFormatError, match=r"checkpoint\.safetensors: .*loss: expected"):
        checkpoints.load(path)


def test_an_engine_that_cannot_run_the_network(tmp_path, checkpoint):
    """The engine is the file's; one that the user names is refused in words of its own."""
    checkpoint.save(tmp_path / "checkpoint.safetensors")
    resealed(
        tmp_path / "checkpoint.safetensors",
        lambda metadata: metadata["run"]["code"].update(engine="lanes"),
    )
    with pytest.raises(FileFormatError, match=r"checkpoint\.safetensors: "):
        Trainer.resume(tmp_path)


JUNK = (
    *(None, True, False, 0, 1, -1, -5, 17, 2**31, 2**63, -(10**12), 10**400, 1.5, -0.5, 1e308),
    *(float("nan"), float("inf"), "", "x", "sgd", "\0", "\ud800", "9" * 200_000, [], {}, [None]),
    *([1, 2], ["..."], [[]], {"a": 1}, {"type": "sgd"}, nested(200)),
)


def places(value, place=()):
    yield place
    inner = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = enumerate(value)
    for key, each in inner:
        yield from places(each, (*place, key))


def test_whatever_is_altered_is_refused_or_makes_sense(tmp_path, checkpoint):
    """A checkpoint that loads can be saved and described; else there is a FileFormatError."""
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path)
    tensors, metadata = files.read_tensors(path, "checkpoint")
    metadata = {key: metadata[key] for key in (*PARTS, "distortion")}
    found = [place for place in places(metadata) if place]
    rng = np.random.default_rng(14)
    refused = []
    for _ in range(400):
        altered = copy.deepcopy(metadata)
        place = found[rng.integers(len(found))]
        inner = altered
        for key in place[:-1]:
            inner = inner[key]
        action = rng.integers(4)
        if action == 0:
            del inner[place[-1]]
        elif action == 1 and isinstance(inner, dict):
            inner[str(place[-1]) + "2"] = JUNK[rng.integers(len(JUNK))]
        else:
            inner[place[-1]] = JUNK[rng.integers(len(JUNK))]
        files.write_tensors(path, "checkpoint", tensors, altered)
        try:
            loaded = checkpoints.load(path)
        except FileFormatError as error:  # and nothing else
            refused.append(str(error))
            continue
        loaded.save(path)
        runs.config(loaded, 1)
        assert 0 <= loaded.position.errors <= loaded.train.images
        assert len(loaded.rows) == loaded.position.epoch <= loaded.epochs
    assert 200 < len(refused) < 400
    assert max(map(len, refused)) < len(str(path)) + 1000
