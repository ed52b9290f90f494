"""Figures for lectures and papers: errors of a run, contents of a network, its outputs.

Every function returns a ``matplotlib.figure.Figure``, 1,200 pixels wide, which needs no display and
no pyplot. A notebook shows it; :func:`save` writes it to a file. matplotlib is imported when the
first figure is created.

Examples
--------
>>> import tempfile
>>> from pathlib import Path
>>> from lenet_fast import data, plots
>>> figure = plots.samples(data.load("sample").test)
>>> with tempfile.TemporaryDirectory() as folder:
...     plots.save(figure, f"{folder}/digits.pdf")
...     Path(folder, "digits.pdf").read_bytes()[:4]
b'%PDF'
"""

from lenet_fast.plots.answers import class_distribution, confusion
from lenet_fast.plots.architecture import architecture
from lenet_fast.plots.curves import bars, errors, losses, rates, sweep, weights
from lenet_fast.plots.digits import bitmaps, distorted, mistakes, samples
from lenet_fast.plots.evidence import occlusion, saliency
from lenet_fast.plots.networks import connection_table, features, filters, readings
from lenet_fast.plots.scatter import embedding
from lenet_fast.plots.style import FORMATS, check_out, save
from lenet_fast.plots.sweeps import parallel_coordinates, spread

__all__ = [
    "FORMATS",
    "architecture",
    "bars",
    "bitmaps",
    "check_out",
    "class_distribution",
    "confusion",
    "connection_table",
    "distorted",
    "embedding",
    "errors",
    "features",
    "filters",
    "losses",
    "mistakes",
    "occlusion",
    "parallel_coordinates",
    "rates",
    "readings",
    "saliency",
    "samples",
    "save",
    "spread",
    "sweep",
    "weights",
]
