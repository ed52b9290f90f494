"""PyTorch's front end, judged by PyTorch: its gradcheck, its operations, its modules, its loops."""

from __future__ import annotations

import copy
import inspect
import io
import math
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import assert_within, complains, new_rng, normal, printed_by, require
from network_cases import NETWORKS, distance, filled, images
from op_cases import ALL, Case

from lenet_fast import backends, bitmaps, layers, models, ops
from lenet_fast.connections import LENET5_C3
from lenet_fast.engines import LanesEngine
from lenet_fast.initialisers import INITIALISERS
from lenet_fast.layers import ELU, GELU, Dense, LeakyReLU
from lenet_fast.network import Network
from lenet_fast.training import TrainingDiverged

torch = require("torch")
from torch import nn  # noqa: E402
from torch.utils.data import BatchSampler, DataLoader, TensorDataset  # noqa: E402

from lenet_fast import torch as front  # noqa: E402
from lenet_fast.torch import functional  # noqa: E402

ROUNDING = {"float32": 1e-5, "float64": 1e-13}  # of the largest number

FORWARD = [case for case in ALL if hasattr(functional, case.name)]


pytestmark = pytest.mark.usefixtures("calm_torch")


def tensors_of(case: Case, dtype: object = np.float64, n: int = 2) -> dict[str, Any]:
    """Return tensors for an operation; those that can have a gradient ask for it."""
    made = {}
    for name, array in case.arrays(new_rng(), n, dtype).items():
        made[name] = torch.from_numpy(array)
        made[name].requires_grad_(name not in ("labels", "targets"))
    return made


def close(found: Any, expected: Any, dtype: object) -> None:
    expected = expected.detach().numpy()
    bound = ROUNDING[np.dtype(dtype).name] * max(np.abs(expected).max(initial=0), 1)
    assert_within(found.detach().numpy(), expected, bound, dtype)


def test_without_pytorch_the_cure_is_told() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n    import lenet_fast.torch\n"
        "except ImportError as error:\n    print(error)"
    )
    assert printed_by(code).endswith("-m pip install 'lenet_fast[torch]'")


# --- functions: gradients ---


def test_every_operation_has_its_function() -> None:
    assert {case.name for case in FORWARD} == set(functional.__all__)
    assert set(functional.__all__) == {
        name for name in ops.__all__ if not name.endswith(("_backward", "_hessian"))
    }


@pytest.mark.parametrize("case", FORWARD, ids=lambda case: case.id)
def test_gradients_are_those_of_central_differences(case: Case, backend: str) -> None:
    given = tensors_of(case)

    def run(*tensors: Any) -> Any:
        return getattr(functional, case.name)(*tensors, backend=backend, **case.options)

    assert torch.autograd.gradcheck(run, tuple(given.values()))


def test_a_bias_a_unit_and_means_have_right_gradients() -> None:
    rng = new_rng()
    x, w, b = (
        torch.from_numpy(normal(rng, *shape)).requires_grad_()
        for shape in ((2, 1, 4, 4), (2, 1, 2, 2), (2, 3, 3))
    )
    assert torch.autograd.gradcheck(functional.conv2d, (x, w, b))
    for name in ("softmax_cross_entropy", "mean_squared_error"):
        case = next(case for case in FORWARD if case.name == name)
        for reduction in ("mean", "sum"):
            run = getattr(functional, name)
            outputs, answers = tensors_of(case, n=3).values()
            assert torch.autograd.gradcheck(
                lambda x, run=run, answers=answers, reduction=reduction: run(
                    x, answers, reduction=reduction
                ),
                (outputs,),
            )


def test_gradcheck_sees_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ops.tanh_backward
    monkeypatch.setattr(ops, "tanh_backward", lambda *given, **options: 1.01 * right(*given))
    x = torch.from_numpy(normal(new_rng(), 3)).requires_grad_()
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(functional.tanh, (x,))


def theirs(case: Case, x: Any, w: Any = None, b: Any = None) -> Any:
    """Return what PyTorch's own operations make of the same arguments."""
    f, options = nn.functional, dict(case.options)
    if case.name == "conv2d":
        top, bottom, left, right = options["padding"]
        table = torch.from_numpy(options["connections"])[:, :, None, None]
        x = f.pad(x, (left, right, top, bottom), value=options["pad_value"])
        names = ("stride", "dilation", "groups")
        return f.conv2d(x, w * table, b, **{name: options[name] for name in names})
    if case.name in ("max_pool2d", "avg_pool2d"):
        return getattr(f, case.name)(x, options["kernel"], options["stride"])
    if case.name == "subsample2d":
        sums = f.avg_pool2d(x, options["kernel"], options["stride"], divisor_override=1)
        return sums * w[:, None, None] + b[:, None, None]
    return {
        "dense": lambda: f.linear(x, w, b),
        "dropout": lambda: (
            x * torch.from_numpy(ops.dropout(np.ones(tuple(x.shape)), **options)).to(x.dtype)
        ),
        "rbf": lambda: (x[:, None] - w).square().sum(2),
        "scaled_tanh": lambda: 1.7159 * torch.tanh(2 / 3 * x),
        "tanh": lambda: torch.tanh(x),
        "sigmoid": lambda: torch.sigmoid(x),
        "relu": lambda: torch.relu(x),
        "leaky_relu": lambda: f.leaky_relu(x, options["slope"]),
        "elu": lambda: f.elu(x, options["alpha"]),
        "gelu": lambda: f.gelu(x, **options),
        "softmax_cross_entropy": lambda: f.cross_entropy(
            x, w, label_smoothing=0.2, reduction="none"
        ),
        "mean_squared_error": lambda: 0.75 * (x - w).square().sum(1),
        "map_loss": lambda: (
            x.gather(1, w[:, None])[:, 0] + f.pad(-x, (0, 1), value=-1.5).logsumexp(1)
        ),
        "penalty_loss": lambda: x.gather(1, w[:, None])[:, 0],
    }[case.name]()


