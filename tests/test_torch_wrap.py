"""Wrapped modules, judged by the same modules unwrapped, in the same loops."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import re
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers import require

torch = require("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from torch.nn.utils import prune  # noqa: E402
from torch_modules import TRAINED  # noqa: E402

from lenet_fast import torch as front  # noqa: E402
from lenet_fast.torch.wrapping import wrapper_of  # noqa: E402

STEPS, SIZE = 24, 6
BOUND = 1e-9  # on weights after so many steps in float64


pytestmark = pytest.mark.usefixtures("calm_torch")


def plain(end: Any = None, dtype: Any = torch.float64) -> Any:
    """Return a small LeNet for images of 28 x 28."""
    rows = [
        *(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(216, 16), nn.ReLU(), nn.Linear(16, 10)),
    ]
    return nn.Sequential(*rows, *([] if end is None else [end])).to(dtype)


def both(module: Any) -> tuple[Any, Any]:
    """Return a copy, and the module wrapped."""
    other = copy.deepcopy(module)
    return other, front.wrap(module)


def images(n: int = SIZE, dtype: Any = torch.float64) -> Any:
    return torch.rand(n, 1, 28, 28, dtype=dtype)


def batches() -> list[tuple[Any, Any]]:
    """Return images and labels; the last batch is smaller, as a loader's is."""
    sizes = [*[SIZE] * (STEPS - 1), SIZE // 2]
    return [(images(n), torch.randint(10, (n,))) for n in sizes]


def gap(found: Any, expected: Any) -> float:
    """Return the largest difference of parameters, or of gradients by the same names."""
    rows = zip(found.parameters(), expected.parameters(), strict=True)
    return max(float((one - other).detach().abs().max()) for one, other in rows)


def complains(kind: type[Exception], message: str) -> Any:
    return pytest.raises(kind, match=re.escape(message))


def with_closure(optimizer: Any, module: Any, criterion: Any, x: Any, y: Any) -> None:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = criterion(module(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)


def loop(optimizer: Callable[[Any], Any], criterion: Any = F.cross_entropy) -> Any:
    """Return the usual loop."""

    def train(module: Any, data: Any) -> None:
        made = optimizer(module.parameters())
        for x, y in data:
            with_closure(made, module, criterion, x, y)

    return train


def one_hot(outputs: Any, y: Any) -> Any:
    return F.mse_loss(outputs, F.one_hot(y, 10).to(outputs.dtype))


def own(outputs: Any, y: Any) -> Any:
    """A criterion that no library has: a margin, and a penalty on large outputs."""
    right = outputs.gather(1, y[:, None])
    return (1 + outputs - right).clamp(min=0).sum(1).mean() + 0.01 * outputs.square().mean()


def sgd(parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "Nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "dampening": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.2),
    "maximize": lambda p: torch.optim.SGD(p, lr=1e-3, maximize=True),
    "Adam with L2": lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=1e-3),
    "AMSGrad": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "Adadelta": lambda p: torch.optim.Adadelta(p),
    "Adagrad": lambda p: torch.optim.Adagrad(p),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.05, max_iter=2),
}

CRITERIA = {
    "CrossEntropyLoss": nn.CrossEntropyLoss(),
    "label smoothing": nn.CrossEntropyLoss(label_smoothing=0.1),
    "class weights": nn.CrossEntropyLoss(torch.linspace(0.5, 1.5, 10, dtype=torch.float64)),
    "sum": lambda outputs, y: F.cross_entropy(outputs, y, reduction="sum") / 8,
    "MSELoss": one_hot,
    "margins": nn.MultiMarginLoss(),
    "own": own,
}


def clipped(module: Any, data: Any) -> None:
    optimizer, norms = sgd(module.parameters()), []
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()
        norms.append(nn.utils.clip_grad_norm_(module.parameters(), 0.5))
        optimizer.step()
    assert any(norm > 0.5 for norm in norms)


def scheduled(module: Any, data: Any) -> None:
    optimizer = sgd(module.parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=len(data))
    for x, y in data:
        with_closure(optimizer, module, F.cross_entropy, x, y)
        scheduler.step()


def masked(module: Any, data: Any) -> None:
    """As the scripts of lottery tickets do: pruned weights stay where they are."""
    with torch.no_grad():
        for p in module.parameters():
            p.data = p.data * (p.abs() > 0.05)
    optimizer = sgd(module.parameters())
    for x, y in data:
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()
        for p in module.parameters():
            p.grad.data = torch.where(p.data.abs() < 1e-6, 0, p.grad.data)
        optimizer.step()


