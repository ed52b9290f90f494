"""Modules as people write LeNets: every idiom of the public ones that we counted, smaller.

`TRAINED` are read by ``from_torch`` and trained by ``fit`` and ``wrap``; `VIEWED`, whose parameters
have another layout than our layers', are not wrapped; `CONVERTED` are read by ``from_torch``
only; `REFUSED` are refused, with the line that says why.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from lenet_fast import torch as front
from lenet_fast.connections import LENET5_C3


class Case(NamedTuple):
    """A module, the images that it takes, and which of its outputs is meant."""

    make: Callable[[], Any]
    input_shape: tuple[int, ...] = (1, 28, 28)
    output: int | str | None = None


TRAINED: dict[str, Case] = {}
VIEWED: dict[str, Case] = {}
CONVERTED: dict[str, Case] = {}
REFUSED: dict[str, tuple[Case, str]] = {}  # with a part of the line


def trained(*args: Any, **options: Any) -> Callable[[type], type]:
    """Add a class to `TRAINED`."""

    def add(kind: type) -> type:
        TRAINED[kind.__name__] = Case(kind, *args, **options)
        return kind

    return add


def viewed(*args: Any, **options: Any) -> Callable[[type], type]:
    """Add a class to `VIEWED`."""

    def add(kind: type) -> type:
        VIEWED[kind.__name__] = Case(kind, *args, **options)
        return kind

    return add


def converted(*args: Any, **options: Any) -> Callable[[type], type]:
    """Add a class to `CONVERTED`."""

    def add(kind: type) -> type:
        CONVERTED[kind.__name__] = Case(kind, *args, **options)
        return kind

    return add


def refused(line: str, *args: Any) -> Callable[[type], type]:
    """Add a class to `REFUSED`."""

    def add(kind: type) -> type:
        REFUSED[kind.__name__] = Case(kind, *args), line
        return kind

    return add


class Base(nn.Module):
    """The usual layers, for classes that differ in ``forward``. 28 x 28 become 4 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 5)
        self.conv2 = nn.Conv2d(3, 4, 5)
        self.fc1 = nn.Linear(4 * 4 * 4, 12)
        self.fc2 = nn.Linear(12, 10)


# --- functional calls, and every way to flatten ---


