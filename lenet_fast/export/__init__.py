"""Networks for microcontrollers and FPGAs: programs in C99, in float or in integers; and weights
and activations for test benches.

Examples
--------
>>> import tempfile
>>> from pathlib import Path
>>> from lenet_fast import data, export, models
>>> network = models.lenet5()
>>> images = data.load("sample").train.images
>>> with tempfile.TemporaryDirectory() as folder:
...     in_float = export.to_c(network, folder)
...     in_integers = export.to_c(export.quantise(network, images), folder, name="small")
...     sorted(path.name for path in Path(folder).iterdir())
['lenet.c', 'lenet.h', 'small.c', 'small.h']
>>> in_float.flash, in_integers.flash
(243437, 62701)
"""

from lenet_fast.export.fixed import Quantised
from lenet_fast.export.quantising import quantise
from lenet_fast.export.writing import Exported, to_c, to_headers, to_mem, to_npz

__all__ = ["Exported", "Quantised", "quantise", "to_c", "to_headers", "to_mem", "to_npz"]