@pytest.mark.parametrize("case", FORWARD, ids=lambda case: case.id)
def test_values_and_gradients_are_those_of_pytorch(case: Case, dtype: np.dtype) -> None:
    given = tensors_of(case, dtype, 3)
    learned = [tensor for tensor in given.values() if tensor.requires_grad]
    y = getattr(functional, case.name)(*given.values(), **case.options)
    expected = theirs(case, *given.values())
    close(y, expected, dtype)
    dy = torch.from_numpy(normal(new_rng(), *y.shape, dtype=dtype))
    found = torch.autograd.grad(y, learned, dy)
    for ours, right in zip(found, torch.autograd.grad(expected, learned, dy), strict=True):
        close(ours, right, dtype)


@pytest.mark.parametrize("case", FORWARD, ids=lambda case: case.id)
def test_a_second_derivative_is_refused(case: Case) -> None:
    given = tensors_of(case)
    y = getattr(functional, case.name)(*given.values(), **case.options)
    weights = torch.ones_like(y, requires_grad=True)
    (dx,) = torch.autograd.grad(y, given["x"], weights, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


def test_only_the_gradients_that_are_needed_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("conv2d_backward", "dense_backward"):
        run = getattr(ops, name)

        def recording(*given: Any, run: Any = run, **options: Any) -> Any:
            asked.append(options["input_gradient"])
            return run(*given, **options)

        monkeypatch.setattr(ops, name, recording)
    for name in ("conv2d, direct", "dense"):
        case = next(case for case in FORWARD if case.id == name)
        run = getattr(functional, case.name)
        whole = tensors_of(case)
        run(*whole.values(), **case.options).sum().backward()
        for wanted in ("x", "w", "b"):
            given = {key: tensor.detach() for key, tensor in tensors_of(case).items()}
            given[wanted].requires_grad_()
            run(*given.values(), **case.options).sum().backward()
            assert torch.equal(given[wanted].grad, whole[wanted].grad)
            assert all(given[key].grad is None for key in given if key != wanted)
    assert asked == [True, True, False, False] * 2


def test_a_backward_pass_runs_where_its_forward_pass_did(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ops, "relu_backward", lambda dy, y, *, backend: asked.append(backend) or dy)
    x = torch.ones(2, requires_grad=True)
    with backends.use_backend("numpy"):
        y = functional.relu(x)
    y.sum().backward()
    assert asked == ["numpy"]


# --- functions: tensors ---


def test_memory_is_shared_and_other_layouts_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    run = ops.dense
    monkeypatch.setattr(ops, "dense", lambda x, *rest, **options: seen.append(x) or run(x, *rest))
    x, w = torch.rand(6, 4), nn.Parameter(torch.rand(3, 4))
    expected = functional.dense(x, w)
    assert seen[0].ctypes.data == x.data_ptr()
    wide = torch.rand(4, 12)
    wide[:, ::2] = x.T
    for same in (x.T.contiguous().T, wide[:, ::2].T, torch._neg_view(-x)):
        assert torch.equal(functional.dense(same, w), expected)
    maps = torch.rand(2, 3, 4, 4)
    pooled = functional.max_pool2d(maps.contiguous(memory_format=torch.channels_last))
    assert torch.equal(pooled, nn.functional.max_pool2d(maps, 2))


def test_no_gradients_no_images_and_changed_tensors() -> None:
    w = nn.Parameter(torch.rand(3, 4))
    with torch.no_grad():
        assert not functional.dense(torch.rand(2, 4), w).requires_grad
    with torch.inference_mode():
        assert functional.relu(functional.dense(torch.rand(2, 4), w)).is_inference()
    empty = functional.softmax_cross_entropy(
        functional.dense(torch.rand(0, 4), w), torch.zeros(0, dtype=torch.long)
    )
    empty.backward()
    assert empty == 0
    assert not w.grad.any()
    x, labels, targets = torch.rand(2, 4), torch.tensor([0, 1]), torch.zeros(2, 3)
    y = functional.dense(x, w)
    by_labels = functional.softmax_cross_entropy(y, labels)
    by_targets = functional.mean_squared_error(y, targets)
    for changed, result in ((labels, by_labels), (targets, by_targets), (x, y.sum())):
        changed += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            result.backward()


def test_autocast_casts_nothing_and_half_precision_is_refused() -> None:
    x, w = torch.rand(2, 4), torch.rand(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert nn.functional.linear(x, w).dtype == torch.bfloat16
        assert functional.dense(x, w).dtype == torch.float32
        with complains("x", TypeError, about="float32 or float64", got="torch.bfloat16"):
            functional.relu(nn.functional.linear(x, w))


WRONG = {
    "list": [1.0],
    "array": np.ones((2, 4)),
    "meta": torch.empty(2, 4, device="meta"),
    "sparse": torch.ones(2, 4).to_sparse(),
    "nested": torch.nested.nested_tensor([torch.ones(4)], layout=torch.jagged),
    **{
        str(dtype): torch.ones(2, 4, dtype=dtype)
        for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.complex64, torch.bool)
    },
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_other_tensors_are_refused(wrong: Any) -> None:
    right = torch.ones(2, 4)
    for name, run in (
        ("x", lambda: functional.dense(wrong, right)),
        ("w", lambda: functional.dense(right, wrong)),
        ("b", lambda: functional.dense(right, right, wrong)),
        ("x", lambda: functional.scaled_tanh(wrong)),
        ("x", lambda: functional.conv2d(wrong, right)),
        ("x", lambda: functional.rbf(wrong, right)),
        ("w", lambda: functional.subsample2d(right, wrong, right)),
        ("x", lambda: functional.max_pool2d(wrong)),
        ("x", lambda: functional.map_loss(wrong, torch.tensor([0, 1]), j=1.0)),
        ("targets", lambda: functional.mean_squared_error(right, wrong)),
    ):
        with complains(name, TypeError):
            run()


def test_other_shapes_dtypes_and_labels_are_refused() -> None:
    x, labels = torch.ones(2, 4), torch.tensor([0, 1])
    for name, error, run in (
        ("w", TypeError, lambda: functional.dense(x, x.double())),
        ("w", ValueError, lambda: functional.dense(x, torch.ones(2, 3))),
        ("x", ValueError, lambda: functional.conv2d(x, torch.ones(1, 1, 2, 2))),
        ("labels", TypeError, lambda: functional.softmax_cross_entropy(x, x)),
        ("labels", TypeError, lambda: functional.softmax_cross_entropy(x, [0, 1])),
        ("labels", ValueError, lambda: functional.softmax_cross_entropy(x, labels + 3)),
        ("labels", ValueError, lambda: functional.softmax_cross_entropy(x, labels[:1])),
        ("targets", ValueError, lambda: functional.mean_squared_error(x, nn.Parameter(x))),
        ("reduction", ValueError, lambda: functional.map_loss(x, labels, j=1.0, reduction="max")),
        ("backend", ValueError, lambda: functional.relu(x, backend="fortran")),
        (
            "connections",
            TypeError,
            lambda: functional.conv2d(
                torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1), connections=torch.ones(1, 1)
            ),
        ),
    ):
        with complains(name, error):
            run()


# --- modules ---

TABLE = np.array([[1, 0], [1, 1], [0, 1]], bool)
MODULES: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "conv2d": (
        lambda: front.Conv2d(2, 3, (3, 2), stride=2, connections=TABLE, padding=(0, 1, 2, 0)),
        (2, 6, 5),
    ),
    "unit": (
        lambda: front.Conv2d(1, 2, 3, bias="unit", pad_value=-1, padding=1, input_size=(4, 5)),
        (1, 4, 5),
    ),
    "no bias": (lambda: front.Conv2d(1, 2, 3, bias=None), (1, 4, 5)),
    "subsample2d": (lambda: front.SubSampling2d(2, 2, reduction="mean", multiplier=2), (2, 4, 6)),
    "rbf": (lambda: front.RBF(4, 3, centres=torch.rand(3, 4)), (4,)),
    "digits": (front.RBF, (84,)),
    "scaled_tanh": (front.ScaledTanh, (3,)),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_a_layer_and_its_state_comes_back(name: str) -> None:
    make, shape = MODULES[name]
    module, other = make(), make()
    x = torch.rand(2, *shape)
    y = module(x)
    if name not in ("digits", "scaled_tanh"):
        assert not torch.equal(other(x), y)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for twin in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(x), y)
        assert repr(twin) == repr(module)
    assert module.double()(x.double()).dtype == torch.float64