@trained()
class FunctionalRelu(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = x.view(-1, 4 * 4 * 4)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


@trained()
class TutorialWithFeatures(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, self.num_flat_features(x))
        x = F.relu(self.fc1(x))
        x = self.fc2(x)
        return x

    def num_flat_features(self, x: Tensor) -> int:
        size = x.size()[1:]
        num_features = 1
        for s in size:
            num_features *= s
        return num_features


@trained()
class ExamplesMnist(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, 1)
        self.conv2 = nn.Conv2d(4, 6, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(864, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = F.relu(x)
        x = self.conv2(x)
        x = F.relu(x)
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = self.fc1(x)
        x = F.relu(x)
        x = self.dropout2(x)
        x = self.fc2(x)
        output = F.log_softmax(x, dim=1)
        return output


@trained()
class OldExamplesMnist(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv2_drop = nn.Dropout2d()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = x.view(-1, x.shape[1] * x.shape[2] * x.shape[3])
        x = F.relu(self.fc1(x))
        x = F.dropout(x, training=self.training)
        x = self.fc2(x)
        return F.log_softmax(x)


@trained()
class ViewOfSize(Base):
    def forward(self, x: Tensor) -> Tensor:
        in_size = x.size(0)
        x = F.tanh(F.avg_pool2d(self.conv1(x), kernel_size=2, stride=2))
        x = F.tanh(F.avg_pool2d(self.conv2(x), kernel_size=2, stride=2))
        x = x.view(in_size, -1)
        return self.fc2(torch.tanh(self.fc1(x)))


@trained()
class ViewOfShape(Base):
    def forward(self, img: Tensor) -> Tensor:
        feature = torch.sigmoid(self.conv1(img))
        feature = F.max_pool2d(feature, 2, 2)
        feature = self.conv2(feature).sigmoid()
        feature = F.max_pool2d(feature, 2, 2)
        output = self.fc1(feature.view(img.shape[0], -1))
        return self.fc2(F.sigmoid(output))


@trained()
class Reshaped(Base):
    def forward(self, input: Tensor) -> Tensor:
        input = self.conv1(input).relu()
        input = nn.functional.max_pool2d(input, kernel_size=(2, 2), stride=(2, 2))
        input = self.conv2(input).relu_()
        input = torch.max_pool2d(input, 2)
        input = input.reshape(input.size()[0], -1)
        return self.fc2(self.fc1(input).relu())


@trained()
class ReshapedToFour(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = F.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = x.reshape(-1, 4 * 4 * 4)
        return self.fc2(F.leaky_relu(self.fc1(x), 0.1))


@trained()
class FlattenMethod(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.elu(self.conv1(x)), 2)
        x = F.max_pool2d(F.gelu(self.conv2(x)), 2)
        x = x.flatten(1)
        x = F.gelu(self.fc1(x), approximate="tanh")
        return self.fc2(x).squeeze()


@trained()
class StartDim(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2), inplace=True)
        x = F.relu_(F.max_pool2d(self.conv2(x), 2))
        x = torch.flatten(x, start_dim=1)
        return F.softmax(self.fc2(F.relu(self.fc1(x))), dim=-1)


@trained((784,))
class VectorsIn(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 1, 28, 28)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        b, c, h, w = x.shape
        x = x.view(b, c * h * w)
        return self.fc2(F.relu(self.fc1(x)))


@trained((28, 28))
class PicturesWithoutMaps(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(start_dim=1, end_dim=-1))))


@trained()
class ProductOfSizes(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(len(x), int(torch.prod(torch.tensor(x.shape[1:]))))
        assert x.dim() == 2
        x = F.relu(self.fc1(x))
        return torch.log(torch.softmax(self.fc2(x), dim=1))


# --- modules, Sequentials and lists of them ---


@trained((1, 32, 32))
class Articles(nn.Module):
    """Of a much-copied article: C5 is a convolution, and both outputs are returned."""

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(
            *(nn.Conv2d(1, 3, kernel_size=5, stride=1), nn.Tanh(), nn.AvgPool2d(kernel_size=2)),
            *(nn.Conv2d(3, 4, kernel_size=5, stride=1), nn.Tanh(), nn.AvgPool2d(kernel_size=2)),
            *(nn.Conv2d(4, 12, kernel_size=5, stride=1), nn.Tanh()),
        )
        self.classifier = nn.Sequential(
            nn.Linear(12, 8),
            nn.Tanh(),
            nn.Linear(8, n_classes),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.feature_extractor(x)
        x = torch.flatten(x, 1)
        logits = self.classifier(x)
        probs = F.softmax(logits, dim=1)
        return logits, probs


TRAINED["Articles"] = TRAINED["Articles"]._replace(output=0)


@trained()
class SharedModules(Base):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, 2)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(p=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.drop(x)
        x = self.pool(self.relu(self.conv2(x)))
        x = x.view(x.size(0), -1)
        x = self.drop(self.relu(self.fc1(x)))
        return self.fc2(x)


@trained((1, 32, 32))
class Named(nn.Module):
    """C1, S2, C3, S4, C5, F6, OUTPUT."""

    def __init__(self) -> None:
        super().__init__()
        self.C1 = nn.Conv2d(in_channels=1, out_channels=3, kernel_size=(5, 5))
        self.S2 = nn.AvgPool2d(kernel_size=(2, 2), stride=2)
        self.C3 = nn.Conv2d(3, 4, 5)
        self.S4 = nn.AvgPool2d(2)
        self.C5 = nn.Conv2d(4, 12, 5)
        self.F6 = nn.Linear(12, 8)
        self.OUTPUT = nn.Linear(8, 10)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.C1(x))
        x = self.S2(x)
        x = self.act(self.C3(x))
        x = self.S4(x)
        x = self.act(self.C5(x))
        x = x.squeeze()
        x = self.act(self.F6(x))
        x = self.OUTPUT(x)
        return x


@trained()
class Ordered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convnet = nn.Sequential(
            OrderedDict(
                [
                    ("c1", nn.Conv2d(1, 3, kernel_size=(5, 5))),
                    ("relu1", nn.ReLU()),
                    ("s2", nn.MaxPool2d(kernel_size=(2, 2), stride=2)),
                    ("c3", nn.Conv2d(3, 4, kernel_size=(5, 5))),
                    ("relu3", nn.ReLU()),
                    ("s4", nn.MaxPool2d(kernel_size=(2, 2), stride=2)),
                ]
            )
        )
        self.fc = nn.Sequential(
            OrderedDict(
                [
                    ("f6", nn.Linear(64, 12)),
                    ("relu6", nn.ReLU()),
                    ("f7", nn.Linear(12, 10)),
                    ("sig7", nn.LogSoftmax(dim=-1)),
                ]
            )
        )

    def forward(self, img: Tensor) -> Tensor:
        output = self.convnet(img)
        output = output.view(img.size(0), -1)
        output = self.fc(output)
        return output


@trained()
class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(
            nn.Conv2d(1, 3, kernel_size=5, stride=1, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=2, stride=2),
        )
        self.layer2 = nn.Sequential(
            nn.Conv2d(3, 4, kernel_size=5, stride=1, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=2, stride=2),
        )
        self.drop_out = nn.Dropout()
        self.fc1 = nn.Linear(7 * 7 * 4, 12)
        self.fc2 = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer1(x)
        out = self.layer2(out)
        out = out.reshape(out.size(0), -1)
        out = self.drop_out(out)
        out = self.fc1(out)
        out = self.fc2(out)
        return out


class ConvBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 5, bias=False)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.activation(self.conv(x)), 2)


@trained()
class ListOfBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([ConvBlock(1, 3, torch.tanh), ConvBlock(3, 4, F.relu)])
        self.head = nn.ModuleDict({"hidden": nn.Linear(64, 12), "out": nn.Linear(12, 10)})

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        x = x.flatten(1)
        for name, layer in self.head.items():
            x = layer(x)
            if name != "out":
                x = x.tanh()
        return x


class Flatten(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size()[0], -1)


class Reshape(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 1, 28, 28)


class Subclassed(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            *(Reshape(), nn.Conv2d(1, 3, kernel_size=5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2)),
            *(nn.Conv2d(3, 4, kernel_size=5), nn.Sigmoid(), nn.AvgPool2d(2, stride=2), Flatten()),
            *(nn.Linear(100, 12), nn.Sigmoid(), nn.Linear(12, 8), nn.Sigmoid(), nn.Linear(8, 10)),
        )


TRAINED["d2l's Sequential"] = Case(Subclassed)
TRAINED["d2l's Sequential, rows"] = Case(Subclassed, (784,))


@trained()
class LazyD2l(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.LazyConv2d(3, kernel_size=5, padding=2), nn.Sigmoid()),
            *(nn.AvgPool2d(kernel_size=2, stride=2), nn.LazyConv2d(4, kernel_size=5)),
            *(nn.Sigmoid(), nn.AvgPool2d(kernel_size=2, stride=2), nn.Flatten()),
            *(nn.LazyLinear(12), nn.Sigmoid(), nn.LazyLinear(10)),
        )
        self.net(torch.randn(1, 1, 28, 28))

    def forward(self, X: Tensor) -> Tensor:
        return self.net(X)


