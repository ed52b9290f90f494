"""Training scripts as people write them: data, module, loop, prints; with `ours`, one line changed.

Each returns what it trained and what it printed. The digits in `root` are random: the question is
whether both ways lead to the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset, Subset, SubsetRandomSampler, random_split

from lenet_fast.torch import fit, wrap

Trained = tuple[nn.Module, list[Any]]
SCRIPTS: dict[str, Callable[[ModuleType, Path, bool], Trained]] = {}


def script(function: Callable[[ModuleType, Path, bool], Trained]) -> Any:
    SCRIPTS[function.__name__] = function
    return function


def epoch_of(model: nn.Module, loader: Any, criterion: Any, optimizer: Any) -> None:
    """The usual loop, where it is a function of its own."""
    for x, y in loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, loader: Any) -> float:
    model.eval()
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    model.train()
    return right / len(loader.dataset)


class Modules(nn.Module):
    """Submodules, and a view between them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(256, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Any) -> Any:
        y = self.pool1(self.relu1(self.conv1(x)))
        y = self.pool2(self.relu2(self.conv2(y)))
        y = y.view(y.shape[0], -1)
        return self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(y)))))


class Functional(nn.Module):
    """Functions, and the logarithm of a softmax."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)
        self.dropout = dropout

    def forward(self, x: Any) -> Any:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = x.view(-1, 320)
        x = F.dropout(F.relu(self.fc1(x)), self.dropout, training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


class Article(nn.Module):
    """Nested sequences; logits and probabilities."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(
            *(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
            *(nn.Conv2d(16, 120, 5), nn.Tanh()),
        )
        self.classifier = nn.Sequential(nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, classes))

    def forward(self, x: Any) -> Any:
        x = torch.flatten(self.feature_extractor(x), 1)
        logits = self.classifier(x)
        return logits, F.softmax(logits, dim=1)


@script
def best_accuracy(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """ToTensor alone, large batches, SGD; the best accuracy counts."""
    to_tensor = tv.transforms.ToTensor()
    train_loader = DataLoader(tv.datasets.MNIST(root, transform=to_tensor), batch_size=64)
    test_loader = DataLoader(tv.datasets.MNIST(root, train=False, transform=to_tensor), 64)
    model, best, printed = Modules(), 0.0, []
    sgd, loss_fn = optim.SGD(model.parameters(), lr=1e-1), nn.CrossEntropyLoss()
    for _ in range(4):
        if ours:
            fit(model, train_loader, criterion=loss_fn, optimizer=sgd)
        else:
            epoch_of(model, train_loader, loss_fn, sgd)
        best = max(best, accuracy(model, test_loader))
        printed.append(best)
    return model, printed


@script
def examples(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """Adadelta, a scheduler per epoch, nll_loss, the loss now and then; random rotations."""
    t = tv.transforms
    transform = t.Compose([t.RandomRotation(5), t.ToTensor(), t.Normalize((0.1307,), (0.3081,))])
    train_loader = DataLoader(tv.datasets.MNIST(root, transform=transform), 16, shuffle=True)
    model, printed = Functional(), []
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)

    def log(epoch: int, batch: int, loss: float) -> None:
        if batch % 4 == 0:
            printed.append((epoch, batch, round(loss, 6)))

    for _ in range(3):
        if ours:
            fit(model, train_loader, criterion=F.nll_loss, optimizer=optimizer, on_batch_end=log)
        else:
            for batch, (data, target) in enumerate(train_loader, 1):
                optimizer.zero_grad()
                loss = F.nll_loss(model(data), target)
                loss.backward()
                optimizer.step()
                log(1, batch, loss.item())
        scheduler.step()
    return model, printed


@script
def article(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """Resize, Adam, two outputs, a validation loss per epoch."""
    t = tv.transforms
    transform = t.Compose([t.Resize((32, 32)), t.ToTensor()])
    train_loader = DataLoader(tv.datasets.MNIST(root, transform=transform), 32, shuffle=True)
    valid = tv.datasets.MNIST(root, train=False, transform=transform)
    valid_loader = DataLoader(valid, 32, shuffle=False)
    model, criterion = Article(10), nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    if ours:
        history = fit(
            model,
            train_loader,
            criterion=criterion,
            optimizer=optimizer,
            epochs=3,
            test=valid_loader,
            output=0,
        )
        return model, [(row.train_loss, row.test_loss) for row in history.rows]
    printed = []
    for _ in range(3):
        running = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x)[0], y)
            running += loss.item() * x.size(0)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            lost = sum(criterion(model(x)[0], y).item() * x.size(0) for x, y in valid_loader)
        printed.append((running / len(train_loader.dataset), lost / len(valid)))  # type: ignore[arg-type]
    return model, printed