def test_modules_begin_as_layers_do_and_as_the_seed_says() -> None:
    module = front.Conv2d(6, 16, 5, connections=LENET5_C3)
    assert not module.weight[torch.tensor(~LENET5_C3)].any()
    bounds = 2.4 / (25 * LENET5_C3.sum(axis=1))
    largest = module.weight.abs().amax((1, 2, 3)).detach().numpy()
    assert (largest <= bounds).all()
    assert (largest > 0.8 * bounds).all()
    before = module.weight.detach().clone()
    for seed, same in ((1, False), (1998, True)):
        torch.manual_seed(seed)
        module.reset_parameters()
        assert torch.equal(module.weight, before) == same
    torch.manual_seed(1)
    ones = front.SubSampling2d(3, initialiser="glorot_uniform")
    assert torch.equal(ones.weight, torch.full((3,), 0.25))
    assert not ones.bias.any()
    assert "connections=60 of 96" in repr(module)
    assert np.array_equal(front.RBF().weight.numpy(), bitmaps.centres())
    assert list(front.RBF().parameters()) == []


def test_modules_refuse_what_layers_refuse() -> None:
    for name, error, make in (
        ("groups", ValueError, lambda: front.Conv2d(3, 4, groups=2)),
        ("connections", ValueError, lambda: front.Conv2d(2, 2, connections=TABLE)),
        ("input_size", ValueError, lambda: front.Conv2d(1, 1, bias="unit")),
        ("input_size", ValueError, lambda: front.Conv2d(1, 1, input_size=(4, 4))),
        ("initialiser", ValueError, lambda: front.SubSampling2d(1, initialiser="zeros")),
        ("reduction", ValueError, lambda: front.SubSampling2d(1, reduction="max")),
        ("centres", TypeError, lambda: front.RBF(2, 1, centres=torch.ones(1, 2).half())),
        ("j", ValueError, lambda: front.MAPLoss(-1.0)),
    ):
        with complains(name, error):
            make()
    with torch.device("meta"), complains("weight", TypeError, got="meta"):
        front.Conv2d(1, 1)
    assert "lecun1998" in INITIALISERS


# --- networks ---


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_go_there_and_back(name: str, dtype: np.dtype) -> None:
    network = filled(NETWORKS[name](dtype.name), 1 if name == "everything" else 3)
    x = images(network)
    ours = network.predict(x)
    assert distance(ours[:1], ours[1:2]) > 1e-2
    state = torch.random.get_rng_state()
    module = front.to_torch(network)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert isinstance(module, nn.Sequential)
    with torch.inference_mode():
        found = module(torch.from_numpy(x)).numpy()
    assert distance(found, ours) < ROUNDING[dtype.name]
    again = front.from_torch(
        module, network.input_shape, output=network.output, pixel_range=network.pixel_range
    )
    assert distance(again.predict(x), ours) < ROUNDING[dtype.name]
    for (key, before), after in zip(
        network.parameters.items(), again.parameters.values(), strict=True
    ):
        assert np.array_equal(before, after), key
        assert not np.shares_memory(before, after)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.zero_()
    assert distance(again.predict(x), ours) < ROUNDING[dtype.name]
    assert np.array_equal(network.predict(x), ours)


def test_plain_networks_become_plain_modules() -> None:
    network = models.lenet5(pooling="max", connections="full", activation="relu", output="softmax")
    module = front.to_torch(network)
    kinds = {type(child) for child in module}
    assert kinds == {nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear}
    assert list(module._modules)[:3] == ["C1", "C1_activation", "S2"]
    assert front.from_torch(module).output == "linear"
    module.append(nn.LogSoftmax(1))
    again = front.from_torch(module)
    assert again.output == "softmax"
    assert [layer.name for layer in again.layers][:3] == ["C1", "C1_activation", "S2"]


