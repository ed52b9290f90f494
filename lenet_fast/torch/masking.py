"""Masks that keep parameters where they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from lenet_fast.checks import Array
from lenet_fast.torch import tensors

_DTYPES = (torch.bool, *tensors.INTEGERS, *tensors.FLOATS)


def read(
    module: nn.Module,
    masks: Mapping[str, torch.Tensor] | None,
    trained: Mapping[str, torch.Tensor],
) -> dict[str, Array]:
    """Return masks, given by the module's names, by the names in `trained`.

    Zeros and ones in the parameters' dtype. ValueError or TypeError if they are no masks of these.
    """
    found = {}
    names = {id(tensor): name for name, tensor in trained.items()}
    theirs = dict(module.named_parameters(remove_duplicate=False))
    for path, mask in (masks or {}).items():
        name = names.get(id(theirs.get(path)))
        if name is None:
            raise ValueError(
                f"masks: expected names of trained parameters of the module, got {path!r}"
            )
        array = tensors.without_gradient(f"masks: {path}", mask, _DTYPES)
        if array.shape != tuple(trained[name].shape) or not np.isin(array, (0, 1)).all():
            raise ValueError(
                f"masks: expected zeros and ones of shape {tuple(trained[name].shape)} for {path}, "
                f"got {array.dtype} of shape {array.shape}"
            )
        found[name] = array.astype(tensors.array(path, trained[name]).dtype, order="C")
    return found