def accumulated(module: Any, data: Any) -> None:
    optimizer = sgd(module.parameters())
    for step, (x, y) in enumerate(data):
        (F.cross_entropy(module(x), y) / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad(set_to_none=step % 4 == 1)


def two_at_once(module: Any, data: Any) -> None:
    """Two forward passes with images of their own, then one backward pass through both."""
    optimizer = sgd(module.parameters())
    for (x, y), (other, z) in zip(data[::2], data[1::2], strict=True):
        optimizer.zero_grad()
        one, two = module(x), module(other)
        (F.cross_entropy(one, y) + 0.3 * F.cross_entropy(two, z)).backward()
        optimizer.step()


def twice_through(module: Any, data: Any) -> None:
    """One graph, of which two losses are taken one after the other."""
    optimizer = sgd(module.parameters())
    for x, y in data:
        optimizer.zero_grad()
        outputs = module(x)
        F.cross_entropy(outputs, y).backward(retain_graph=True)
        outputs.square().mean().backward()
        optimizer.step()


def frozen(module: Any, data: Any) -> None:
    """The first layers stay, then thaw."""
    module[0].requires_grad_(False)
    module[3].bias.requires_grad_(False)
    optimizer = sgd(module.parameters())
    for step, (x, y) in enumerate(data):
        if step == STEPS // 2:
            assert module[0].weight.grad is None
            module.requires_grad_(True)
        with_closure(optimizer, module, F.cross_entropy, x, y)


def by_hand(module: Any, data: Any) -> None:
    """Without an optimizer; new memory in each step."""
    for x, y in data:
        grads = torch.autograd.grad(F.cross_entropy(module(x), y), list(module.parameters()))
        for p, grad in zip(module.parameters(), grads, strict=True):
            p.data = p.data - 0.1 * grad


def hooked(module: Any, data: Any) -> None:
    """Hooks on parameters, and on the module's outputs."""
    for p in module.parameters():
        p.register_hook(lambda grad: grad.clamp(-0.01, 0.01))
    optimizer = sgd(module.parameters())
    for x, y in data:
        optimizer.zero_grad()
        outputs = module(x)
        outputs.register_hook(lambda grad: 2 * grad)
        F.cross_entropy(outputs, y).backward()
        optimizer.step()


def evaluated(module: Any, data: Any) -> None:
    """An epoch, a look at the test set, the best state kept and loaded again."""
    optimizer, losses, best = sgd(module.parameters()), [], {}
    for x, y in data:
        module.train()
        with_closure(optimizer, module, F.cross_entropy, x, y)
        module.eval()
        with torch.no_grad():
            losses.append(F.cross_entropy(module(data[0][0]), data[0][1]).item())
        if losses[-1] == min(losses):
            best = copy.deepcopy(module.state_dict())
    module.load_state_dict(best)


def adversarial(module: Any, data: Any) -> None:
    """Train on images that the fast gradient sign method has changed (Goodfellow et al. 2015)."""
    optimizer = sgd(module.parameters())
    for x, y in data:
        seen = x.clone().requires_grad_()
        (dx,) = torch.autograd.grad(F.cross_entropy(module(seen), y), seen)
        with_closure(optimizer, module, F.cross_entropy, x + 0.01 * dx.sign(), y)


LOOPS = {
    "clipping": clipped,
    "scheduler": scheduled,
    "masks": masked,
    "accumulation": accumulated,
    "two at once": two_at_once,
    "twice through": twice_through,
    "frozen": frozen,
    "by hand": by_hand,
    "hooks": hooked,
    "evaluation": evaluated,
    "adversarial": adversarial,
    **{name: loop(optimizer) for name, optimizer in OPTIMIZERS.items()},
    **{name: loop(sgd, criterion) for name, criterion in CRITERIA.items()},
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_gives_the_weights_that_it_gives_without(name: str) -> None:
    expected, found = both(plain())
    data = batches()
    start = copy.deepcopy(expected)
    for module in (expected, found):
        LOOPS[name](module, data)
    assert gap(expected, start) > 1e-3
    assert gap(found, expected) < BOUND


@pytest.mark.parametrize("end", [nn.LogSoftmax(dim=1), nn.Softmax(dim=-1)])
def test_a_softmax_at_the_end(end: Any) -> None:
    expected, found = both(plain(end))
    logarithms = isinstance(end, nn.LogSoftmax)
    data = batches()
    for module in (expected, found):
        loop(sgd, F.nll_loss if logarithms else one_hot)(module, data)
    assert gap(found, expected) < BOUND
    sums = found(data[0][0]).exp().sum(1) if logarithms else found(data[0][0]).sum(1)
    assert (sums - 1).abs().max() < 1e-12


def test_our_own_modules_and_buffers() -> None:
    module = nn.Sequential(
        *(nn.Conv2d(1, 4, 5), front.ScaledTanh(), front.SubSampling2d(4), front.ScaledTanh()),
        *(nn.Flatten(), nn.Linear(576, 84, bias=False), front.ScaledTanh(), front.RBF()),
    ).double()
    expected, found = both(module)
    data = batches()
    for one in (expected, found):
        loop(lambda p: torch.optim.SGD(p, lr=1e-3), front.MAPLoss(1.0))(one, data)
    assert gap(found, expected) < BOUND


def test_gradients_are_those_of_central_differences() -> None:
    module = front.wrap(plain())
    x = images(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (x, module[0].weight, module[9].bias))


def test_gradients_at_the_images() -> None:
    """Saliency: the images alone require a gradient."""
    expected, found = both(plain().requires_grad_(False))
    given = [images(3)]
    given = [given[0].clone().requires_grad_(), given[0].clone().requires_grad_()]
    for module, x in zip((expected, found), given, strict=True):
        module(x)[:, 3].sum().backward()
    assert (given[0].grad - given[1].grad).abs().max() < 1e-12
    assert found[0].weight.grad is None
    assert not found(images(3)).requires_grad


def test_float32() -> None:
    expected, found = both(plain(dtype=torch.float32))
    for n in (1, 7, 64):
        x = images(n, torch.float32)
        assert (found(x) - expected(x)).abs().max() < 1e-6
        with torch.no_grad():
            assert (found(x) - expected(x)).abs().max() < 1e-6
        for module in (expected, found):
            module.zero_grad()
            module(x).logsumexp(1).mean().backward()
        for one, other in zip(found.parameters(), expected.parameters(), strict=True):
            assert (one.grad - other.grad).abs().max() < 1e-5 * other.grad.abs().max()


def test_images_of_any_layout_and_number() -> None:
    expected, found = both(plain())
    x = images(8)
    for view in (x[::2], x.flip(0), x.transpose(2, 3), x.to(memory_format=torch.channels_last)):
        assert (found(view) - expected(view)).abs().max() < 1e-12
    empty = x[:0].requires_grad_()
    found(empty).sum().backward()
    assert empty.grad.shape == empty.shape
    assert all(not p.grad.any() for p in found.parameters())


# --- modules of any class ---


@pytest.mark.filterwarnings("ignore:Implicit dimension choice", "ignore:Lazy modules are a new")
@pytest.mark.parametrize("name", TRAINED)
def test_modules_of_any_class(name: str) -> None:
    """In evaluation mode, where dropout drops nothing; gradients are the same."""
    case = TRAINED[name]
    expected = case.make().double().eval()
    found = front.wrap(case.make().double().eval(), output=case.output)
    found.load_state_dict(expected.state_dict())
    data = [torch.randn(8, *case.input_shape, dtype=torch.float64) for _ in range(20)]
    for module in (expected, found):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
        for x in data:
            optimizer.zero_grad()
            outputs = module(x)
            if case.output is not None and module is expected:
                outputs = outputs[case.output]
            if isinstance(outputs, tuple):
                outputs = torch.cat([each for each in outputs if each is not None], 1)
            outputs.square().mean().backward()
            optimizer.step()
    assert gap(found, expected) < BOUND


def test_all_outputs_that_differ_by_a_softmax() -> None:
    class Two(nn.Module):
        """Logits and probabilities, as in a much-copied article."""

        def __init__(self, kind: Any) -> None:
            super().__init__()
            self.body, self.kind = plain(), kind

        def forward(self, x: Any) -> Any:
            outputs = self.body(x)
            found = outputs, F.softmax(outputs, dim=1)
            return dict(zip("ab", found, strict=True)) if self.kind is dict else self.kind(found)

    x = images()
    for kind in (tuple, list, dict):
        expected, found = both(Two(kind))
        outputs = found(x)
        assert type(outputs) is kind
        rows = outputs.values() if kind is dict else outputs
        others = expected(x).values() if kind is dict else expected(x)
        assert all(
            (one - other).abs().max() < 1e-12 for one, other in zip(rows, others, strict=True)
        )
        assert all(row.requires_grad for row in rows)
        chosen = front.wrap(copy.deepcopy(expected), output="b" if kind is dict else 1)
        assert (chosen(x).sum(1) - 1).abs().max() < 1e-12


class Optional(nn.Module):
    """With further arguments of its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = plain()

    def forward(self, images: Any, embed: bool = False, scale: Any = None) -> Any:
        x = self.body(images)
        return x if scale is None else scale * x


def test_further_arguments_are_defaults() -> None:
    expected, found = both(Optional())
    x = images()
    for outputs in (found(x, False), found(x, embed=False), found(images=x, scale=None)):
        assert (outputs - expected(x)).abs().max() < 1e-12
    for options in ({"embed": True}, {"scale": torch.ones(10)}):
        with complains(TypeError, f"{next(iter(options))}: expected the default, "):
            found(x, **options)
    with pytest.raises(TypeError, match="missing a required argument: 'images'"):
        found()


def test_batch_norm_needs_no_freezing_where_no_gradients_are_needed() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(2304, 10))
    expected, found = both(module.double().eval())
    x = images()
    for _ in range(2):
        with torch.no_grad():
            assert (found(x) - expected(x)).abs().max() < 1e-12
        with complains(ValueError, "expected functions of one image at a time in training"):
            found(x)
        for each in (expected, found):
            each[1].weight.data.mul_(1.5)
            each[1].running_mean.add_(0.1)
    with torch.no_grad(), complains(ValueError, "one image at a time in training"):
        found.train()(x)


class Several(nn.Module):
    """With outputs that are made of others, in several ways."""

    def __init__(self, ending: Any) -> None:
        super().__init__()
        self.body, self.last, self.ending = plain(), nn.Linear(10, 4), ending

    def forward(self, x: Any) -> Any:
        return self.ending(self, self.body(x))


SEVERAL = {
    "class numbers": lambda self, x: (x, torch.max(x, 1)[1]),
    "temperatures": lambda self, x: [x / 2, x / 3],
    "features": lambda self, x: {"logits": self.last(x), "features": x},
    "probabilities and features": lambda self, x: (F.softmax(self.last(x), 1), x),
    "a penalty": lambda self, x: (x, self.last.weight.norm()),
    "nothing": lambda self, x: (x, None),
    "nested": lambda self, x: (self.last(x), [x, x.tanh()]),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_outputs_that_are_made_of_others(name: str) -> None:
    """The functions after the last common value are PyTorch's, on the parameters as they are."""
    expected, found = both(Several(SEVERAL[name]).double())
    x = images()
    for _ in range(3):
        torch.testing.assert_close(found(x), expected(x), rtol=0, atol=1e-12)
        for module in (expected, found):
            module.zero_grad()
            outputs = module(x)
            rows = list(outputs.values() if isinstance(outputs, dict) else outputs)
            rows += rows.pop() if isinstance(rows[-1], list) else []
            sum(
                each.square().sum()
                for each in rows
                if each is not None and each.is_floating_point()
            ).backward()
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.grad is not None:
                        parameter -= 1e-4 * parameter.grad
        assert gap(found, expected) < BOUND
    found.last = copy.deepcopy(found.last)
    torch.testing.assert_close(found(x), expected(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "ending",
    [
        lambda self, x: (x, F.dropout(x)),
        lambda self, x: (x, x.view(x.shape[0], 2, 5)),
        lambda self, x: (x, len(x)),
        lambda self, x: (x, x + self.last.weight.sum() * x),
    ],
)
def test_other_outputs_must_be_chosen(ending: Any) -> None:
    expected, found = both(Several(ending).double())
    x = images()
    with complains(ValueError, "output= chooses one of 0, 1"):
        found(x)
    assert (front.wrap(found, output=0)(x) - expected(x)[0]).abs().max() < 1e-12


def test_outputs_of_maps_must_be_chosen() -> None:
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain()

        def forward(self, x: Any) -> Any:
            maps = self.body[0](x)
            return self.body[1:](maps), maps

    expected, found = both(Maps())
    x = images()
    with complains(ValueError, "output= chooses one of 0, 1"):
        found(x)
    assert (front.wrap(found, output=0)(x) - expected(x)[0]).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["MaskedMaps", "MaskedByTable"])
def test_masks_are_what_they_are_now(name: str) -> None:
    expected, found = both(TRAINED[name].make().double())
    x = images()
    key = "mask" if name == "MaskedMaps" else "table"
    for change in (lambda mask: mask.mul_(0), lambda mask: mask.fill_(1), torch.ones_like):
        for module in (expected, found):
            setattr(module, key, change(getattr(module, key)))
        assert (found(x) - expected(x)).abs().max() < 1e-12


def test_pruned_modules() -> None:
    """Weights are pruned, trained, pruned again, trained, and made plain parameters."""
    expected, found = both(plain())
    data = batches()
    for module in (expected, found):
        torch.manual_seed(4)
        for _ in range(2):
            prune.random_unstructured(module[3], "weight", 0.3)
            prune.l1_unstructured(module[7], "weight", 0.3)
            loop(sgd)(module, data)
    assert gap(found, expected) < BOUND
    assert float((found[3].weight_mask == 0).float().mean()) > 0.4
    for module in (expected, found):
        prune.remove(module[3], "weight")
        loop(sgd)(module, data)
    assert gap(found, expected) < BOUND
    assert isinstance(found[3].weight, nn.Parameter)


def test_other_functions_read_a_wrapped_module() -> None:
    expected, found = both(plain(dtype=torch.float32))
    x = images(dtype=torch.float32)
    found(x)
    network = front.from_torch(found, (1, 28, 28))
    assert abs(network.predict(x.numpy()) - expected(x).detach().numpy()).max() < 1e-5
    data = torch.utils.data.TensorDataset(x, torch.arange(SIZE))
    for module in (expected, found):
        front.fit(
            module,
            torch.utils.data.DataLoader(data, SIZE),
            criterion=nn.CrossEntropyLoss(),
            optimizer=sgd(module.parameters()),
        )
    assert gap(found, expected) == 0
    assert (found(x) - expected(x)).abs().max() < 1e-6


# --- dropout ---


def dropping() -> Any:
    rows = (nn.Conv2d(1, 4, 5), nn.Dropout2d(0.3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5))
    return nn.Sequential(*rows, nn.Linear(2304, 10)).double()


def test_dropout_drops_in_training_alone() -> None:
    expected, found = both(dropping())
    x = images()
    one, two = found(x), found(x)
    assert (one - two).abs().max() > 1e-3
    expected.eval(), found.eval()
    assert (found(x) - expected(x)).abs().max() < 1e-12
    found[1].train()
    assert (found(x) - expected(x)).abs().max() > 1e-3
    found.train()
    torch.manual_seed(5)
    again = found(x)
    torch.manual_seed(5)
    assert torch.equal(found(x), again)


def test_dropout_keeps_the_expectation() -> None:
    expected, found = both(dropping()[:2].append(nn.Flatten()).append(dropping()[-1]))
    x = images(1)
    outputs = torch.stack([found(x) for _ in range(300)])
    deviation = outputs.std(0) / 300**0.5
    assert ((outputs.mean(0) - expected.eval()(x)).abs() < 5 * deviation).all()


def test_gradients_with_dropout_are_those_of_its_draw() -> None:
    module = front.wrap(dropping())
    x = images(2).requires_grad_()

    def run(x: Any, *_: Any) -> Any:
        torch.manual_seed(3)
        return module(x)

    assert torch.autograd.gradcheck(run, (x, module[0].weight))


# --- what a script does with a module besides ---


class Named(nn.Module):
    """Attributes and methods of its own, around a sequence."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.body, self.classes = inner, 10
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x: Any) -> Any:
        return self.scale * self.body(x)


def test_the_module_is_still_itself() -> None:
    module = plain()
    names, parameters = list(module.state_dict()), list(module.parameters())
    text = repr(module)
    assert front.wrap(module) is module
    assert type(module) is nn.Sequential
    assert list(module.state_dict()) == names
    assert all(map(lambda one, two: one is two, module.parameters(), parameters))
    assert repr(module) == text
    assert module[3].out_channels == 6
    assert front.wrap(module) is module  # again
    outputs = module(images())
    del module.forward
    assert "forward" not in vars(module)
    assert outputs.grad_fn.name() == "_PassBackward"
    assert module(images()).grad_fn.name() == "AddmmBackward0"


def test_inside_a_larger_module() -> None:
    expected, found = map(Named, both(plain()))
    data = batches()
    for module in (expected, found):
        loop(sgd)(module, data)
    assert gap(found, expected) < BOUND


def test_several_at_once() -> None:
    pairs = [both(plain()) for _ in range(2)]
    data = batches()
    for index in range(2):
        teacher, student = (pair[index] for pair in pairs)
        optimizer = sgd(student.parameters())
        for x, _ in data:
            optimizer.zero_grad()
            with torch.no_grad():
                soft = teacher(x).softmax(1)
            F.cross_entropy(student(x), soft).backward()
            optimizer.step()
    assert all(gap(found, expected) < BOUND for expected, found in pairs)


def copied(module: Any) -> Any:
    return copy.deepcopy(module)


def pickled(module: Any) -> Any:
    return pickle.loads(pickle.dumps(module))


def saved(module: Any) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("way", [copied, pickled, saved])
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_is_wrapped_and_independent(way: Any, used: bool) -> None:
    expected, found = both(plain())
    x = images()
    if used:
        found(x)
    other = way(found)
    assert wrapper_of(other) is not None
    with torch.no_grad():
        other[0].weight.zero_()
        assert (found(x) - expected(x)).abs().max() < 1e-12
        expected[0].weight.zero_()
        assert (other(x) - expected(x)).abs().max() < 1e-12


def test_checkpoints_load_both_ways() -> None:
    expected, found = both(plain())
    other = plain()
    x = images()
    for assign in (False, True):
        found(x)
        found.load_state_dict(other.state_dict(), assign=assign)
        assert (found(x) - other(x)).abs().max() < 1e-12
        other.load_state_dict(expected.state_dict())
    other.load_state_dict(found.state_dict())
    assert (found(x) - other(x)).abs().max() < 1e-12


def wider(module: Any) -> None:
    module[9] = nn.Linear(16, 4, dtype=torch.float64)


def other_weights(module: Any) -> None:
    module[0].weight = nn.Parameter(module[0].weight.detach() / 2)


def other_data(module: Any) -> None:
    module[3].weight.data = module[3].weight.data / 2


def other_option(module: Any) -> None:
    module[2].stride = 1
    module[7] = nn.Linear(6 * 12 * 12, 16, dtype=torch.float64)


def other_dtype(module: Any) -> None:
    module.float()


def turned(module: Any) -> None:
    """A square kernel, transposed in the same memory."""
    module[0].weight.data = module[0].weight.data.transpose(2, 3)


CHANGES = [wider, other_weights, other_data, other_option, other_dtype, turned]


@pytest.mark.parametrize("change", CHANGES)
def test_a_module_that_changes_is_read_again(change: Any) -> None:
    expected, found = both(plain())
    before = found(images())
    for module in (expected, found):
        with torch.random.fork_rng(devices=[]):
            change(module)
    x = images(dtype=found[0].weight.dtype)
    bound = 1e-12 if x.dtype == torch.float64 else 1e-6
    assert (found(x) - expected(x)).abs().max() < bound
    assert before.shape != found(x).shape or before.dtype != x.dtype or not before.equal(found(x))


def normed() -> Any:
    module = nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(2304, 10))
    module[1].running_var.uniform_(0.5, 2)
    module[1].running_mean.normal_()
    return module.double()


def test_frozen_batch_norm_is_followed() -> None:
    expected, found = both(normed().eval())
    other, x = normed().state_dict(), images()
    for module in (expected, found):
        module[1].requires_grad_(False)
    data = batches()
    for module in (expected, found):
        loop(lambda p: torch.optim.SGD(p, lr=1e-3))(module, data)
    assert gap(found, expected) < BOUND
    for module in (expected, found):
        module.load_state_dict(other)
    assert (found(x) - expected(x)).abs().max() < 1e-12
    found[1].weight.requires_grad_(True)
    with complains(ValueError, "got batch_norm"):
        found(x)
    found[1].requires_grad_(False)
    found.train()
    with complains(ValueError, "got batch_norm"):
        found(x)


def test_a_module_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from lenet_fast.torch import passes

    readings: list[Any] = []
    made = passes.Reading.__init__
    monkeypatch.setattr(
        passes.Reading, "__init__", lambda *given: (readings.append(given), made(*given))[1]
    )
    module = front.wrap(plain())
    evaluated(module, batches())
    assert len(readings) == 2  # in training and in evaluation


@pytest.mark.parametrize(("maps", "noted"), [(4, False), (64, True)])
def test_large_layers_are_noted_once(
    maps: int, noted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    layers = (nn.Conv2d(1, maps, 3), nn.Conv2d(maps, maps, 3), nn.AvgPool2d(24), nn.Flatten())
    module = front.wrap(nn.Sequential(*layers, nn.Linear(maps, 10)))
    for _ in range(2):
        module(images(2, torch.float32))
        module.eval()
    assert [record.name for record in caplog.records] == ["lenet_fast.torch.wrapping"] * noted


def test_threads_share_a_module() -> None:
    expected, found = both(plain())
    x = images(40)
    outputs: dict[int, Any] = {}

    def run(n: int) -> None:
        for _ in range(10):
            outputs[n] = found(x[:n])

    threads = [threading.Thread(target=run, args=(n,)) for n in (1, 17, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((outputs[n] - expected(x[:n])).abs().max() < 1e-12 for n in (1, 17, 40))


def test_threads_are_those_of_pytorch_or_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_FAST_THREADS", "3")
    module = front.wrap(plain())
    given = front.wrap(plain(), threads=2)
    x = images()
    for threads in (2, 4):
        torch.set_num_threads(threads)
        assert wrapper_of(module).reading(x).engine.threads == min(threads, 3)
        assert wrapper_of(given).reading(x).engine.threads == 2


def test_a_module_that_nobody_has_is_freed() -> None:
    module = front.wrap(plain())
    module(images()).sum().backward()
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("build", ["numpy", "numba", "cython"])
def test_every_backend(build: str) -> None:
    require(f"lenet_fast.backends.{build}_backend")
    expected = plain()
    found = front.wrap(copy.deepcopy(expected), backend=build)
    data = batches()[:3]
    for module in (expected, found):
        loop(sgd)(module, data)
    assert wrapper_of(found).reading(data[0][0]).engine.backend == build
    assert gap(found, expected) < 1e-12


# --- gradients per example ---


def of_each(module: Any, criterion: Any, x: Any, y: Any) -> dict[str, Any]:
    """Return what PyTorch's own transforms give."""
    parameters = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        return criterion(torch.func.functional_call(module, parameters, x[None]), y[None])

    return torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, x, y)


def clipped_sum(each: dict[str, Any], clip: float) -> dict[str, Any]:
    """Return the sum of gradients that are scaled one by one."""
    sums = {name: torch.zeros_like(gradient[0]) for name, gradient in each.items()}
    for i in range(len(next(iter(each.values())))):
        norm = torch.cat([gradient[i].flatten() for gradient in each.values()]).norm()
        for name, gradient in each.items():
            sums[name] += gradient[i] * min(1, clip / norm)
    return sums


class ByHand(nn.Module):
    """Weights that lie transposed, and a bias of another shape."""

    def __init__(self) -> None:
        super().__init__()
        numbers = torch.randn(784, 10, dtype=torch.float64)
        self.w = nn.Parameter(0.05 * numbers)
        self.b = nn.Parameter(torch.zeros(1, 10, dtype=torch.float64))

    def forward(self, x: Any) -> Any:
        return x.flatten(1) @ self.w + self.b


def targets(y: Any) -> Any:
    return F.one_hot(y, 10).double()


PER_EXAMPLE = {
    "cross entropy": (plain, None, None),
    "label smoothing": (plain, nn.CrossEntropyLoss(label_smoothing=0.2), None),
    "log softmax": (lambda: plain(nn.LogSoftmax(dim=1)), nn.NLLLoss(), None),
    "squared error": (plain, nn.MSELoss(), targets),
    "frozen": (lambda: frozen_below(plain()), None, None),
    "pruned": (lambda: pruned_below(plain()), None, None),
    "by hand": (ByHand, None, None),
    "no bias": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10, bias=False)).double(),
        *2 * [None],
    ),
}