def test_activations_become_pytorchs_own_with_their_options() -> None:
    for ours, theirs in (
        (LeakyReLU(0.2), nn.LeakyReLU(0.2)),
        (ELU(0.7), nn.ELU(0.7)),
        (GELU(), nn.GELU()),
        (GELU("tanh"), nn.GELU(approximate="tanh")),
    ):
        network = Network([Dense(4, 3), ours, Dense(3, 2)], input_shape=(1, 2, 2))
        module = front.to_torch(network)[2]
        assert repr(module) == repr(theirs)
        assert type(module) is type(theirs)
        (layer,) = front.from_torch(ends(theirs), (1, 12, 12)).layers[:1]
        assert type(layer) is type(ours)
        assert layer.arguments == ours.arguments
    in_place = front.from_torch(ends(nn.LeakyReLU(0.1, inplace=True)), (1, 12, 12))
    assert in_place.layers[0].arguments == {"slope": 0.1}
    with pytest.raises(ValueError, match=r"^0: LeakyReLU: slope: expected .* 0, got -0.1"):
        front.from_torch(ends(nn.LeakyReLU(-0.1)), (1, 12, 12))


class Usual(nn.Sequential):
    """As many write it: blocks, one squashing module for all, padding by name."""

    def __init__(self, size: int = 400) -> None:
        squash = nn.Tanh()
        super().__init__(
            nn.Sequential(nn.Conv2d(1, 6, 5, padding="same", bias=False), squash),
            nn.AvgPool2d(2),
            nn.Sequential(nn.Conv2d(6, 16, 5, padding="valid"), squash, nn.MaxPool2d(2)),
            nn.Identity(),
            nn.Flatten(),
            nn.Linear(size, 20, bias=False),
            squash,
            nn.Linear(20, 10),
        )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even:UserWarning")
def test_modules_as_they_are_usually_written() -> None:
    for size, sides in ((400, 28), (576, 32), (64, 16)):
        module = Usual(size)
        network = front.from_torch(module)
        assert network.input_shape == (1, sides, sides)
        x = torch.rand(3, 1, sides, sides)
        close(torch.from_numpy(network.predict(x.numpy())), module(x), np.float32)
    x = torch.rand(2, 2, 9, 8)
    even = nn.Conv2d(2, 4, (2, 4), dilation=(3, 1), padding="same", groups=2)
    network = front.from_torch(nn.Sequential(even, nn.Flatten(), nn.Linear(288, 2)), (2, 9, 8))
    close(torch.from_numpy(network.layers[0].forward(x.numpy())), even(x), np.float32)


AMBIGUOUS: dict[str, Callable[[], Any]] = {
    "strides": lambda: nn.Sequential(
        *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)),
    ),
    "one stride": lambda: nn.Sequential(
        *(nn.Conv2d(1, 4, 5, 4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10))
    ),
    "pooling by three": lambda: nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.MaxPool2d(3), nn.Conv2d(4, 8, 3), nn.MaxPool2d(3)),
        *(nn.Flatten(), nn.Linear(32, 10)),
    ),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_where_several_sizes_fit_the_shape_is_asked_for(name: str) -> None:
    module = AMBIGUOUS[name]()
    with complains("input_shape", about="(1, 32, 32) and (1, 28, 28) fit", got="None"):
        front.from_torch(module)
    for side in (28, 32):
        x = torch.rand(3, 1, side, side)
        network = front.from_torch(module, (1, side, side))
        close(torch.from_numpy(network.predict(x.numpy())), module(x), np.float32)


@pytest.mark.parametrize(
    ("paper", "ink"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (1.0, 0.0), (-0.4242, 2.8215)]
)
def test_bytes_are_refused_until_somebody_says_what_they_were(paper: float, ink: float) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)
    module = Usual(400)
    with pytest.raises(ValueError, match=r"x: expected floats.*got bytes; set its pixel_range"):
        front.from_torch(module).predict(images)
    prepared = torch.from_numpy(images[:, None].astype(np.float32) / 255 * (ink - paper) + paper)
    network = front.from_torch(module, pixel_range=(paper, ink))
    close(torch.from_numpy(network.predict(images)), module(prepared), np.float32)
    later = front.from_torch(module)
    later.pixel_range = (paper, ink)
    np.testing.assert_array_equal(later.predict(images), network.predict(images))


def test_errors_speak_of_the_module_and_not_of_our_classes() -> None:
    with pytest.raises(ValueError, match="expected a Flatten before it") as error:
        front.from_torch(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Linear(10, 10)), (1, 12, 12))
    assert type(error.value) is ValueError
    with pytest.raises(ValueError, match=r"^1: expected .* dropout, .*, got alpha_dropout; "):
        front.from_torch(ends(nn.Conv2d(1, 1, 1), nn.AlphaDropout()), (1, 12, 12))


def ends(*modules: Any) -> Any:
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(144, 2))


def pooled(pool: Any, size: int) -> Any:
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(size, 2))


def hooked() -> Any:
    module = ends(nn.Conv2d(1, 1, 1))
    module[0].register_forward_hook(lambda module, x, y: 2 * y)
    return module


def tied() -> Any:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(144, 2))
    module[1].weight = module[0].weight
    return module


def overlapping() -> Any:
    """Other parameters than `tied`, in the same memory."""
    module = tied()
    module[1].weight = nn.Parameter(module[0].weight.data)
    return module


REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    "no module": ("module", lambda: [nn.ReLU()]),
    "no sequence": ("module", lambda: nn.Linear(144, 2)),
    "dropout of all": ("1: Dropout: p", lambda: ends(nn.Conv2d(1, 1, 1), nn.Dropout(1.0))),
    "other dropout": ("1", lambda: ends(nn.Conv2d(1, 1, 1), nn.AlphaDropout())),
    "hook": ("0", hooked),
    "tied": ("module", tied),
    "overlapping": ("module", overlapping),
    "norm": ("0.0", lambda: ends(nn.Sequential(nn.InstanceNorm2d(1)))),
    "reflect": ("0", lambda: ends(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))),
    "pool padding": ("0", lambda: ends(nn.AvgPool2d(3, 1, 1, count_include_pad=False))),
    "pool dilation": ("0", lambda: pooled(nn.MaxPool2d(2, 1, dilation=2), 100)),
    "ceil": ("0", lambda: pooled(nn.AvgPool2d(5, ceil_mode=True), 9)),
    "divisor": ("0", lambda: pooled(nn.AvgPool2d(2, divisor_override=3), 36)),
    "flatten": ("1", lambda: nn.Sequential(nn.Flatten(0), nn.Linear(144, 2))),
    "negative slope": ("0: LeakyReLU: slope", lambda: ends(nn.LeakyReLU(-0.1))),
    "alpha 0": ("0: ELU: alpha", lambda: ends(nn.ELU(0.0))),
    "no flatten": ("0", lambda: nn.Sequential(nn.Linear(12, 2))),
    "after softmax": ("3", lambda: ends().append(nn.Softmax(1)).append(nn.ReLU())),
    "softmax": ("2", lambda: ends().append(nn.Softmax(0))),
    "size": ("1", lambda: nn.Sequential(nn.Flatten(), nn.Linear(143, 2))),
    "dtypes": ("2.weight", lambda: ends(nn.Conv2d(1, 1, 1).double())),
    "half": ("1.weight", lambda: ends().half()),
    "meta": ("1.weight", lambda: ends().to("meta")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_modules_are_refused_by_their_names(name: str) -> None:
    where, make = REFUSED[name]
    with complains(where, TypeError, ValueError):
        front.from_torch(make(), (1, 12, 12))


@pytest.mark.parametrize("wrong", [5, "abc", (1, 1, 12, 12), (), (1, -12), (1, -12, 12)])
def test_shapes_that_no_image_has_are_refused(wrong: Any) -> None:
    with complains("input_shape", TypeError, ValueError):
        front.from_torch(ends(nn.ReLU()), wrong)


def test_sizes_that_cannot_be_guessed_are_asked_for() -> None:
    with complains("input_shape", about="none of"):
        front.from_torch(Usual(401))
    with complains("input_shape"):
        front.from_torch(ends())
    with complains("network", TypeError):
        front.to_torch(nn.ReLU())

    class Odd(layers.ReLU):
        pass

    with complains("network", TypeError, got="Odd"):
        front.to_torch(Network([Odd(), layers.Dense(16, 2)], input_shape=(1, 4, 4)))
    every = [layers.MaxPool2D(2, ties="all", name="S2"), layers.Dense(4, 2)]
    with complains("network", about="ties='first'", got="ties='all' (S2)"):
        front.to_torch(Network(every, input_shape=(1, 4, 4)))


# --- training ---


def lenet(squash: type = nn.ReLU, pool: type = nn.MaxPool2d, outputs: int = 10) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3, padding=1), squash(), pool(2)),
        *(nn.Conv2d(3, 4, 3), squash(), pool(2)),
        *(nn.Flatten(), nn.Linear(16, 12), squash(), nn.Linear(12, outputs)),
    )


def loader(n: int = 50, dtype: Any = torch.float64, targets: Any = None, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(n, 1, 12, 12, generator=generator, dtype=dtype)
    if targets is None:
        targets = torch.randint(10, (n,), generator=generator)
    return DataLoader(TensorDataset(x, targets), **{"batch_size": 8, "shuffle": True, **options})


def one_hot(n: int, on: float = 0.8, off: float = -0.8) -> Any:
    labels = torch.arange(n) % 10
    return off + (on - off) * nn.functional.one_hot(labels, 10).double()


def loop(module: Any, data: Any, criterion: Any, optimizer: Any, epochs: int) -> list[float]:
    """Train as everyone does; return the mean losses of the epochs."""
    found = []
    for _ in range(epochs):
        losses, images = 0.0, 0
        for x, targets in data:
            optimizer.zero_grad()
            loss = criterion(module(x), targets)
            loss.backward()
            optimizer.step()
            losses, images = losses + loss.item() * len(x), images + len(x)
        found.append(losses / images)
    return found


def assert_same(ours: Any, theirs: Any, bound: float = 1e-10) -> None:
    for (name, found), expected in zip(
        ours.state_dict().items(), theirs.state_dict().values(), strict=True
    ):
        assert_within(found.numpy(), expected.numpy(), bound, what=name)


OPTIMISERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "Nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-6),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "Adam, L2": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.002),
    "RMSprop, options": lambda p: torch.optim.RMSprop(
        p, lr=0.001, alpha=0.9, eps=1e-3, weight_decay=0.1, momentum=0.5, centered=True
    ),
    "RMSprop, centered": lambda p: torch.optim.RMSprop(p, lr=0.002, eps=1e-3, centered=True),
    "Adadelta": lambda p: torch.optim.Adadelta(p, rho=0.8, weight_decay=0.1),
}
if "decoupled_weight_decay" in inspect.signature(torch.optim.Adam).parameters:  # not in 2.4
    OPTIMISERS["Adam, decoupled"] = lambda p: torch.optim.Adam(
        p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True
    )
KINDS = {
    "max": (nn.ReLU, nn.MaxPool2d),
    "average": (nn.Tanh, nn.AvgPool2d),
    "leaky": (lambda: nn.LeakyReLU(0.2), nn.MaxPool2d),
    "elu": (lambda: nn.ELU(0.7), nn.AvgPool2d),
    "gelu": (nn.GELU, nn.MaxPool2d),
    "gelu, tanh": (lambda: nn.GELU(approximate="tanh"), nn.AvgPool2d),
}


def twins(make: Callable[[], Any], optimiser: str = "momentum") -> Iterator[tuple[Any, Any]]:
    """Yield a module and its optimizer, and the same once more."""
    first = make()
    for module in (first, copy.deepcopy(first)):
        yield module, OPTIMISERS[optimiser](module.parameters())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("kind", KINDS)
