"""Modules for layers that PyTorch lacks, with our layers' options and checks."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import nn

from lenet_fast import checks, choices, initialisers, layers, losses
from lenet_fast import connections as tables
from lenet_fast.layers.base import Shape
from lenet_fast.torch import functional, tensors
from lenet_fast.windows import IntPair, Padding

NAMES = {"w": "weight", "b": "bias"}
"""PyTorch's names for a layer's parameters."""


class FromLayer(nn.Module):
    """A module with the options of one of our layers and its own parameters.

    Examples
    --------
    >>> from lenet_fast.torch import SubSampling2d
    >>> SubSampling2d(6).layer.output_shape((6, 28, 28))
    (6, 14, 14)
    """

    layer: layers.Layer  # with the options, but without arrays
    weight: torch.Tensor

    def extra_repr(self) -> str:
        """Return the options."""
        options = self.layer.config()
        table = options.get("connections")
        if table is not None:
            links = sum(map(sum, table))
            options["connections"] = f"{links} of {len(table) * len(table[0])}"
        return ", ".join(f"{name}={options[name]}" for name in self.layer.options)


class _Trained(FromLayer):
    """A module with trainable parameters."""

    def __init__(
        self,
        layer: layers.Layer,
        input_shape: Shape,
        initialiser: choices.Initialiser,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.initialiser: choices.Initialiser = checks.choice(
            "initialiser", initialiser, get_args(choices.Initialiser)
        )
        shapes = layer.parameter_shapes(input_shape)
        for name, called in NAMES.items():
            parameter = None
            if name in shapes:
                parameter = nn.Parameter(torch.empty(shapes[name], dtype=dtype))
            self.register_parameter(called, parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the parameters again; PyTorch's generator gives the seed.

        Examples
        --------
        >>> import torch
        >>> from lenet_fast.torch import SubSampling2d
        >>> module = SubSampling2d(6)
        >>> before = module.weight.detach().clone()
        >>> module.reset_parameters()
        >>> bool((module.weight == before).any())
        False
        """
        seed = int(torch.randint(2**63 - 1, (), device="cpu"))  # under any default device
        parameters = {name: getattr(self, called) for name, called in NAMES.items()}
        self.layer.parameters = {
            name: tensors.array(NAMES[name], parameter)
            for name, parameter in parameters.items()
            if parameter is not None
        }
        initialisers.initialise([self.layer], self.initialiser, seed)  # in the tensors' memory
        self.layer.parameters = {}