@trained((3, 32, 32))
class Cifar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(4, 5, 5)
        self.fc1 = nn.Linear(5 * 5 * 5, 12)
        self.fc2 = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


@trained()
class SamePadding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 3, 5, padding="same")
        self.c2 = nn.Conv2d(3, 4, 5, padding="valid", stride=(1, 1))
        self.out = nn.Linear(100, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.MaxPool2d(2)(nn.ReLU()(self.c1(x)))  # modules made in forward
        x = F.max_pool2d(F.leaky_relu(self.c2(x)), 2, ceil_mode=True)
        return F.log_softmax(self.out(nn.Flatten()(x)), 1)


@trained()
class AdaptivePooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.ELU(alpha=0.5)),
            *(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2, inplace=True)),
        )
        self.pool = nn.AdaptiveMaxPool2d((4, 6))
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x))
        x = self.gap(x)
        return self.fc(x[:, :, 0, 0])


@trained()
class GlobalMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, stride=2)
        self.fc = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.relu(self.conv(x)), 2)
        x = F.adaptive_avg_pool2d(x, (None, 6))
        return self.fc(x.mean([2, 3]))


@trained()
class PoolOfTheRest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, 2)
        self.fc = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        x = F.max_pool2d(x, kernel_size=x.size()[2:])
        return self.fc(x.squeeze(-1).squeeze(-1))


@trained()
class PaddedByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d(2)
        self.conv1 = nn.Conv2d(1, 3, 5)
        self.conv2 = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4 * 7 * 7, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(self.pad(x))), 2)
        x = F.pad(x, (1, 0, 0, 1))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc(x.view(x.shape[0], -1))


@trained((2, 13, 14))
class PaddedPools(nn.Module):
    """Padding of windows, as TensorFlow's, and windows that go beyond the border."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.pool2 = nn.AvgPool2d(2, stride=1, padding=1)
        self.fc = nn.Linear(3 * 4 * 5, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.conv(x) - 1)
        x = torch.tanh(self.pool2(x))
        x = F.max_pool2d(F.pad(x, (0, 1, 1, 1), value=-0.25), 2, 2)
        return self.fc(F.max_pool2d(x, (2, 1), stride=1, padding=(1, 0), ceil_mode=True).flatten(1))


class Means(nn.Module):
    """The mean of all pixels, as a function of maps (n, c, h, w)."""

    def __init__(self, mean: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, 2)
        self.mean = mean
        self.fc = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        assert "Float" in x.type() or "Double" in x.type()
        return self.fc(F.selu(self.mean(F.selu(self.conv(x)))))


TRAINED["mean, mean"] = Case(partial(Means, lambda x: x.mean(3).mean(2)))
TRAINED["mean of the last"] = Case(partial(Means, lambda x: x.mean(-1).mean(-1)))
TRAINED["mean of rows"] = Case(partial(Means, lambda x: x.view(x.size(0), 4, -1).mean(dim=2)))
TRAINED["mean, kept"] = Case(
    partial(Means, lambda x: torch.mean(x, dim=(-2, -1), keepdim=True).flatten(1))
)


# --- parameters used directly ---


class Net1989(nn.Module):
    """Kernels and biases as parameters, a bias per unit, and a background of -1."""

    def __init__(self) -> None:
        super().__init__()
        self.H1w = nn.Parameter(torch.randn(4, 1, 5, 5) / 5)
        self.H1b = nn.Parameter(torch.zeros(4, 8, 8))
        self.H2w = nn.Parameter(torch.randn(5, 4, 5, 5) / 10)
        self.H2b = nn.Parameter(torch.zeros(5, 4, 4))
        self.outw = nn.Parameter(torch.randn(10, 80) / 9)
        self.outb = nn.Parameter(-torch.ones(10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (2, 2, 2, 2), "constant", -1.0)
        x = F.conv2d(x, self.H1w, stride=2) + self.H1b
        x = torch.tanh(x)
        x = F.pad(x, (2, 2, 2, 2), mode="constant", value=-1.0)
        x = torch.tanh(F.conv2d(x, self.H2w, stride=2) + self.H2b)
        x = x.flatten(start_dim=1)
        x = x @ self.outw.t() + self.outb
        return torch.tanh(x)


TRAINED["Net1989"] = Case(Net1989, (1, 16, 16))


@trained((784,))
class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 1, 5, 5) / 5)
        self.shift = nn.Parameter(torch.randn(3))
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(10, 432) / 20)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x.reshape((-1, 1, 28, 28)), self.kernel, bias=self.shift)
        x = 1.7159 * torch.tanh(2.0 / 3.0 * x)
        x = F.max_pool2d(x, 2)
        return torch.matmul(x.view(x.shape[0], -1), self.weights[0].T)


@trained()
class HandMadeTanh(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.squash(self.conv1(x)), 2)
        x = F.avg_pool2d(self.squash(self.conv2(x)), 2)
        return self.fc2(self.squash(self.fc1(x.flatten(1))))

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        return torch.tanh(x * 2 / 3) * 1.7159


@trained()
class MaskedWeights(Base):
    def __init__(self) -> None:
        super().__init__()
        mask = torch.ones(4, 3, 1, 1).expand(4, 3, 5, 5).clone()
        mask[0, 1] = mask[2, 0] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.conv2d(x, self.conv2.weight * self.mask, self.conv2.bias)
        x = F.max_pool2d(F.relu(x), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@trained()
class MaskedMaps(MaskedWeights):
    """With one number per kernel, as in a table of connections."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", self.mask[:, :, :1, :1].clone())


