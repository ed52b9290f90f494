"""What `from_torch` and `fit` read of modules of any class, judged by the modules themselves."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
from helpers import assert_within, require

torch = require("torch")
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402
from torch_modules import (  # noqa: E402
    CONVERTED,
    ELSEWHERE,
    REFUSED,
    TRAINED,
    TRAINING_ONLY,
    VIEWED,
    Case,
    FrozenNorm,
    MapsOfOnePixel,
)

from lenet_fast import torch as front  # noqa: E402
from lenet_fast.torch import reading  # noqa: E402

pytestmark = pytest.mark.usefixtures("calm_torch")


def chosen(found: Any, case: Case) -> Any:
    """Return the output that a case is about."""
    if case.output is not None:
        return found[case.output]
    return found[0] if isinstance(found, tuple) else found


LAZY = "ignore:Lazy modules are a new:UserWarning"
COMPLEX = "ignore:Complex modules are a new:UserWarning"
IMPLICIT = "ignore:Implicit dimension choice:UserWarning"


@pytest.mark.filterwarnings(IMPLICIT, LAZY)
@pytest.mark.parametrize("name", [*TRAINED, *VIEWED, *CONVERTED])
def test_modules_of_any_class_become_networks(name: str) -> None:
    case = (TRAINED | VIEWED | CONVERTED)[name]
    module = case.make()
    state = copy.deepcopy(module.state_dict())
    before = torch.random.get_rng_state()
    attributes = {key: vars(each).copy() for key, each in module.named_modules()}
    network = front.from_torch(module, case.input_shape, output=case.output)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {key: vars(each) for key, each in module.named_modules()} == attributes
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[key])
    module.eval()
    n = 8 if name == "BatchesOfEight" else 5
    x = torch.randn(n, *case.input_shape)
    row = reading.read(module, case.input_shape, case.output, evaluation=True)
    expected = chosen(module(x.clone()), case)
    if isinstance(row.softmax, nn.Softmax):
        expected = expected.log()
    found = torch.from_numpy(network.predict(x.reshape(n, *network.input_shape).numpy()))
    if row.softmax is not None:
        found, expected = found.log_softmax(1), expected.log_softmax(1)
    bound = 1e-5 * max(1, expected.abs().max().item())
    assert_within(found.numpy(), expected.detach().numpy(), bound)
    assert network.output == row.output


@pytest.mark.filterwarnings(IMPLICIT, LAZY)
@pytest.mark.parametrize("name", [*TRAINED, *VIEWED])
def test_the_tensors_of_a_row_are_the_modules_own(name: str) -> None:
    case = (TRAINED | VIEWED)[name]
    module = case.make().double()
    row = reading.read(module, case.input_shape, case.output, masks=True, views=True)
    network = row.network(row.output, None)
    found = row.tensors(network)
    trainable = [id(found[name]) for name in network.trainable_names if name in found]
    assert {id(each) for each in module.parameters()} >= set(trainable)
    assert len(set(trainable)) == len(trainable)
    own = {id(each) for each in [*module.parameters(), *module.buffers()]}
    assert {id(each) for each in found.values()} <= own
    for name, mask in row.masks(network).items():
        assert 0 < mask.mean() < 1
        assert np.array_equal(network.parameters[name], (found[name] * mask).detach())


@pytest.mark.parametrize("name", [*REFUSED, *TRAINING_ONLY])
def test_what_cannot_be_read_is_refused_with_its_line(name: str) -> None:
    case, line = (REFUSED | TRAINING_ONLY)[name]
    module = case.make()
    for evaluation in (True, False) if name in REFUSED else (False,):
        with pytest.raises((TypeError, ValueError), match=r"expected .*, got ") as error:
            reading.read(module, case.input_shape, evaluation=evaluation)
        text = str(error.value)
        assert "torch_modules.py:" in text
        assert f": {line}: expected" in text


@pytest.mark.filterwarnings(LAZY, "ignore:.*torch.jit", COMPLEX)
@pytest.mark.parametrize("name", [*REFUSED, *TRAINING_ONLY, *ELSEWHERE])
def test_bad_modules_are_refused_before_anything_has_changed(name: str) -> None:
    case, message = (REFUSED | TRAINING_ONLY | ELSEWHERE)[name]
    module = case.make()
    state = {} if name == "lazy" else copy.deepcopy(module.state_dict())
    x = torch.rand(8, *case.input_shape)
    before = random.getstate(), torch.get_rng_state()
    with pytest.raises((TypeError, ValueError)) as error:
        fit(module, x, torch.arange(8), nn.CrossEntropyLoss(), case)
    assert message in str(error.value)
    if name not in TRAINING_ONLY:
        with pytest.raises((TypeError, ValueError)) as error:
            front.from_torch(module, case.input_shape)
        assert message in str(error.value)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    for key, tensor in state.items():
        if not tensor.is_meta:
            assert torch.equal(module.state_dict()[key].to_dense(), tensor.to_dense()), key


@pytest.mark.parametrize("name", [*VIEWED, *CONVERTED])
def test_training_is_refused_where_weights_are_computed(name: str) -> None:
    case = (VIEWED | CONVERTED)[name]
    module = case.make()
    state = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"^\S.*: expected .*, got "):
        reading.read(module, case.input_shape)
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[key])


@pytest.mark.filterwarnings(IMPLICIT, LAZY)
@pytest.mark.parametrize("name", [*TRAINED, *VIEWED])
def test_fit_trains_modules_of_any_class_like_a_loop(name: str) -> None:
    """Twenty steps; dropout is in evaluation mode, because its draws are others."""
    case = (TRAINED | VIEWED)[name]
    torch.manual_seed(7)
    ours = case.make().double().eval()
    torch.manual_seed(7)
    theirs = case.make().double().eval()
    x = torch.rand(40, *case.input_shape).double()
    labels = torch.arange(40) % 10
    row = reading.read(ours, case.input_shape, case.output, masks=True, views=True)
    criterion = nn.NLLLoss() if isinstance(row.softmax, nn.LogSoftmax) else nn.CrossEntropyLoss()
    if row.output == "rbf":
        criterion = front.MAPLoss()
    if isinstance(row.softmax, nn.Softmax):
        with pytest.raises(ValueError, match="module: expected no last softmax"):
            fit(ours, x, labels, criterion, case)
        return
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9)
    for _ in range(4):
        for part in torch.arange(40).split(8):
            optimizer.zero_grad()
            criterion(chosen(theirs(x[part].clone()), case), labels[part]).backward()
            optimizer.step()
    before = {key: tensor.clone() for key, tensor in ours.state_dict().items()}
    fit(ours, x, labels, criterion, case)
    found, expected = ours.state_dict(), theirs.state_dict()
    for key, tensor in found.items():
        assert_within(tensor.numpy(), expected[key].numpy(), 1e-9, what=key)
    assert any(not torch.equal(tensor, before[key]) for key, tensor in found.items())


def fit(module: Any, x: Any, labels: Any, criterion: Any, case: Case) -> None:
    front.fit(
        module,
        DataLoader(TensorDataset(x, labels), batch_size=8),
        criterion=criterion,
        optimizer=torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9),
        epochs=4,
        output=case.output,
    )


def kinds(network: Any) -> list[str]:
    return [type(layer).__name__ for layer in network.layers]


def test_layers_are_those_that_the_module_means() -> None:
    network = front.from_torch(TRAINED["FunctionalRelu"].make())
    assert network.input_shape == (1, 28, 28)
    pooled = ["Conv2D", "ReLU", "MaxPool2D"]
    usual = [*pooled, *pooled, "Dense", "ReLU", "Dense"]
    assert kinds(network) == usual
    names = [layer.name for layer in network.layers]
    assert names[::3] == ["conv1", "conv2", "fc1"]
    assert names[-1] == "fc2"
    # Batch norm after a layer with weights, and factors, need no layers.
    assert kinds(front.from_torch(CONVERTED["BatchNormed"].make())) == usual
    network = front.from_torch(TRAINED["Normalising"].make())
    assert kinds(network)[:2] == ["Conv2D", "Conv2D"]
    assert network.layers[0].kernel == (1, 1)
    network = front.from_torch(TRAINED["HandMadeTanh"].make())
    assert kinds(network).count("ScaledTanh") == 3
    network = front.from_torch(TRAINED["Perceptron"].make())  # of no convolution
    assert network.input_shape == (1, 28, 28)


def test_tables_and_squared_distances_are_seen_in_functions() -> None:
    network = front.from_torch(CONVERTED["Net1989Tables"].make())
    convolution = network.layers[2]
    assert (convolution.bias, convolution.pad_value, convolution.padding) == ("unit", -1, (2,) * 4)
    seen = np.zeros((12, 12), bool)
    seen[:4, :8] = seen[4:8, 4:] = seen[8:, :4] = seen[8:, 8:] = True
    assert np.array_equal(convolution.table, seen)
    network = front.from_torch(CONVERTED["TableOfModules"].make())
    assert network.output == "rbf"
    assert network.layers[3].table.sum(1).tolist() == [3] * 6 + [4] * 2


def test_layers_of_ours_come_back() -> None:
    """Of a module that writes out all functions of 1998, and of one that calls ours."""
    network = front.from_torch(TRAINED["Of1998"].make())
    assert kinds(network)[:3] == ["Conv2D", "Subsample2D", "ScaledTanh"]
    assert network.layers[-1].centres == "digits"
    assert [layer.name for layer in network.layers][:3] == ["c1", "s2", "act"]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_compiled_module_is_read_as_the_one_within() -> None:
    module = TRAINED["FunctionalRelu"].make()
    compiled = torch.compile(module)
    expected = front.from_torch(module).parameters
    for name, array in front.from_torch(compiled).parameters.items():
        assert np.array_equal(array, expected[name])


def test_one_output_of_several_is_chosen() -> None:
    module = ELSEWHERE["TwoOutputs"][0].make()
    assert front.from_torch(module, output=0).output == "linear"
    assert front.from_torch(module, output=1).output == "softmax"
    for wrong in (2, "logits", None):
        with pytest.raises(ValueError, match=r"^output: expected one of .*, got "):
            front.from_torch(module, output=wrong)
    with pytest.raises(ValueError, match=r"^output: expected None for a module of one output"):
        front.from_torch(TRAINED["FunctionalRelu"].make(), output=1)


def test_a_module_that_changes_after_it_was_read_is_read_anew() -> None:
    module = TRAINED["ModeDependent"].make()
    assert isinstance(reading.read(module, (1, 28, 28)).softmax, nn.LogSoftmax)
    assert isinstance(reading.read(module.eval(), (1, 28, 28)).softmax, nn.Softmax)
    assert isinstance(reading.read(module, (1, 28, 28), evaluation=True).softmax, nn.Softmax)
    assert not module.training


@pytest.mark.filterwarnings(IMPLICIT)
def test_dropout_is_that_of_the_mode() -> None:
    module = TRAINED["OldExamplesMnist"].make()
    for training in (True, False):
        row = reading.read(module.train(training), (1, 28, 28))
        found = [
            (type(layer).__name__, place.training)
            for layer, place in zip(row.layers, row.places, strict=True)
            if "Dropout" in type(layer).__name__
        ]
        assert found == [("Dropout2D", training), ("Dropout", training)]


@pytest.mark.parametrize("name", VIEWED)
def test_an_optimizer_keeps_its_state_in_the_layout_of_the_parameters(name: str) -> None:
    """Epochs in turns, by fit and by the loop, are those of the loop alone."""
    case = VIEWED[name]
    torch.manual_seed(7)
    ours = case.make().double()
    theirs = copy.deepcopy(ours)
    x, labels = torch.rand(24, *case.input_shape).double(), torch.arange(24) % 10
    data = DataLoader(TensorDataset(x, labels), batch_size=8)
    adams = [torch.optim.Adam(each.parameters(), lr=0.01) for each in (ours, theirs)]
    criterion = nn.CrossEntropyLoss()

    def loop(module: Any, optimizer: Any) -> None:
        for images, classes in data:
            optimizer.zero_grad()
            criterion(module(images), classes).backward()
            optimizer.step()

    for turn in range(4):
        loop(theirs, adams[1])
        if turn % 2:
            loop(ours, adams[0])
        else:
            front.fit(ours, data, criterion=criterion, optimizer=adams[0])
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_within(found.detach().numpy(), expected.detach().numpy(), 1e-9)
        for kind in ("exp_avg", "exp_avg_sq"):
            found_state, expected_state = (
                adam.state[each][kind] for adam, each in zip(adams, (found, expected), strict=True)
            )
            assert_within(found_state.numpy(), expected_state.numpy(), 1e-9)


def test_batch_norm_is_read_where_it_is_frozen() -> None:
    module = FrozenNorm()
    with pytest.raises(ValueError, match="one image at a time in training, got batch_norm; from_"):
        reading.read(module, (1, 28, 28))
    row = reading.read(module.eval(), (1, 28, 28))
    network = row.network(row.output, None)
    assert kinds(network)[:2] == ["Conv2D", "Conv2D"]
    trained = {id(each) for each in row.tensors(network).values()}
    assert trained == {id(each) for each in module.parameters() if each.requires_grad}


def test_options_of_our_functions_are_read() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 10)

        def forward(self, x: Any) -> Any:
            x = front.functional.leaky_relu(x, slope=0.2)
            x = front.functional.gelu(x, approximate="tanh", backend="numpy")
            return self.linear(front.functional.elu(x, alpha=0.5).flatten(1))

    network = front.from_torch(Net(), (1, 4, 4))
    assert [layer.arguments for layer in network.layers[:-1]] == [
        {"slope": 0.2},
        {"approximate": "tanh"},
        {"alpha": 0.5},
    ]


@pytest.mark.parametrize("kind", [nn.Identity, nn.Tanh])
def test_a_network_needs_layers_and_vectors_at_its_end(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^module: expected .*, got "):
        front.from_torch(kind(), (1, 4, 4))


def test_maps_of_one_pixel_are_outputs() -> None:
    module = MapsOfOnePixel().double()
    x = torch.rand(3, 1, 28, 28).double()
    expected = module(x).detach()
    found = front.from_torch(module).predict(x.numpy())
    assert_within(found, expected.flatten(1).numpy(), 1e-12)
    wrapped = front.wrap(module)(x)
    assert wrapped.shape == expected.shape
    assert_within(wrapped.detach().numpy(), expected.numpy(), 1e-12)


@pytest.mark.parametrize("name", ["TableInALoop", "TableOfModules"])
def test_a_table_of_convolutions_is_trained_by_one_module(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected one convolution, got 4 of .*Conv2d\(conn"):
        reading.read(CONVERTED[name].make(), (1, 28, 28))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("SiLU", "of lenet_fast.torch work among PyTorch's"),
        ("UnevenWindows", "kernel_size and a stride"),
        ("SoftmaxOverImages", "dim=1"),
    ],
)
def test_refusals_name_the_way_out(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        front.from_torch(REFUSED[name][0].make(), (1, 28, 28))