def test_fit_does_what_a_loop_does(kind: str, optimiser: str) -> None:
    """28 steps, then 14 in a loop, which need the state of the optimizer; then 14 of each again."""
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    (ours, optimizer), (theirs, other) = twins(lambda: lenet(*KINDS[kind]).double(), optimiser)
    places = [tensor.data_ptr() for tensor in ours.parameters()]
    start = [tensor.detach().clone() for tensor in ours.parameters()]
    data = loader()
    torch.manual_seed(3)
    expected = loop(theirs, data, criterion, other, 8)
    last = torch.rand(1)
    torch.manual_seed(3)
    history = front.fit(ours, data, criterion=criterion, optimizer=optimizer, epochs=4)
    found = [row.train_loss for row in history.rows]
    found += loop(ours, data, criterion, optimizer, 2)
    rest = front.fit(ours, data, criterion=criterion, optimizer=optimizer, epochs=2)
    assert found + [row.train_loss for row in rest.rows] == pytest.approx(expected, rel=1e-10)
    assert torch.equal(torch.rand(1), last)
    assert_same(ours, theirs)
    assert [tensor.data_ptr() for tensor in ours.parameters()] == places
    for before, after in zip(start, ours.parameters(), strict=True):
        assert (before - after).abs().max() > 1e-3
    mine, right = optimizer.state_dict(), other.state_dict()
    assert mine["param_groups"] == right["param_groups"]
    for key, state in right["state"].items():
        for name, value in state.items():
            if value is not None:
                assert (mine["state"][key][name] - value).abs().max() < 1e-10, name


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "one cycle": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=60, cycle_momentum=False
    ),
    "linear": lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 20),
    "lambda": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.97**k),
}


@pytest.mark.parametrize("optimiser", ["Nesterov", "AdamW"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_makes_a_step_after_each_batch(name: str, optimiser: str) -> None:
    criterion = nn.CrossEntropyLoss()
    (ours, optimizer), (theirs, other) = twins(lambda: lenet(*KINDS["max"]).double(), optimiser)
    scheduler, right = SCHEDULERS[name](optimizer), SCHEDULERS[name](other)
    data, rates = loader(), []
    torch.manual_seed(3)
    for _ in range(3):
        for x, targets in data:
            other.zero_grad()
            criterion(theirs(x), targets).backward()
            other.step()
            rates.append(other.param_groups[0]["lr"])
            right.step()
    torch.manual_seed(3)
    options = {"criterion": criterion, "optimizer": optimizer, "scheduler": scheduler}
    options["scheduler_step"] = "batch"
    history = front.fit(ours, data, **options, epochs=2)
    history.rows += front.fit(ours, data, **options).rows
    assert_same(ours, theirs)
    assert scheduler.state_dict().items() >= {"last_epoch": right.last_epoch}.items()
    assert scheduler.get_last_lr() == right.get_last_lr()
    assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"]
    count = len(rates) // 3
    highest = [max(rates[k * count : (k + 1) * count]) for k in range(3)]
    assert [row.rate for row in history.rows] == highest
    assert len(set(rates)) > 10


def test_a_scheduler_stops_where_the_loss_is_not_finite() -> None:
    module = lenet(*KINDS["max"]).double()
    optimizer = OPTIMISERS["momentum"](module.parameters())
    scheduler = SCHEDULERS["lambda"](optimizer)
    x = torch.rand(48, *next(iter(loader()))[0].shape[1:], dtype=torch.float64)
    x[20] = torch.nan
    data = DataLoader(TensorDataset(x, torch.arange(48) % 10), batch_size=8)
    with pytest.raises(TrainingDiverged, match=r"^after 2 steps at rate 0\.047"):
        front.fit(
            module,
            data,
            criterion=nn.CrossEntropyLoss(),
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_step="batch",
        )
    assert scheduler.last_epoch == 2
    assert optimizer.param_groups[0]["lr"] == 0.05 * 0.97**2


class Masked(nn.Module):
    """Dropout with our draws; the layer's place counts neither Flatten nor Identity."""

    def __init__(self, p: float, seed: int, layer: int, by_map: bool) -> None:
        super().__init__()
        self.p, self.numbers = p, {"seed": seed, "layer": layer, "by_map": by_map}
        self.step = 0

    def forward(self, x: Any) -> Any:
        mask = ops.dropout(np.ones(tuple(x.shape)), self.p, step=self.step, **self.numbers)
        self.step += 1
        return x * torch.from_numpy(mask)


def dropping() -> Any:
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.3), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Tanh(), nn.Flatten(), nn.Dropout(0.25)),
        *(nn.Linear(16, 12), nn.ReLU(), nn.Dropout(0.5, inplace=True), nn.Linear(12, 10)),
    ).double()


@pytest.mark.parametrize("size", [1, 8])
def test_fit_drops_by_its_own_draws(size: int) -> None:
    (ours, optimizer), (theirs, other) = twins(dropping, "Adam")
    torch.manual_seed(4)
    seed = int(torch.randint(2**63 - 1, ()))
    places = {2: (2, 0.3, True), 8: (7, 0.25, False), 11: (10, 0.5, False)}
    for k, (layer, p, by_map) in places.items():
        theirs[k] = Masked(p, seed, layer, by_map)
    data, criterion = loader(shuffle=False, batch_size=size), nn.CrossEntropyLoss()
    expected = loop(theirs, data, criterion, other, 2)
    torch.manual_seed(4)
    history = front.fit(ours, data, criterion=criterion, optimizer=optimizer, epochs=2)
    assert [row.train_loss for row in history.rows] == pytest.approx(expected, rel=1e-9)
    assert_same(ours, nn.Sequential(*(each for each in theirs if not isinstance(each, Masked))))


def test_fit_draws_anew_in_each_call_and_as_the_seed_says() -> None:
    def losses(seed: int, evaluate: bool = False) -> list[float]:
        torch.manual_seed(0)
        module = dropping().train(not evaluate)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
        torch.manual_seed(seed)
        found = []
        for _ in range(2):
            history = front.fit(
                *(module, loader(shuffle=False)),
                criterion=nn.CrossEntropyLoss(),
                optimizer=optimizer,
                test=loader().dataset,
            )
            found += [history.rows[0].train_loss, history.rows[0].test_loss]
        return found

    first, second, other, plain = losses(1), losses(1), losses(2), losses(1, evaluate=True)
    assert first == second
    assert len({first[0], first[2], other[0], other[2]}) == 4
    # Evaluated without dropout, and trained without it in evaluation mode.
    for found in (first, other, plain):
        assert found[1] == found[3] == pytest.approx(plain[0], rel=1e-12)
    assert plain[0] == plain[2]