@trained()
class MaskedByTable(MaskedMaps):
    def __init__(self) -> None:
        super().__init__()
        table = self.mask[:, :, 0, 0].clone()
        del self.mask
        self.table = table  # no buffer

    @property
    def mask(self) -> Tensor:
        return self.table[:, :, None, None].expand_as(self.conv2.weight)


def pruned() -> Any:
    module = FunctionalRelu()
    prune.l1_unstructured(module.conv2, "weight", amount=0.4)
    prune.random_unstructured(module.fc1, "weight", amount=0.5)
    return module


TRAINED["pruned"] = Case(pruned)


@trained((1, 32, 32))
class Of1998(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = front.Conv2d(1, 6)
        self.s2 = front.SubSampling2d(6)
        self.c3 = front.Conv2d(6, 16, connections=LENET5_C3)
        self.s4 = front.SubSampling2d(16)
        self.c5 = front.Conv2d(16, 20)
        self.f6 = nn.Linear(20, 84)
        self.act = front.ScaledTanh()
        self.rbf = front.RBF()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.s2(self.c1(x)))
        x = front.functional.tanh(self.s4(self.c3(x)))
        x = front.functional.scaled_tanh(self.c5(x))
        return self.rbf(self.act(self.f6(x.flatten(1))))


@trained()
class HandMadeRBF(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 5)
        self.f6 = nn.Linear(108, 12)
        self.register_buffer("centres", torch.randn(10, 12).sign())

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.tanh(self.conv(x)), 4)
        x = torch.tanh(self.f6(x.flatten(1)))
        return torch.sum((x[:, None, :] - self.centres).pow(2), dim=-1)


@trained()
class ProductRBF(HandMadeRBF):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.tanh(self.conv(x)), 4)
        d = torch.tanh(self.f6(x.flatten(1))).unsqueeze(1) - self.centres
        return (d * d).sum(2)


@trained()
class ColumnRBF(HandMadeRBF):
    def __init__(self) -> None:
        super().__init__()
        self.centres = self.centres.t().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.tanh(self.conv(x)), 4)
        x = torch.tanh(self.f6(x.flatten(1)))
        return (x.unsqueeze(-1) - self.centres).pow(2).sum(-2)


@trained()
class IntegerRBF(HandMadeRBF):
    def __init__(self) -> None:
        super().__init__()
        self.centres = self.centres.long()


@trained()
class NegativeRBF(ColumnRBF):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


@refused("return ((x.unsqueeze(1) - self.centres) ** 4).sum(2)")
class FourthPowers(HandMadeRBF):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.tanh(self.conv(x)), 4)
        x = torch.tanh(self.f6(x.flatten(1)))
        return ((x.unsqueeze(1) - self.centres) ** 4).sum(2)


