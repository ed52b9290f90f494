"""Arrays that an ONNX model keeps in other files."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from lenet_fast import disk
from lenet_fast.checks import quoted
from lenet_fast.errors import FileFormatError
from lenet_fast.onnx import form


class External:
    """Reads arrays beside a model, if that is asked for; all together, up to form.MAX_BYTES.

    A model chooses the names of these files. So they must lie in its own folder, and be no links
    to elsewhere: otherwise a model could show what is in any file.
    """

    def __init__(self, path: str | os.PathLike[str], wanted: bool) -> None:
        self._folder = Path(path).parent
        self._wanted = wanted
        self._left = form.MAX_BYTES

    def fill(self, what: str, tensor: Any, dtype: np.dtype[Any]) -> None:
        """Read a tensor's values into it; ValueError if its file or its size is not right."""
        about = {each.key: each.value for each in tensor.external_data}
        name = about.get("location", "")
        if not self._wanted:
            raise ValueError(
                f"{what}: expected values within the file, got external data in {quoted(name)}; "
                "external_data=True (--external-data) reads them from the model's folder; PyTorch "
                "writes a single file with external_data=False"
            )
        path = self._folder / name
        if name in ("", ".", "..") or any(each in name for each in "/\\:\0"):
            raise ValueError(
                f"{what}: expected external data in a file of the model's folder, got "
                f"{quoted(name)}"
            )
        size = math.prod(tensor.dims) * dtype.itemsize
        try:
            offset, length = int(about.get("offset", 0)), int(about.get("length", size))
        except ValueError:
            offset, length = -1, -1
        if offset < 0 or length != size or size > self._left:
            raise ValueError(
                f"{what}: expected external data of {size} bytes for its shape, and at most "
                f"{form.MAX_BYTES} in all, got offset {about.get('offset', 0)!r:.40}, length "
                f"{about.get('length', size)!r:.40}"
            )
        self._left -= size
        try:
            if path.is_symlink():
                raise FileFormatError(f"expected external data in a file, got a link, {path}")
            with disk.open_regular(path) as file:
                there = os.fstat(file.fileno()).st_size
                if there < offset + size:
                    raise FileFormatError(
                        f"expected {offset + size} bytes or more in {path}, got {there}"
                    )
                file.seek(offset)
                tensor.raw_data = file.read(size)
        except FileFormatError as error:
            raise ValueError(f"{what}: {error}") from error
        except OSError as error:
            raise ValueError(f"{what}: external data: {path}: {error.strerror}") from error
        tensor.ClearField("external_data")
        tensor.data_location = type(tensor).DEFAULT