class Conv2d(_Trained):
    """A convolution with a connection table, a bias per unit, or padding of any value.

    Parameters
    ----------
    c_in, c_out, kernel, stride, padding, dilation, groups, connections, pad_value, bias, algorithm
        As for :class:`lenet_fast.layers.Conv2D`.
    input_size : (rows, columns), optional
        Size of the images; required with ``bias="unit"``, where it gives the number of units.
    initialiser : str
        One of :data:`lenet_fast.initialisers.INITIALISERS`.
    dtype : torch.dtype, optional
        Dtype of the parameters, ``weight`` and ``bias``.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.connections import LENET5_C3
    >>> from lenet_fast.torch import Conv2d
    >>> Conv2d(6, 16, 5, connections=LENET5_C3)(torch.ones(2, 6, 14, 14)).shape
    torch.Size([2, 16, 10, 10])
    """

    layer: layers.Conv2D
    bias: torch.Tensor | None

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: IntPair = 5,
        *,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        connections: tables.Table | None = None,
        pad_value: float = 0.0,
        bias: choices.Bias | None = "map",
        algorithm: choices.Algorithm = "auto",
        input_size: tuple[int, int] | None = None,
        initialiser: choices.Initialiser = "lecun1998",
        dtype: torch.dtype | None = None,
    ) -> None:
        layer = layers.Conv2D(
            *(c_in, c_out, kernel),
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            connections=connections,
            pad_value=pad_value,
            bias=bias,
            algorithm=algorithm,
        )
        if (bias == "unit") != (input_size is not None):
            raise ValueError(
                f"input_size: expected (rows, columns) if, and only if, bias='unit', got "
                f"{input_size} with {bias!r}"
            )
        size = (1, 1) if input_size is None else checks.pair("input_size", input_size)
        super().__init__(layer, (c_in, *size), initialiser, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maps (n, c_out, h_out, w_out) of images (n, c_in, h_in, w_in)."""
        return functional.conv2d(x, self.weight, self.bias, **self.layer.arguments)


class SubSampling2d(_Trained):
    """The trainable sub-sampling of 1998, before the activation.

    Parameters
    ----------
    channels, kernel, stride, reduction, multiplier
        As for :class:`lenet_fast.layers.Subsample2D`.
    initialiser, dtype
        As for :class:`Conv2d`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import SubSampling2d
    >>> SubSampling2d(6)(torch.ones(2, 6, 28, 28)).shape
    torch.Size([2, 6, 14, 14])
    """

    layer: layers.Subsample2D
    bias: torch.Tensor

    def __init__(
        self,
        channels: int,
        kernel: IntPair = 2,
        stride: IntPair | None = None,
        *,
        reduction: choices.WindowReduction = "sum",
        multiplier: int = 1,
        initialiser: choices.Initialiser = "lecun1998",
        dtype: torch.dtype | None = None,
    ) -> None:
        layer = layers.Subsample2D(
            channels, kernel, stride, reduction=reduction, multiplier=multiplier
        )
        super().__init__(layer, (), initialiser, dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maps (n, channels * multiplier, h_out, w_out)."""
        return functional.subsample2d(x, self.weight, self.bias, **self.layer.arguments)


class RBF(FromLayer):
    """Squared distances to fixed centres: penalties, of which the smallest wins.

    Parameters
    ----------
    n_in, n_out, centres
        As for :class:`lenet_fast.layers.RBF`; centres may be a tensor. They are a buffer,
        ``weight``, which no optimiser changes and which state dicts contain.
    dtype : torch.dtype, optional

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import RBF
    >>> RBF()(torch.ones(2, 84)).shape
    torch.Size([2, 10])
    """

    layer: layers.RBF

    def __init__(
        self,
        n_in: int = 84,
        n_out: int = 10,
        *,
        centres: Any = "digits",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if isinstance(centres, torch.Tensor):
            centres = tensors.array("centres", centres)
        self.layer = layers.RBF(n_in, n_out, centres=centres)
        self.layer.build((n_in,), "float64")
        weight = torch.from_numpy(self.layer.parameters.pop("w"))
        self.register_buffer("weight", weight.to(dtype or torch.get_default_dtype()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the distances (n, n_out) of vectors (n, n_in)."""
        return functional.rbf(x, self.weight)


class ScaledTanh(nn.Module):
    """``1.7159 tanh(2 x / 3)``, the activation function of 1998.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import ScaledTanh
    >>> ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0, 10.0]))
    tensor([-1.0000,  0.0000,  1.0000,  1.7159])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the function element by element."""
        return functional.scaled_tanh(x)


class MAPLoss(nn.Module):
    """The criterion of 1998 for RBF outputs, averaged over the images.

    Parameters
    ----------
    j : float
        As for :class:`lenet_fast.losses.MAP`.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import MAPLoss
    >>> MAPLoss(j=12.0)(torch.tensor([[0.0, 12.0], [12.0, 12.0]]), torch.tensor([0, 1]))
    tensor(0.5493)
    """

    def __init__(self, j: float = 20.0) -> None:
        super().__init__()
        self.j = losses.MAP(j).j

    def extra_repr(self) -> str:
        """Return the option."""
        return f"j={self.j}"

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of penalties (n, k) and labels (n,)."""
        return functional.map_loss(x, labels, j=self.j)


class PenaltyLoss(nn.Module):
    """The plain criterion of 1998 for RBF outputs, averaged over the images.

    Examples
    --------
    >>> import torch
    >>> from lenet_fast.torch import PenaltyLoss
    >>> PenaltyLoss()(torch.tensor([[0.0, 12.0], [12.0, 6.0]]), torch.tensor([0, 1]))
    tensor(3.)
    """

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean penalty of the right classes."""
        return functional.penalty_loss(x, labels)