@trained()
class AllConvolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5, stride=2)
        self.conv2 = nn.Conv2d(4, 10, 5, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(F.threshold(self.conv1(x), 0, 0))
        x, _ = F.max_pool2d(x, 2, return_indices=True)
        return F.log_softmax(F.adaptive_avg_pool2d(x, 1).view(-1, 10), dim=1).view(-1, 10)


@trained((784,))
class TutorialWithoutLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, kernel_size=3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(4, 4, kernel_size=3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(4, 10, kernel_size=3, stride=2, padding=1)

    def forward(self, xb: Tensor) -> Tensor:
        xb = xb.view(-1, 1, 28, 28)
        xb = F.relu(self.conv1(xb))
        xb = F.relu(self.conv2(xb))
        xb = F.relu(self.conv3(xb))
        xb = F.avg_pool2d(xb, 4)
        return xb.view(-1, xb.size(1))


# --- outputs ---


@trained(output="logits")
class DictOut(Base):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        features = F.max_pool2d(F.relu(self.conv2(x)), 2)
        logits = self.fc2(F.relu(self.fc1(features.flatten(1))))
        return {"logits": logits, "probs": logits.softmax(-1), "features": features}


Result = namedtuple("Result", "scores hidden")


@trained(output=0)
class HiddenOut(Base):
    def forward(self, x: Tensor, return_hidden: bool = True) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        hidden = F.relu(self.fc1(x.view(x.size(0), -1)))
        scores = self.fc2(hidden)
        if not return_hidden:
            return scores
        return Result(scores, hidden)


@trained()
class OnlyOne(Base):
    def forward(self, x: Tensor) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        self.last_features = x
        return self.fc2(F.relu(self.fc1(x.view(x.size(0), -1)))), None


# --- networks without convolutions ---


@trained()
class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Dropout(0.2))
        self.out = nn.Linear(30, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.shape[0], 784)
        return self.out(self.layers(x))


@trained((784,))
class Rows(nn.Module):
    def __init__(self, sizes: tuple[int, ...] = (784, 20, 12, 10)) -> None:
        super().__init__()
        self.linears = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.linears
        for layer in hidden:
            x = torch.relu(layer(x))
        return last(x)


@trained()
class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(28 * 28, 10)

    def forward(self, xb: Tensor) -> Tensor:
        return self.linear(xb.reshape(-1, 784))


# --- other ways to write it ---


@trained()
class ModeDependent(Base):
    """Log-probabilities in training, probabilities in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.fc2(F.relu(self.fc1(x.flatten(1))))
        if self.training:
            return F.log_softmax(x, dim=1)
        return F.softmax(x, dim=1)


@trained()
class Configured(nn.Module):
    """Layers from a list, as some configuration files have them."""

    SPEC = (("conv", 3), ("pool", 2), ("conv", 4), ("pool", 2), ("fc", 12), ("out", 10))

    def __init__(self, activation: str = "relu") -> None:
        super().__init__()
        c, size = 1, 28
        self.names = []
        for i, (kind, number) in enumerate(self.SPEC):
            if kind == "conv":
                self.add_module(f"conv{i}", nn.Conv2d(c, number, 5))
                c, size = number, size - 4
            elif kind == "pool":
                self.add_module(f"pool{i}", nn.MaxPool2d(number))
                size //= number
            else:
                n_in = c * size**2 if size else c
                self.add_module(f"{kind}{i}", nn.Linear(n_in, number))
                c, size = number, 0
            self.names.append(f"{next(reversed(self._modules))}")
        self.activation = getattr(F, activation)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            if name.startswith("fc"):
                x = x.view(x.size(0), -1)
            x = getattr(self, name)(x)
            if name.startswith(("conv", "fc")):
                x = self.activation(x)
        return x


@trained((3, 28, 28))
class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 6, 3, groups=3, dilation=2, padding=1)
        self.pointwise = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.pointwise(self.depthwise(x)))
        x = F.max_pool2d(x, 3)
        return self.head(x.to(x.device).contiguous().view(-1, self.head.in_features))


@trained()
class Helpers(Base):
    """Methods besides ``forward``, and prints."""

    def features(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2))), 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        print("features:", x.shape, end="")
        return self.classify(torch.flatten(x, start_dim=1, end_dim=3))

    def classify(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x).relu())


TRAINED["partial"] = Case(partial(Configured, "tanh"))
TRAINED["alone"] = Case(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8))


class Usual(Base):
    """A body for classes that do something around it."""

    def body(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@trained()
class Unused(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.fc3 = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.autograd.Variable(x)
        with torch.no_grad():
            self.brightness = x.mean()
        return self.body(x.float() if x.dtype == torch.float32 else x)


@trained()
class BatchesOfEight(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.view(8, -1))))


# --- read by from_torch only ---


@converted()
class BatchNormed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 5)
        self.bn1 = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 4, 5, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.fc1 = nn.Linear(64, 12)
        self.bn3 = nn.BatchNorm1d(12)
        self.fc2 = nn.Linear(12, 10)
        with torch.no_grad():
            for norm in (self.bn1, self.bn2, self.bn3):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
                norm.weight.normal_()
                norm.bias.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.fc1(x.flatten(1))))
        return self.fc2(x)


class FrozenNorm(BatchNormed):
    def __init__(self) -> None:
        super().__init__()
        for norm in (self.bn1, self.bn2, self.bn3):
            norm.requires_grad_(False)


@converted()
class Clamped(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x).clamp(min=0), 2)
        x = F.max_pool2d(torch.maximum(self.conv2(x), torch.zeros(1)), 2)
        x = torch.max(x, torch.zeros_like(x))
        return self.fc2(torch.clamp_min(self.fc1(x.flatten(1)), 0))


@converted()
class NormedAfterwards(BatchNormed):
    def __init__(self) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(1, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(F.max_pool2d(F.relu(self.conv1(self.bn0(x))), 2))
        x = self.bn2(F.relu(F.max_pool2d(self.conv2(x), 2)))
        x = self.bn3(F.relu(self.fc1(x.view(-1, 64))))
        return self.fc2(x)


@trained()
class Normalising(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = (x / 255.0 - 0.1307) / 0.3081
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@trained((3, 28, 28))
class NormalisingColours(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([1.2, 0.9, 1.1]).view(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 5, padding=2)
        self.fc = nn.Linear(4 * 49, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv((x - self.mean) / self.std)), 4)
        return 1 - self.fc(x.flatten(1)) * 0.5


@viewed()
class HandMadeSubsampling(Base):
    def __init__(self) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.rand(3, 1, 1))
        self.shift = nn.Parameter(torch.rand(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.conv1(x), 2) * self.coefficient + self.shift
        x = F.max_pool2d(F.relu(self.conv2(torch.sigmoid(x))), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@viewed()
class InTheirLayout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(784, 12) / 28)
        self.b1 = nn.Parameter(torch.zeros(12))
        self.w2 = nn.Parameter(torch.randn(12, 10) / math.sqrt(12))
        self.b2 = nn.Parameter(torch.zeros(1, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x.view(-1, 784) @ self.w1 + self.b1)
        return torch.mm(x, self.w2) + self.b2


@viewed((784,))
class LogisticRegression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(784, 10) / math.sqrt(784))
        self.bias = nn.Parameter(torch.zeros(10))

    def forward(self, xb: Tensor) -> Tensor:
        return xb @ self.weights + self.bias


@viewed((1, 32, 32))
class Subsampling1998(nn.Module):
    """Sub-sampling as some write out LeNet-5 of 1998, with vectors as parameters, and with maps."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 3, 5)
        self.s2_weight = nn.Parameter(torch.rand(3) + 0.5)
        self.s2_bias = nn.Parameter(torch.rand(3))
        self.c3 = nn.Conv2d(3, 4, 5, bias=False)
        self.c3_bias = nn.Parameter(torch.rand(1, 4, 1, 1))
        self.s4_weight = nn.Parameter(torch.rand(1, 4, 1, 1) + 0.5)
        self.s4_bias = nn.Parameter(torch.rand(1, 4, 1, 1))
        self.out = nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.c1(x), 2)
        x = x * self.s2_weight.view(1, -1, 1, 1) + self.s2_bias.view(1, -1, 1, 1)
        x = self.c3(torch.tanh(x)) + self.c3_bias
        x = torch.tanh(self.s4_weight * F.avg_pool2d(x, 2, 2) + self.s4_bias)
        return self.out(x.view(-1, 100))