@script
def book(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """A sequence with sigmoids, a high rate, workers."""
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2, stride=2)),
        *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2, stride=2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10)),
    )
    net.apply(
        lambda m: nn.init.xavier_uniform_(m.weight) if type(m) in (nn.Linear, nn.Conv2d) else None
    )
    mnist = tv.datasets.MNIST(root, transform=tv.transforms.Compose([tv.transforms.ToTensor()]))
    train_iter = DataLoader(mnist, 32, shuffle=True, num_workers=1)
    optimizer, loss = optim.SGD(net.parameters(), lr=0.9), nn.CrossEntropyLoss()
    printed = []
    for _ in range(3):
        if ours:
            printed += [
                row.train_loss
                for row in fit(net, train_iter, criterion=loss, optimizer=optimizer).rows
            ]
        else:
            total = 0.0
            for x, y in train_iter:
                optimizer.zero_grad()
                value = loss(net(x), y)
                value.backward()
                optimizer.step()
                total += value.item() * len(y)
            printed.append(total / len(mnist))
    return net, printed


@script
def tutorial(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """Three colours, momentum, small batches, a mean loss every few of them."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 6, 5)
            self.pool = nn.MaxPool2d(2, 2)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.fc1 = nn.Linear(16 * 5 * 5, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(F.relu(self.conv1(x)))
            x = self.pool(F.relu(self.conv2(x)))
            x = torch.flatten(x, 1)
            x = F.relu(self.fc1(x))
            x = F.relu(self.fc2(x))
            return self.fc3(x)

    t = tv.transforms
    transform = t.Compose([t.ToTensor(), t.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
    images = tv.datasets.FakeData(60, (3, 32, 32), 10, transform)
    trainloader = DataLoader(images, batch_size=4, shuffle=True)
    net, criterion = Net(), nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    losses: list[float] = []
    if ours:
        fit(
            net,
            trainloader,
            criterion=criterion,
            optimizer=optimizer,
            epochs=2,
            on_batch_end=lambda epoch, i, loss: losses.append(loss),
        )
    else:
        for _ in range(2):
            for data in trainloader:
                inputs, targets = data
                optimizer.zero_grad()
                loss = criterion(net(inputs), targets)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
    return net, [sum(losses[i : i + 5]) / 5 for i in range(0, len(losses), 5)]


@script
def early_stopping(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """Two samplers of one data set, RMSprop, the weights of the best epoch."""
    t = tv.transforms
    data = tv.datasets.MNIST(root, transform=t.Compose([t.ToTensor(), t.Normalize((0.5,), (0.5,))]))
    indices = np.random.permutation(len(data))  # noqa: NPY002
    train_loader = DataLoader(data, 16, sampler=SubsetRandomSampler(indices[20:].tolist()))
    valid_loader = DataLoader(data, 16, sampler=SubsetRandomSampler(indices[:20].tolist()))
    model, criterion = Modules(), nn.CrossEntropyLoss()
    optimizer = optim.RMSprop(model.parameters(), lr=0.001)
    best, state, printed = np.inf, model.state_dict(), []
    for _ in range(3):
        if ours:
            lost = (
                fit(
                    model, train_loader, criterion=criterion, optimizer=optimizer, test=valid_loader
                )
                .rows[0]
                .test_loss
            )
        else:
            epoch_of(model, train_loader, criterion, optimizer)
            with torch.no_grad():
                lost = sum(criterion(model(x), y).item() * len(x) for x, y in valid_loader) / 20
        printed.append(lost)
        if lost < best:
            best, state = lost, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return model, printed


class Table(Dataset):  # type: ignore[type-arg]
    """Rows of a CSV file: a label, then 784 pixels."""

    def __init__(self, rows: Any, transform: Any = None) -> None:
        self.labels, self.pixels, self.transform = rows[:, 0], rows[:, 1:], transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, idx: int) -> tuple[Any, int]:
        image = self.pixels[idx].reshape(28, 28, 1).astype(np.uint8)
        return self.transform(image), int(self.labels[idx])


@script
def table(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """A data set of the user's, random_split, cosine annealing."""
    rows = np.random.default_rng(1).integers(0, 10, (100, 785))
    rows[:, 1:] *= 25
    t = tv.transforms
    data = Table(rows, t.Compose([t.ToPILImage(), t.ToTensor()]))
    train_set, valid_set = random_split(data, [80, 20])
    train_loader = DataLoader(train_set, 16, shuffle=True, drop_last=True, pin_memory=False)
    valid_loader = DataLoader(valid_set, 16)
    model = Modules()
    optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    if ours:
        fit(
            model,
            train_loader,
            criterion=F.cross_entropy,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_step="epoch",
            epochs=4,
        )
    else:
        for _ in range(4):
            epoch_of(model, train_loader, F.cross_entropy, optimizer)
            scheduler.step()
    return model, [accuracy(model, valid_loader), *scheduler.get_last_lr()]


class Split(Dataset):  # type: ignore[type-arg]
    """A client's share of a data set."""

    def __init__(self, dataset: Any, idxs: Any) -> None:
        self.dataset, self.idxs = dataset, [int(i) for i in idxs]

    def __len__(self) -> int:
        return len(self.idxs)

    def __getitem__(self, item: int) -> Any:
        image, label = self.dataset[self.idxs[item]]
        return image.clone().detach(), torch.tensor(label)


@script
def federated(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """Clients train copies for two epochs each; the mean of their weights is the next model."""
    mnist = tv.datasets.MNIST(root, transform=tv.transforms.ToTensor())
    model, printed = Functional(), []
    for _ in range(2):
        weights = []
        for user in range(3):
            local = copy.deepcopy(model)
            loader = DataLoader(Split(mnist, range(user, 100, 3)), batch_size=10, shuffle=True)
            optimizer = optim.SGD(local.parameters(), lr=0.01, momentum=0.5)
            if ours:
                fit(local, loader, criterion=nn.NLLLoss(), optimizer=optimizer, epochs=2)
            else:
                for _ in range(2):
                    for images, labels in loader:
                        local.zero_grad()
                        nn.NLLLoss()(local(images), labels).backward()
                        optimizer.step()
            weights.append(local.state_dict())
        mean = {key: sum(each[key] for each in weights) / 3 for key in weights[0]}
        model.load_state_dict(mean)
        printed.append(sum(value.abs().sum().item() for value in mean.values()))
    return model, printed


@script
def lottery_ticket(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """Prune the smallest weights, go back to the first ones, train the rest."""
    loader = DataLoader(tv.datasets.MNIST(root, transform=tv.transforms.ToTensor()), 20)
    model, criterion = Modules(), nn.CrossEntropyLoss()
    first = copy.deepcopy(model.state_dict())
    masks = {k: torch.ones_like(p) for k, p in model.named_parameters() if "weight" in k}
    for _ in range(3):
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        if ours:
            fit(model, loader, criterion=criterion, optimizer=optimizer, epochs=2, masks=masks)
        else:
            for _ in range(2):
                for x, y in loader:
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                    for name, p in model.named_parameters():
                        if name in masks:
                            p.grad.data = p.grad.data * masks[name]  # type: ignore[union-attr]
                    optimizer.step()
        for name, p in model.named_parameters():
            if name in masks:
                alive = p.data[masks[name] > 0].abs()
                masks[name] = masks[name] * (p.data.abs() > alive.quantile(0.2))
        model.load_state_dict({k: v * masks.get(k, 1) for k, v in first.items()})
    return model, [mask.mean().item() for mask in masks.values()]


@script
def pruned(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """Fine-tune a module that torch.nn.utils.prune has pruned."""
    data = Subset(tv.datasets.MNIST(root, transform=tv.transforms.ToTensor()), range(60))
    loader = DataLoader(data, 16, shuffle=True)
    model = Modules()
    prune.l1_unstructured(model.conv2, "weight", amount=0.3)
    prune.l1_unstructured(model.fc1, "weight", amount=0.5)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    if ours:
        fit(model, loader, criterion=nn.CrossEntropyLoss(), optimizer=optimizer, epochs=3)
    else:
        for _ in range(3):
            epoch_of(model, loader, nn.CrossEntropyLoss(), optimizer)
    model(next(iter(loader))[0])
    zeros = (model.fc1.weight == 0).float().mean().item()
    prune.remove(model.conv2, "weight")
    prune.remove(model.fc1, "weight")
    return model, [zeros]


@script
def one_cycle(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """A rate per batch, label smoothing, augmentation."""
    t = tv.transforms
    transform = t.Compose([t.RandomAffine(8, translate=(0.1, 0.1)), t.ToTensor()])
    loader = DataLoader(tv.datasets.MNIST(root, transform=transform), 16, shuffle=True)
    model, criterion = Modules(), nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, epochs=3, steps_per_epoch=len(loader), cycle_momentum=False
    )
    if ours:
        fit(
            model,
            loader,
            criterion=criterion,
            optimizer=optimizer,
            epochs=3,
            scheduler=scheduler,
            scheduler_step="batch",
        )
    else:
        for _ in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
                scheduler.step()
    return model, scheduler.get_last_lr()


@script
def squared_error(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """One-hot targets by a target_transform, MSELoss."""
    one_hot = tv.transforms.Lambda(lambda y: torch.eye(10)[y])
    data = tv.datasets.MNIST(root, transform=tv.transforms.ToTensor(), target_transform=one_hot)
    loader = DataLoader(data, 25, shuffle=True)
    model, criterion = nn.Sequential(Modules(), nn.Sigmoid()), nn.MSELoss()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    if ours:
        fit(model, loader, criterion=criterion, optimizer=optimizer, epochs=5)
    else:
        for _ in range(5):
            epoch_of(model, loader, criterion, optimizer)
    return model, []


@script
def clipped(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """Class weights, clipped gradients, an optimizer that fit lacks: the loop stays, by wrap."""
    loader = DataLoader(tv.datasets.MNIST(root, transform=tv.transforms.ToTensor()), 20)
    model = Modules()
    criterion = nn.CrossEntropyLoss(weight=torch.linspace(0.5, 1.5, 10))
    optimizer, printed = optim.NAdam(model.parameters(), lr=1e-3), []
    if ours:
        model = wrap(model)
    for _ in range(4):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            printed.append(loss.item())
    return model, printed


@script
def adversarial(tv: ModuleType, root: Path, ours: bool) -> Trained:
    """The accuracy on images that are moved along the sign of their gradient."""
    model = Functional(0.5).eval()
    if ours:
        model = wrap(model)
    data = tv.datasets.MNIST(root, train=False, transform=tv.transforms.ToTensor())
    printed = []
    for epsilon in (0.0, 0.1, 0.3):
        right = 0
        for x, y in DataLoader(data, batch_size=1):
            x.requires_grad = True
            F.nll_loss(model(x), y).backward()
            x = torch.clamp(x + epsilon * x.grad.sign(), 0, 1)
            right += (model(x).argmax(1) == y).sum().item()
        printed.append(right)
    return model, printed
