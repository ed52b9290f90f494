"""Gradients of each image's loss, and their clipped sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from lenet_fast import checks
from lenet_fast.torch import criteria, tensors
from lenet_fast.torch.passes import Options
from lenet_fast.torch.wrapping import Wrapper, wrapper_of

Gradients = dict[str, torch.Tensor]


def per_example_gradients(
    module: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    criterion: Callable[..., torch.Tensor] = functional.cross_entropy,
    output: int | str | None = None,
    clip: float | None = None,
) -> Gradients:
    """Return the gradient of each image's own loss, by the names of the module's parameters.

    Parameters
    ----------
    module : nn.Module
        One that :func:`fit` supports, on the CPU. A wrapped one is read once and not at each call:
        see :func:`wrap`.
    x : Tensor (n, c, h, w)
        Images in the module's dtype.
    y : Tensor
        Labels (n,) or, for MSELoss, target outputs (n, k).
    criterion : nn.Module or function
        One that :func:`fit` supports, applied to a single image; by default the cross entropy.
    output : int or str, optional
        Which of several outputs it is applied to, if the module is not wrapped.
    clip : float, optional
        Return the sum over the images instead, of gradients that are scaled by
        ``min(1, clip / norm)``: so no image contributes more than this norm over all parameters
        with ``requires_grad``.

    Returns
    -------
    dict of str to Tensor
        Per parameter with ``requires_grad``, by its name in ``module.named_parameters()``: a tensor
        (n, ...) with one image's gradient in each row; or with `clip` one of its own shape.

    Raises
    ------
    TypeError, ValueError
        If the module, the criterion or a tensor cannot be read.

    Notes
    -----
    The clipped sum is that of Abadi et al. 2016, "Deep learning with differential privacy",
    algorithm 1, before the noise. It takes about as long as an ordinary gradient, and needs no
    memory for the gradients of single images, unless parameters are frozen or a bias is missing.

    Dropout in training mode drops units, by a seed from PyTorch's default generator.

    Examples
    --------
    A step of differentially private training, with noise of 1.1 times the norm:

    >>> import torch
    >>> from torch import nn
    >>> from lenet_fast.torch import per_example_gradients, wrap
    >>> module = wrap(nn.Sequential(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.Linear(2304, 10)))
    >>> optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    >>> x, y = torch.rand(64, 1, 28, 28), torch.arange(64) % 10
    >>> sums = per_example_gradients(module, x, y, clip=1.0)
    >>> for name, parameter in module.named_parameters():
    ...     noise = 1.1 * torch.randn_like(parameter)
    ...     parameter.grad = (sums[name] + noise) / len(x)
    >>> optimizer.step()
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected an nn.Module, got {checks.kind(module)}")
    read = criteria.Criterion(criterion)
    reading = (wrapper_of(module) or Wrapper(module, Options(output))).reading(x, read.output)
    read.check_end(reading.softmax)
    labels = read.labels(y, len(x), reading.network.output_shape[0])
    reading.weights()
    trained, masks = reading.trained(), reading.masks()
    # The engine's norm includes what is frozen, pruned, or lacking in the module, such as a bias.
    own = clip is not None and bool(masks or len(trained) < len(reading.network.trainable_names))
    _, arrays = reading.engine_for(read.loss).gradients_per_example(
        tensors.array("x", reading.images(x)),
        labels,
        clip=None if own else clip,
        dropout=reading.draw(),
    )
    each = clip is None or own
    found = {
        path: reading.as_tensor(trained[path], arrays[reading.names[trained[path]]], each=each)
        for path, _ in module.named_parameters()
        if path in trained
    }
    for path in masks.keys() & found.keys():
        found[path] *= masks[path]
    return _clipped_sum(found, checks.positive("clip", clip)) if own else found


def _clipped_sum(each: Gradients, clip: float) -> Gradients:
    """Return the sum of the images' gradients, each scaled to a norm of at most `clip`."""
    squares = [gradient.flatten(1).square().sum(1) for gradient in each.values()]
    norms = torch.stack(squares).sum(0).sqrt()
    shares = torch.where(norms > clip, clip / norms, 1)
    return {name: torch.tensordot(shares, gradient, 1) for name, gradient in each.items()}