def test_dropout_goes_both_ways() -> None:
    module = dropping()
    network = front.from_torch(module, (1, 12, 12))
    assert [(layer.name, layer.p) for layer in network.layers if "dropout" in layer.name] == [
        *(("dropout1", 0.3), ("dropout2", 0.25), ("dropout3", 0.5)),
    ]
    assert isinstance(network.layers[2], layers.Dropout2D)
    assert type(network.layers[7]) is layers.Dropout
    x = torch.rand(5, 1, 12, 12).double()
    with torch.no_grad():
        expected = module.eval()(x).numpy()
    assert distance(network.predict(x.numpy()), expected) < 1e-12
    back = front.to_torch(network)
    kinds = [type(each) for each in back if isinstance(each, nn.Dropout | nn.Dropout2d)]
    assert kinds == [nn.Dropout2d, nn.Dropout, nn.Dropout]
    assert [each.p for each in back if hasattr(each, "p")] == [0.3, 0.25, 0.5]
    assert back.training
    with torch.no_grad():
        assert distance(back.eval()(x).numpy(), expected) < 1e-12
    again = front.from_torch(back, (1, 12, 12))
    assert [layer.config() for layer in again.layers] == [
        layer.config() for layer in network.layers
    ]


def test_fit_on_every_backend(lane_backend: str) -> None:
    (ours, optimizer), (theirs, other) = twins(lambda: lenet().double())
    data = loader(shuffle=False)
    loop(theirs, data, nn.CrossEntropyLoss(), other, 3)
    front.fit(
        *(ours, data),
        criterion=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        epochs=3,
        engine="lanes",
        backend=lane_backend,
    )
    assert_same(ours, theirs)


def ours_of_1998() -> Any:
    table = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]], bool)
    return nn.Sequential(
        *(front.Conv2d(1, 3, 3, bias="unit", input_size=(12, 12), padding=1, pad_value=-1.0),),
        *(front.ScaledTanh(), front.SubSampling2d(3), front.ScaledTanh()),
        *(front.Conv2d(3, 4, 3, connections=table), front.ScaledTanh(), nn.Flatten()),
        *(nn.Linear(64, 6), front.ScaledTanh(), front.RBF(6, 10, centres=torch.rand(10, 6))),
    ).double()