def pruned_below(module: Any) -> Any:
    torch.manual_seed(6)
    prune.random_unstructured(module[0], "weight", 0.4)
    return module


def frozen_below(module: Any) -> Any:
    module[0].requires_grad_(False)
    return module


@pytest.mark.parametrize("name", PER_EXAMPLE)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradients_per_example(name: str, clip: float | None) -> None:
    make, criterion, targets_of = PER_EXAMPLE[name]
    module = make()
    x, y = images(20), torch.randint(10, (20,))
    y = y if targets_of is None else targets_of(y)
    expected = of_each(module, criterion or F.cross_entropy, x, y)
    if clip is not None:
        norms = sum(each.flatten(1).square().sum(1) for each in expected.values()).sqrt()
        clip = float(norms.median())  # so that some are scaled, and some are not
        expected = clipped_sum(expected, clip)
    options = {} if criterion is None else {"criterion": criterion}
    for given in (module, front.wrap(module)):
        found = front.per_example_gradients(given, x, y, clip=clip, **options)
        assert list(found) == list(expected)
        for name, gradient in expected.items():
            assert found[name].shape == gradient.shape
            assert (found[name] - gradient).abs().max() < 1e-12


def test_gradients_per_example_with_dropout_and_of_none() -> None:
    module = front.wrap(dropping())
    x, y = images(), torch.randint(10, (SIZE,))
    torch.manual_seed(2)
    each = front.per_example_gradients(module, x, y)
    torch.manual_seed(2)
    F.cross_entropy(module(x), y, reduction="sum").backward()
    for name, parameter in module.named_parameters():
        assert (each[name].sum(0) - parameter.grad).abs().max() < 1e-12
    none = front.per_example_gradients(module, x[:0], y[:0])
    assert none["0.weight"].shape == (0, 4, 1, 5, 5)
    none = front.per_example_gradients(module, x[:0], y[:0], clip=1.0)
    assert not none["0.weight"].any()