def weight_normed() -> Any:
    module = FunctionalRelu()
    nn.utils.parametrizations.weight_norm(module.conv2)
    nn.utils.parametrizations.spectral_norm(module.fc1)
    return module


CONVERTED["weight_normed"] = Case(weight_normed)


@converted((1, 16, 16))
class Net1989Tables(Net1989):
    """The connection table by slices, and the last weights in another layout."""

    def __init__(self) -> None:
        super().__init__()
        self.H1w = nn.Parameter(torch.randn(12, 1, 5, 5) / 5)
        self.H1b = nn.Parameter(torch.zeros(12, 8, 8))
        self.H2w = nn.Parameter(torch.randn(12, 8, 5, 5) / 14)
        self.H2b = nn.Parameter(torch.zeros(12, 4, 4))
        self.outw = nn.Parameter(torch.randn(192, 10) / 14)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (2, 2, 2, 2), "constant", -1.0)
        x = torch.tanh(F.conv2d(x, self.H1w, stride=2) + self.H1b)
        x = F.pad(x, (2, 2, 2, 2), "constant", -1.0)
        slice1 = F.conv2d(x[:, 0:8], self.H2w[0:4], stride=2)
        slice2 = F.conv2d(x[:, 4:12], self.H2w[4:8], stride=2)
        slice3 = F.conv2d(torch.cat((x[:, 0:4], x[:, 8:12]), dim=1), self.H2w[8:12], stride=2)
        x = torch.cat((slice1, slice2, slice3), dim=1) + self.H2b
        x = torch.tanh(x).flatten(start_dim=1)
        return torch.tanh(x @ self.outw + self.outb)


@converted()
class TableOfModules(nn.Module):
    """C3 of 1998 with a module per group of maps, and the RBF layer as three functions."""

    TABLE = ((0, 1, 2), (1, 2, 3), (0, 2, 3), (0, 1, 2, 3))

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 4, 5)
        self.c3 = nn.ModuleList([nn.Conv2d(len(seen), 2, 5) for seen in self.TABLE])
        self.f6 = nn.Linear(128, 84)
        self.register_buffer("centres", torch.randn(10, 84).sign())

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.tanh(self.c1(x)), 2)
        maps = [conv(x[:, list(seen)]) for conv, seen in zip(self.c3, self.TABLE, strict=True)]
        x = F.avg_pool2d(torch.tanh(torch.cat(maps, dim=1)), 2)
        x = torch.tanh(self.f6(x.flatten(1)))
        return ((x.unsqueeze(1) - self.centres.unsqueeze(0)) ** 2).sum(dim=2)