CASES: dict[str, tuple[Callable[[], Any], Any, dict[str, Any]]] = {
    "squared": (lambda: lenet().double(), nn.MSELoss(), {"targets": one_hot(50)}),
    "squared, 3": (
        lambda: lenet(outputs=3).double(),
        nn.MSELoss(),
        {"targets": nn.functional.one_hot(torch.arange(50) % 3).double()},
    ),
    "MAP": (ours_of_1998, front.MAPLoss(5.0), {}),
    "penalty": (ours_of_1998, front.PenaltyLoss(), {}),
    "log": (lambda: lenet().append(nn.LogSoftmax(1)).double(), nn.NLLLoss(), {}),
    "dropped": (lambda: lenet().double(), nn.CrossEntropyLoss(), {"drop_last": True}),
    "generator": (
        lambda: lenet().double(),
        nn.CrossEntropyLoss(),
        {"generator": torch.Generator().manual_seed(4)},
    ),
    "single": (lambda: lenet().double(), nn.CrossEntropyLoss(), {"batch_size": 1}),
    "larger": (lambda: lenet().double(), nn.CrossEntropyLoss(), {"batch_size": 100}),
    "many": (lambda: lenet().double(), nn.CrossEntropyLoss(), {"n": 1100, "batch_size": 90}),
    "no bias": (lambda: Usual(16).double(), nn.CrossEntropyLoss(), {}),
    "layout": (
        lambda: lenet().double().to(memory_format=torch.channels_last),
        nn.CrossEntropyLoss(),
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fit_with_other_losses_and_loaders(name: str) -> None:
    make, criterion, options = CASES[name]
    (ours, optimizer), (theirs, other) = twins(make, "Adam" if name == "MAP" else "SGD")
    for found in (optimizer, other):
        found.param_groups[0]["lr"] = 0.005
    data = loader(**options)
    epochs, state = 3, torch.random.get_rng_state()
    if options.get("generator") is not None:
        options["generator"].manual_seed(4)
    expected = loop(theirs, data, criterion, other, epochs)
    if options.get("generator") is not None:
        options["generator"].manual_seed(4)
    torch.random.set_rng_state(state)
    test = TensorDataset(*(tensor[:30] for tensor in data.dataset.tensors))
    history = front.fit(
        ours, data, criterion=criterion, optimizer=optimizer, epochs=epochs, test=test
    )
    assert [row.train_loss for row in history.rows] == pytest.approx(expected, rel=1e-10)
    assert_same(ours, theirs)
    x, targets = test.tensors
    with torch.no_grad():
        outputs = ours(x)
    right = targets.argmax(1) if targets.dim() > 1 else targets
    found = outputs.argmin(1) if isinstance(ours[-1], front.RBF) else outputs.argmax(1)
    row = history.rows[-1]
    assert row.test_loss == pytest.approx(criterion(outputs, targets).item(), rel=1e-10)
    assert row.test_errors == (found != right).sum()
    assert history.test_images == 30


def test_fit_in_float32_with_frozen_parameters_and_a_scheduler() -> None:
    criterion, data = nn.CrossEntropyLoss(), loader(dtype=torch.float32)
    trained = []
    for run in ("loop", "fit"):
        torch.manual_seed(2)
        module = lenet()
        module[0].weight.requires_grad_(False)
        module[7].bias.requires_grad_(False)
        frozen = [module[0].weight.clone(), module[7].bias.clone()]
        optimizer = OPTIMISERS["AdamW"](module.parameters())
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        for _ in range(3):
            if run == "loop":
                loop(module, data, criterion, optimizer, 1)
            else:
                history = front.fit(module, data, criterion=criterion, optimizer=optimizer)
            scheduler.step()
        assert torch.equal(frozen[0], module[0].weight)
        assert torch.equal(frozen[1], module[7].bias)
        trained.append(module)
    assert_same(trained[1], trained[0], 2e-4)
    assert history.rows[0].rate == 0.0025
    assert math.isnan(history.rows[0].test_loss)


def test_autograd_notices_that_parameters_have_changed() -> None:
    module, data = lenet().double(), loader()
    loss = module(data.dataset.tensors[0]).sum()
    optimizer = OPTIMISERS["SGD"](module.parameters())
    front.fit(module, data, criterion=nn.CrossEntropyLoss(), optimizer=optimizer)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("how", ["Ctrl-C", "error", "NaN"])
def test_what_ends_a_fit_leaves_whole_batches(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,024 images a call, the first 512 are learned from."""
    (ours, optimizer), (theirs, other) = twins(lambda: lenet().double())
    data = loader(1024, batch_size=64, shuffle=False)
    x, labels = data.dataset.tensors
    calls = []
    train = LanesEngine.train

    def interrupted(self: Any, *given: Any, **options: Any) -> Any:
        calls.append(1)
        if how == "error" and len(calls) == 2:
            raise MemoryError
        found = train(self, *given, **options)
        if how == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)
        return found

    monkeypatch.setattr(LanesEngine, "train", interrupted)
    if how == "NaN":
        x[512 + 64] = math.nan
    error = {"Ctrl-C": KeyboardInterrupt, "error": MemoryError, "NaN": TrainingDiverged}[how]
    with pytest.raises(error):
        front.fit(ours, data, criterion=nn.CrossEntropyLoss(), optimizer=optimizer, epochs=9)
    batches = 9 if how == "NaN" else 8
    learned = DataLoader(TensorDataset(x[: 64 * batches], labels[: 64 * batches]), batch_size=64)
    loop(theirs, learned, nn.CrossEntropyLoss(), other, 1)
    assert_same(ours, theirs)
    for found, expected in zip(optimizer.state.values(), other.state.values(), strict=True):
        found, expected = found["momentum_buffer"], expected["momentum_buffer"]
        assert_within(found.numpy(), expected.numpy(), 1e-10)


def bad(**changes: Any) -> dict[str, Any]:
    """Return the arguments of a fit, some of them changed by functions of the module."""
    module = changes.pop("module", lambda: lenet().double())()
    given = {
        "module": module,
        "loader": loader(),
        "criterion": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.5),
    }
    return given | {name: make(module) for name, make in changes.items()}


def other_state(module: Any) -> Any:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.5)
    for tensor in module.parameters():
        optimizer.state[tensor]["momentum_buffer"] = torch.zeros(3)
    return optimizer


def expanded() -> Any:
    module = lenet().double()
    module[-1].bias = nn.Parameter(torch.zeros(1).double().expand(10))
    return module


def needing_gradients() -> Any:
    images, labels = loader().dataset.tensors
    return DataLoader(TensorDataset(images.requires_grad_(), labels), batch_size=8)


SGD = torch.optim.SGD
BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "dropout": (
        "1: Dropout: p",
        {"module": lambda: ends(nn.Conv2d(1, 1, 1), nn.Dropout(1.0)).double()},
    ),
    "dtype": ("loader: images", {"module": lenet}),
    "expanded": ("module", {"module": expanded}),
    "softmax": ("module", {"module": lambda: lenet().append(nn.Softmax(1)).double()}),
    "no log": ("module", {"criterion": lambda m: nn.NLLLoss()}),
    "rbf": ("output", {"criterion": lambda m: front.MAPLoss()}),
    "labels": ("loader: targets", {"criterion": lambda m: nn.MSELoss()}),
    "twelve targets": (
        "loader: targets",
        {
            "criterion": lambda m: nn.MSELoss(),
            "loader": lambda m: loader(targets=nn.functional.pad(one_hot(50), (0, 2), value=-0.8)),
        },
    ),
    "gradients of images": ("loader: images", {"loader": lambda m: needing_gradients()}),
    "numbers": ("loader: order", {"loader": lambda m: loader(shuffle=False, sampler=[1, 50])}),
    "classes": ("loader: labels", {"loader": lambda m: loader(targets=torch.full((50,), 10))}),
    "flat": (
        "loader",
        {"loader": lambda m: DataLoader(TensorDataset(torch.ones(3, 4), torch.ones(3).long()))},
    ),
    "no loader": ("loader", {"loader": lambda m: loader().dataset}),
    "no tensors": ("loader", {"loader": lambda m: DataLoader([(torch.ones(1), "1")])}),
    "collate": ("loader", {"loader": lambda m: loader(collate_fn=list)}),
    "no batches": ("loader", {"loader": lambda m: loader(batch_size=99, drop_last=True)}),
    "no optimizer": ("optimizer", {"optimizer": lambda m: "SGD"}),
    "more": (
        "optimizer",
        {"optimizer": lambda m: SGD([*m.parameters(), nn.Parameter(torch.ones(1))], lr=0.1)},
    ),
    "state": ("optimizer", {"optimizer": other_state}),
    "epochs": ("epochs", {"epochs": lambda m: 0}),
    "test": ("test", {"test": lambda m: 5}),
    "test size": (
        "test: images",
        {"test": lambda m: TensorDataset(torch.ones(2, 1, 13, 12).double(), torch.ones(2).long())},
    ),
    "engine": ("engine", {"engine": lambda m: "fast"}),
}


@pytest.mark.parametrize("name", BAD)
def test_fit_refuses_and_changes_nothing(name: str) -> None:
    argument, changes = BAD[name]
    given = bad(**changes)
    before = copy.deepcopy(given["module"].state_dict())
    with complains(argument, TypeError, ValueError):
        front.fit(**given)
    for key, tensor in given["module"].state_dict().items():
        assert torch.equal(tensor, before[key])


def test_a_batch_sampler_of_pytorch_is_a_batch_size() -> None:
    """What the loader makes of `batch_size` itself; given by hand it is the same."""
    data = loader()
    by_hand = DataLoader(data.dataset, batch_sampler=BatchSampler(range(50), 8, False))
    (ours, optimizer), (theirs, other) = twins(lambda: lenet().double())
    loop(theirs, by_hand, nn.CrossEntropyLoss(), other, 3)
    front.fit(ours, by_hand, criterion=nn.CrossEntropyLoss(), optimizer=optimizer, epochs=3)
    assert_same(ours, theirs)
