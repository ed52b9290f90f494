"""PyTorch's front end, judged by PyTorch: its gradcheck, its operations, its modules, its loops."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers import assert_within, complains, new_rng, normal, require
from network_cases import NETWORKS, distance, filled, images
from op_cases import ALL, Case

from lenet_fast import backends, bitmaps, layers, models, ops
from lenet_fast.connections import LENET5_C3
from lenet_fast.initialisers import INITIALISERS
from lenet_fast.network import Network

torch = require("torch")
from torch import nn  # noqa: E402

from lenet_fast import torch as front  # noqa: E402
from lenet_fast.torch import functional  # noqa: E402

ROUNDING = {"float32": 1e-5, "float64": 1e-13}  # of the largest number

FORWARD = [case for case in ALL if hasattr(functional, case.name)]


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let PyTorch begin anew, on one thread as our engines, and leave it as it was."""
    monkeypatch.setenv("LENET_FAST_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1998)
        yield
    torch.set_num_threads(threads)


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
        "rbf": lambda: (x[:, None] - w).square().sum(2),
        "scaled_tanh": lambda: 1.7159 * torch.tanh(2 / 3 * x),
        "tanh": lambda: torch.tanh(x),
        "sigmoid": lambda: torch.sigmoid(x),
        "relu": lambda: torch.relu(x),
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
    x = torch.rand(2, 4)
    y = functional.dense(x, w)
    x += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


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
    other.load_state_dict(torch.load(file))
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
    assert list(module._modules)[:3] == ["C1", "C1_squash", "S2"]
    assert front.from_torch(module).output == "linear"
    module.append(nn.LogSoftmax(1))
    again = front.from_torch(module)
    assert again.output == "softmax"
    assert [layer.name for layer in again.layers][:3] == ["C1", "C1_squash", "S2"]


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


def ends(*modules: Any) -> Any:
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(144, 2))


class Doubled(nn.Conv2d):
    def forward(self, x: Any) -> Any:
        return 2 * super().forward(x)


def hooked() -> Any:
    module = ends(nn.Conv2d(1, 1, 1))
    module[0].register_forward_hook(lambda module, x, y: 2 * y)
    return module


def tied() -> Any:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(144, 2))
    module[1].weight = module[0].weight
    return module


REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    "no module": ("module", lambda: [nn.ReLU()]),
    "no sequence": ("module", lambda: nn.Linear(144, 2)),
    "dropout": ("1", lambda: ends(nn.Conv2d(1, 1, 1), nn.Dropout())),
    "dropout, eval": ("1", lambda: ends(nn.Conv2d(1, 1, 1), nn.Dropout()).eval()),
    "subclass": ("0", lambda: ends(Doubled(1, 1, 1))),
    "hook": ("0", hooked),
    "tied": ("module", tied),
    "norm": ("0.0", lambda: ends(nn.Sequential(nn.BatchNorm2d(1)))),
    "reflect": ("0", lambda: ends(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))),
    "pool padding": ("0", lambda: ends(nn.MaxPool2d(3, 1, padding=1))),
    "pool dilation": ("0", lambda: ends(nn.MaxPool2d(2, 1, dilation=2))),
    "ceil": ("0", lambda: ends(nn.AvgPool2d(2, ceil_mode=True))),
    "divisor": ("0", lambda: ends(nn.AvgPool2d(2, divisor_override=3))),
    "flatten": ("0", lambda: nn.Sequential(nn.Flatten(0), nn.Linear(144, 2))),
    "no flatten": ("0", lambda: nn.Sequential(nn.Linear(12, 2))),
    "after softmax": ("1", lambda: ends(nn.Softmax(1), nn.ReLU())),
    "softmax": ("2", lambda: ends().append(nn.Softmax(0))),
    "size": ("1: input", lambda: nn.Sequential(nn.Flatten(), nn.Linear(143, 2))),
    "dtypes": ("2.weight", lambda: ends(nn.Conv2d(1, 1, 1).double())),
    "half": ("1.weight", lambda: ends().half()),
    "meta": ("1.weight", lambda: ends().to("meta")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_modules_are_refused_by_their_names(name: str) -> None:
    where, make = REFUSED[name]
    with complains(where, TypeError, ValueError):
        front.from_torch(make(), (1, 12, 12))


def test_sizes_that_cannot_be_guessed_are_asked_for() -> None:
    with complains("input_shape", about="none fits"):
        front.from_torch(Usual(401))
    with complains("input_shape"):
        front.from_torch(ends())
    with complains("network", TypeError):
        front.to_torch(nn.ReLU())

    class Odd(layers.ReLU):
        pass

    with complains("network", TypeError, got="Odd"):
        front.to_torch(Network([Odd(), layers.Dense(16, 2)], input_shape=(1, 4, 4)))