@converted()
class TableInALoop(TableOfModules):
    """With maps that are added to an empty tensor, one convolution after the other."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(torch.tanh(self.c1(x)), 2)
        maps = torch.Tensor([]).to(x)
        for conv, seen in zip(self.c3, self.TABLE, strict=True):
            maps = torch.cat((maps, conv(x[:, list(seen)])), 1)
        x = F.avg_pool2d(torch.tanh(maps), 2)
        return self.f6(x.flatten(1))


# --- refused ---


@refused("x = self.conv2(x) + self.skip(x)", (4, 28, 28))
class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.skip = nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4 * 49, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(x) + self.skip(x)
        return self.fc(F.max_pool2d(F.relu(x), 4).flatten(1))


@refused("x += identity", (4, 28, 28))
class ResidualInPlace(Residual):
    def forward(self, x: Tensor) -> Tensor:
        identity = x
        x = self.conv2(x)
        x += identity
        return self.fc(F.max_pool2d(F.relu(x), 4).flatten(1))


@refused("x = torch.cat([self.conv2(x), self.skip(x)], dim=1)", (4, 28, 28))
class Inception(Residual):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8 * 49, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.conv2(x), self.skip(x)], dim=1)
        return self.fc(F.max_pool2d(F.relu(x), 4).flatten(1))


@refused("if x.mean() > 0:")
class DependsOnImages(Base):
    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0:
            x = F.relu(x)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@refused("x = torch.from_numpy(x.numpy().clip(0))")
class ThroughNumpy(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = torch.from_numpy(x.numpy().clip(0))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, -1.0).to(x)


@refused("x = self.conv2(Sign.apply(x))")
class FunctionOfTheirOwn(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = self.conv2(Sign.apply(x))
        return self.fc2(F.relu(self.fc1(F.max_pool2d(x, 2).flatten(1))))


@refused("x = F.adaptive_avg_pool2d(F.relu(self.conv2(x)), 5)")
class UnevenWindows(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.adaptive_avg_pool2d(F.relu(self.conv2(x)), 5)
        return self.fc2(F.relu(self.fc1(x.flatten(1)[:, :64])))


@refused("return F.softmax(x, dim=0)")
class SoftmaxOverImages(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return F.softmax(x, dim=0)


@refused("x = F.silu(self.conv1(x))")
class SiLU(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.conv1(x))
        return self.fc2(self.fc1(F.max_pool2d(self.conv2(F.max_pool2d(x, 2)), 2).flatten(1)))


@refused("x = (self.fc2(self.fc1(x.flatten(1))) + 1j).real")
class ComplexSum(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv2(F.max_pool2d(self.conv1(x), 2)), 2)
        x = (self.fc2(self.fc1(x.flatten(1))) + 1j).real
        return x


@refused("x = F.adaptive_max_pool2d(self.fc1(x.flatten(1))[None], (4, 4))[0]")
class PooledVectors(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv2(F.max_pool2d(self.conv1(x), 2)), 2)
        x = F.adaptive_max_pool2d(self.fc1(x.flatten(1))[None], (4, 4))[0]
        return x


@refused("x = self.fc1(x.flatten(1)).max()")
class LargestOfAll(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv2(F.max_pool2d(self.conv1(x), 2)), 2)
        x = self.fc1(x.flatten(1)).max()
        return self.fc2(x.expand(1, 12))


@refused("x = F.lp_pool2d(self.conv1(x), 2, 2)")
class LpPool(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.lp_pool2d(self.conv1(x), 2, 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@refused("x = x.permute(0, 2, 3, 1).reshape(-1, 64)")
class ChannelsLast(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.permute(0, 2, 3, 1).reshape(-1, 64)
        return self.fc2(F.relu(self.fc1(x)))


@refused("return self.fc2(F.threshold(self.fc1(x.flatten(1)), 0.1, 0.0))")
class Threshold(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.threshold(self.fc1(x.flatten(1)), 0.1, 0.0))


@converted((28, 28, 1))
class ColoursLast(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        with torch.no_grad():
            self.seen = x.mean()
        return self.fc2(F.relu(self.fc1(x.detach().flatten(1))))


# --- bad input: refused, some of it in training only, which `fit` and `wrap` read ---

TRAINING_ONLY: dict[str, tuple[Case, str]] = {}
ELSEWHERE: dict[str, tuple[Case, str]] = {}  # where no line is to blame


@refused("return self.body(x).half()")
class Half(Usual):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).half()


@refused("x = self.body(x).to(torch.complex64)")
class Complex(Usual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).to(torch.complex64)
        return x.real


@refused("x = F.max_pool2d(F.relu(self.conv1(x)), 2)")
class Autocast(Usual):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.body(x).to(x)


@refused("return self.body(x.cuda())")
class Cuda(Usual):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.cuda())


@refused("return self.body(x + 0.1 * torch.randn_like(x))")
class Noise(Usual):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + 0.1 * torch.randn_like(x))


@refused("self.conv1.weight.data.clamp_(-0.5, 0.5)")
class Clipping(Usual):
    def forward(self, x: Tensor) -> Tensor:
        self.conv1.weight.data.clamp_(-0.5, 0.5)
        return self.body(x)


@refused("self.brightest = x.max().item()")
class Looking(Usual):
    def forward(self, x: Tensor) -> Tensor:
        self.brightest = x.max().item()
        return self.body(x)


@refused("return x * torch.sigmoid(x)")
class Swish(Usual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return x * torch.sigmoid(x)


@refused("return x * x")
class Squared(Usual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return x * x


@refused("return self.body(x).argmax(dim=1)")
class Classes(Usual):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).argmax(dim=1)


@refused("return F.softmax(F.softmax(self.body(x), dim=1), dim=1)")
class SoftmaxTwice(Usual):
    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(F.softmax(self.body(x), dim=1), dim=1)


class Scaled(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) / self.temperature


class FrozenBody(Base):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class PrunedAnew(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        kernel = self.conv2.weight * (self.conv2.weight.abs() > 0.05).float()
        x = F.conv2d(x, kernel, self.conv2.bias)
        return self.fc2(F.relu(self.fc1(F.max_pool2d(F.relu(x), 2).flatten(1))))


class FrozenWeights(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.conv2d(x, self.conv2.weight.detach(), self.conv2.bias)
        return self.fc2(F.relu(self.fc1(F.max_pool2d(F.relu(x), 2).flatten(1))))


class Detached(Usual):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).detach()


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Reversed(Usual):
    def forward(self, x: Tensor) -> Tensor:
        return Reversal.apply(self.body(x))


class Watched(Usual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if x.requires_grad:
            x.register_hook(print)
        return x


TRAINING_ONLY["FrozenBody"] = Case(FrozenBody), "x = F.max_pool2d(F.relu(self.conv1(x)), 2)"
TRAINING_ONLY["Detached"] = Case(Detached), "return self.body(x).detach()"
TRAINING_ONLY["PrunedAnew"] = Case(PrunedAnew), "x = F.conv2d(x, kernel, self.conv2.bias)"
TRAINING_ONLY["FrozenWeights"] = (
    Case(FrozenWeights),
    "x = F.conv2d(x, self.conv2.weight.detach(), self.conv2.bias)",
)
TRAINING_ONLY["Scaled"] = Case(Scaled), "return self.body(x) / self.temperature"
TRAINING_ONLY["Watched"] = Case(Watched), "x.register_hook(print)"
TRAINING_ONLY["Reversed"] = Case(Reversed), "return Reversal.apply(self.body(x))"


class MapsOfOnePixel(nn.Module):
    """Whose outputs have the shape (n, 10, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 5, stride=4)
        self.conv2 = nn.Conv2d(4, 10, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(torch.tanh(self.conv1(x)))


class Counting(Usual):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        Counting.calls += 1
        return F.relu(self.body(x)) if Counting.calls % 2 else self.body(x)


class Drawing(Usual):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if random.random() < 0.5 else F.relu(self.body(x))


class WithLoss(Usual):
    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.body(x), labels)