def test_gradients_per_example_refuse_what_they_cannot_do() -> None:
    run, module, x, y = front.per_example_gradients, plain(), images(), torch.arange(SIZE)
    with complains(TypeError, "module: expected an nn.Module, got"):
        run(nn.Linear, x, y)
    with complains(ValueError, "module: expected no last softmax for CrossEntropyLoss"):
        run(plain(nn.Softmax(dim=1)), x, y)
    with complains(ValueError, "labels: expected labels from 0 to 9, got 10"):
        run(module, x, y + 5)
    with complains(ValueError, "labels: expected shape (6,)"):
        run(module, x, y[1:])
    with complains(TypeError, "criterion: expected"):
        run(module, x, y, criterion=nn.MultiMarginLoss())
    with complains(ValueError, "clip: expected"):
        run(module, x, y, clip=0.0)
    with complains(ValueError, "clip: expected"):
        run(frozen_below(module), x, y, clip=0.0)
    with complains(TypeError, "x: expected a tensor of images, got"):
        run(module, x.numpy(), y)
    with complains(ValueError, "output: expected None for a module of one output, got 1"):
        run(module, x, y, output=1)


# --- what is refused ---


def test_changes_between_the_passes_are_noticed() -> None:
    for change in (
        lambda module, x: module[0].weight.data.add_(0) is module[3].weight.add_(0),
        lambda module, x: x.mul_(2),
    ):
        module, x = front.wrap(plain()), images()
        loss = module(x).sum()
        with torch.no_grad():
            change(module, x)
        with complains(RuntimeError, "modified by an inplace operation"):
            loss.backward()