class Nothing(Usual):
    def forward(self, x: Tensor) -> None:
        self.result = self.body(x)


class TwoOutputs(Usual):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        return x, F.softmax(x, dim=1)


class Tied(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(3, 3, 5)
        self.fc2 = nn.Linear(48, 48)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc2(x.flatten(1))))


def lazy() -> Any:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))


def hooked() -> Any:
    module = FunctionalRelu()
    module.fc1.register_forward_hook(lambda module, x, y: 2 * y)
    return module


def scripted() -> Any:
    return nn.Sequential(torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(784, 10))))


def sparse() -> Any:
    module = FunctionalRelu()
    module.fc1.weight = nn.Parameter(module.fc1.weight.detach().to_sparse())
    return module


ELSEWHERE["Counting"] = Case(Counting), "module: expected the same function of the images in each"
ELSEWHERE["Drawing"] = Case(Drawing), "module: expected a forward pass without random numbers"
ELSEWHERE["WithLoss"] = Case(WithLoss), "module: expected a forward pass without errors"
ELSEWHERE["Nothing"] = Case(Nothing), "module: expected a tensor as its output"
ELSEWHERE["TwoOutputs"] = Case(TwoOutputs), "output: expected one of the module's outputs, 0 of"
ELSEWHERE["Tied"] = Case(Tied), "module: expected separate parameters"
ELSEWHERE["half"] = Case(lambda: FunctionalRelu().half()), "conv1.weight: expected a tensor of f"
ELSEWHERE["complex"] = (
    Case(lambda: FunctionalRelu().to(torch.complex64)),
    "conv1.weight: expected a tensor of float32 or float64",
)
ELSEWHERE["meta"] = Case(lambda: FunctionalRelu().to("meta")), "conv1.weight: expected a tensor on"
ELSEWHERE["sparse"] = Case(sparse), "fc1.weight: expected a dense tensor"
ELSEWHERE["lazy"] = Case(lazy), "1.weight: expected a parameter with a shape"
ELSEWHERE["hooked"] = Case(hooked), "fc1: expected a module without hooks"
ELSEWHERE["scripted"] = Case(scripted), "0: expected the module from before torch.jit"