def test_a_graph_that_is_gone_and_second_derivatives_are_refused() -> None:
    module, x = front.wrap(plain()), images().requires_grad_()
    loss = module(x).square().sum()
    loss.backward()
    with complains(RuntimeError, "a second time"):
        loss.backward()
    (dx,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    with complains(RuntimeError, "once_differentiable"):
        dx.sum().backward()
    with complains(RuntimeError, "setup_context"):
        torch.func.grad(lambda x: module(x).sum())(images())


WRONG = {
    "an array": (lambda: images().numpy(), TypeError, "x: expected a tensor of images, got"),
    "one image": (lambda: images()[0], ValueError, "for images of shape (28, 28)"),
    "one row": (
        lambda: images()[0, 0, 0],
        ValueError,
        "expected images of shape (n, c, h, w), got",
    ),
    "float32": (lambda: images().float(), TypeError, "expected dtype float64"),
    "half": (lambda: images().half(), TypeError, "x: expected"),
    "complex": (lambda: images().cfloat(), TypeError, "x: expected"),
    "bytes": (lambda: images().byte(), TypeError, "x: expected"),
    "sparse": (lambda: images().to_sparse(), TypeError, "expected a dense tensor"),
    "meta": (lambda: images().to("meta"), TypeError, "expected a tensor on the CPU"),
    "two maps": (lambda: images().expand(-1, 2, -1, -1), ValueError, "to have 1 channels"),
    "another size": (lambda: images()[..., :20, :20], ValueError, "expected"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("gradients", [False, True])
def test_other_images_are_refused(name: str, gradients: bool) -> None:
    module = front.wrap(plain())
    make, kind, message = WRONG[name]
    with torch.set_grad_enabled(gradients), complains(kind, message):
        module(make())
    assert module(images()).shape == (SIZE, 10)


def unreadable(module: Any) -> Any:
    return nn.Sequential(*module, nn.Softplus())


def half(module: Any) -> Any:
    return module.half()


def with_hook(module: Any) -> Any:
    module[0].register_forward_hook(lambda *_: None)
    return module


def on_meta(module: Any) -> Any:
    return module.to("meta")


def shared(module: Any) -> Any:
    module[7].bias.data = module[7].weight.data[0, :16]
    return module


@pytest.mark.parametrize("spoil", [unreadable, half, with_hook, on_meta, shared])
@pytest.mark.parametrize("used", [False, True])
def test_other_modules_are_refused(spoil: Any, used: bool) -> None:
    module = front.wrap(plain())
    if used:
        module(images())
    module = front.wrap(spoil(module))
    with pytest.raises((TypeError, ValueError), match=r"\w+: expected"):
        module(images())


def test_only_modules_without_a_forward_of_their_own_are_wrapped() -> None:
    with complains(TypeError, "module: expected an nn.Module, got"):
        front.wrap(nn.Sequential)
    module = plain()
    module.forward = lambda x: x
    with complains(ValueError, "module: expected one without its own forward, got Sequential"):
        front.wrap(module)


def test_tracing_and_export_are_refused() -> None:
    module = front.wrap(plain())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing itself
        with complains(RuntimeError, "forward: expected no tracing or export"):
            torch.jit.trace(module, images())
    # PyTorch 2.4 exports by compiling, which ends before.
    with pytest.raises(RuntimeError, match=r"forward: expected no tracing or export|disable"):
        torch.export.export(module, (images(),))


def test_compiled_code_calls_the_engines() -> None:
    expected, found = both(plain())
    compiled = torch.compile(found, backend="eager")
    x = images()
    compiled(x).square().sum().backward()
    expected(x).square().sum().backward()
    assert (found[0].weight.grad - expected[0].weight.grad).abs().max() < 1e-9
