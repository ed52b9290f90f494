"""Settings of the documentation: ``make docs`` builds it in docs/_build.

The API pages and the help texts are generated from the package at each build, so they are current.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from pathlib import Path
from types import FunctionType, GenericAlias, ModuleType
from typing import Any

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))
# Without a terminal, this sets the width of the help texts.
os.environ["COLUMNS"] = "80"
os.environ.setdefault("KERAS_BACKEND", "torch")

from docutils import nodes  # noqa: E402
from docutils.utils.math import MathError  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402
from numpydoc.xref import DEFAULT_LINKS  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402
from sphinx.environment import BuildEnvironment  # noqa: E402
from sphinx.pycode import ModuleAnalyzer  # noqa: E402
from sphinx.util import logging  # noqa: E402
from sphinx.util.docutils import SphinxDirective  # noqa: E402

import lenet_fast  # noqa: E402
from lenet_fast.cli import group  # noqa: E402
from lenet_fast.layers import Layer  # noqa: E402
from lenet_fast.losses import Loss  # noqa: E402

logger = logging.getLogger(__name__)


# --- the API pages  ---


SHARED = (Layer, Loss)
KINDS = {"class": "Classes", "exception": "Exceptions", "function": "Functions", "data": "Data"}


def kind(value: Any) -> str:
    """Return which of the KINDS an object is."""
    if isinstance(value, type) and not isinstance(value, GenericAlias):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) else "data"


def public_modules() -> list[ModuleType]:
    """Return the modules whose ``__all__`` lists their public names.

    The kernels of the backends are not included; users call :mod:`lenet_fast.ops`.
    """
    package = Path(lenet_fast.__file__).parent
    found = []
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        private = parts[-1].startswith("_") or (len(parts) > 2 and parts[1] == "backends")
        if not private and "\n__all__ = " in path.read_text(encoding="utf-8"):
            found.append(importlib.import_module(".".join(parts)))
    return sorted(found, key=lambda module: module.__name__)


def public_names(module: ModuleType) -> list[str]:
    """Return the names that a module's page describes, in order.

    Modules have their own pages, and names that a package re-exports from one of its modules appear
    only on the package's page.
    """
    parent = sys.modules.get(module.__name__.rpartition(".")[0])
    handed_on = () if parent in (None, lenet_fast) else getattr(parent, "__all__", ())
    names = [
        name
        for name in module.__all__
        if name not in handed_on and not isinstance(getattr(module, name), ModuleType)
    ]
    order = list(KINDS)
    return sorted(names, key=lambda name: (order.index(kind(getattr(module, name))), name.lower()))


PUBLIC = public_modules()


def members(value: type) -> list[str]:
    """Return what the entry of a class describes: its public methods and properties, and the
    attributes with a docstring.

    Members inherited from our classes are included, except those that all layers or losses share;
    members inherited from other libraries are not.
    """
    found: dict[str, None] = {}
    for base in value.__mro__:
        if base.__module__.startswith("lenet_fast.") and (base is value or base not in SHARED):
            own = [
                name
                for name, member in vars(base).items()
                if isinstance(member, (FunctionType, classmethod, staticmethod, property))
            ]
            documented = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            own += [name for scope, name in documented if scope == base.__qualname__]
            found |= dict.fromkeys(name for name in own if not name.startswith("_"))
    return list(found)


def api_page(module: ModuleType) -> str:
    """Return the text of a module's page."""
    full = module.__name__
    title = full.removeprefix("lenet_fast.")
    lines = [title, "=" * len(title), "", f".. automodule:: {full}", ""]
    names = public_names(module)
    if len(names) > 3:
        lines += [".. autosummary::", "   :nosignatures:", ""]
        lines += [*(f"   {name}" for name in names), ""]
    for one, heading in KINDS.items():
        entries = [name for name in names if kind(getattr(module, name)) == one]
        if entries:
            lines += [heading, "-" * len(heading), ""]
        for name in entries:
            lines += [f".. auto{one}:: {full}.{name}"]
            if one == "class" and (described := members(getattr(module, name))):
                lines += [f"   :members: {', '.join(described)}"]
            if one == "data" and len(repr(getattr(module, name))) > 100:
                lines += ["   :no-value:"]
            lines += [""]
    return "\n".join(lines)


def write_api_pages(app: Sphinx) -> None:
    """Write a page for each public module, and their list."""
    rows = [".. list-table::", "   :widths: 38 62", ""]
    for module in PUBLIC:
        summary = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
        summary = re.sub(r":\w+:`[~.]?([^`]*)`", r"`\1`", summary)  # names without their module
        rows += [f"   * - :mod:`{module.__name__}`", f"     - {summary}"]
    pages = {f"{module.__name__}.rst": api_page(module) for module in PUBLIC}
    pages["modules.txt"] = "\n".join(rows) + "\n"
    for path in (DOCS / "api").glob("lenet_fast*.rst"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = DOCS / "api" / name
        if not path.exists() or path.read_text() != text:  # else Sphinx would read all pages again
            path.write_text(text)


def warn_of_missing(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of public names, public methods of classes, and keywords without an entry."""
    entries = env.get_domain("py").objects
    for name in KEYWORDS:
        if f"lenet_fast.{name}" not in entries:
            logger.warning("KEYWORDS has %s, which has no entry", name)
    for module in PUBLIC:
        for name in public_names(module):
            full = f"{module.__name__}.{name}"
            wanted = [full]
            if kind(getattr(module, name)) == "class":
                wanted += [f"{full}.{member}" for member in members(getattr(module, name))]
            for each in wanted:
                if each not in entries:
                    logger.warning("%s is public, but not documented", each)


def describe_constant(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Give a re-exported constant the docstring from the module that defines it."""
    if what != "data":
        return
    package, _, name = name.rpartition(".")
    lines[:] = lines if _own_text(package, name) else []  # else it is the docstring of its type
    for module in sorted(sys.modules):
        if not any(lines) and module.startswith(f"{package}."):
            lines += _own_text(module, name)
    if not any(lines):
        logger.warning("%s.%s has no docstring", package, name)


def leave_unsigned(app: Sphinx, what: str, *rest: Any) -> tuple[None, None] | None:
    """Keep numpydoc from looking for a constant's arguments in the docstring of its type."""
    return (None, None) if what == "data" else None


def _own_text(module: str, name: str) -> list[str]:
    return ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), [])


KEYWORDS = {
    "data.Distortion": ["augmentation", "data augmentation"],
    "data.centre": ["normalisation of images"],
    "data.read_image": ["picture file", "PNG"],
    "layers.RBF": ["RBF output"],
    "layers.Subsample2D": ["sub-sampling"],
    "losses.CrossEntropy": ["cross-entropy", "label smoothing"],
    "losses.MAP": ["MAP criterion"],
    "network.Network.classify": ["prediction", "classification"],
    "network.Network.save": ["save a network", "model file"],
    "plots.architecture": ["drawing of a network", "layer diagram"],
    "plots.bitmaps": ["bitmap"],
    "plots.class_distribution": ["histogram of classes"],
    "plots.confusion": ["confusion matrix"],
    "plots.connection_table": ["connection table"],
    "plots.distorted": ["augmentation"],
    "plots.errors": ["learning curve", "error curve"],
    "plots.features": ["feature map"],
    "plots.filters": ["kernels, picture of", "weights, picture of"],
    "plots.mistakes": ["misread digits", "misclassified digits"],
    "plots.occlusion": ["occlusion map", "explanation of an answer"],
    "plots.saliency": ["saliency map", "heat map", "explanation of an answer"],
    "training.OneCycle": ["learning rate schedule", "warm-up"],
    "training.SDLM": ["stochastic diagonal Levenberg-Marquardt"],
    "training.SGD": ["stochastic gradient descent", "momentum", "weight decay"],
    "training.Trainer.evaluate": ["test error", "confusion matrix"],
}
"""Words by which a reader may search for a name that does not have them in it."""


def add_keywords(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Put an entry's keywords into the index, which the search reads."""
    words = KEYWORDS.get(name.removeprefix("lenet_fast."), [])
    lines[:0] = [f".. index:: ! {word}" for word in words] + ["" for _ in words[:1]]


# --- the command line  ---


class Help(SphinxDirective):
    """``.. help:: train``: the output of ``lenet-fast train --help``; without a name, the
    group's."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a literal block."""
        context = group.make_context("lenet-fast", [], resilient_parsing=True)
        for name in self.arguments:
            command = group.commands[name]
            context = command.make_context(name, [], parent=context, resilient_parsing=True)
        text = context.get_help()
        return [nodes.literal_block(text, text, language="none")]


# --- formulas  ---


def write_formula(writer: Any, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers show without a script or a connection."""
    block = isinstance(node, nodes.math_block)
    try:
        writer.body.append(tex2mathml(node.astext(), as_block=block))
    except MathError as error:
        logger.warning("%s: %s", error, node.astext(), location=node)
    raise nodes.SkipNode


# --- pictures of executed cells  ---


def describe_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Name pictures without a text after their section, for readers who do not see them."""
    for picture in doctree.findall(nodes.image):
        above: Any = picture
        while not isinstance(above, nodes.section | nodes.document):
            above = above.parent
        title = next(above.findall(nodes.title), None)
        if "alt" not in picture and title is not None:
            picture["alt"] = f"Figure: {title.astext()}"


def write_demo(app: Sphinx, failure: Exception | None) -> None:
    """Write the page without a server into the folder demo, with a network that learns here."""
    from lenet_fast import data
    from lenet_fast.web import still
    from lenet_fast.web.snapshots import NetworkSnapshot
    from lenet_fast.web.training_requests import TrainingRequest

    if failure is not None or app.builder.format != "html":
        return
    sample = data.load("sample")
    request = TrainingRequest.from_json({"epochs": 20}, len(sample.train))
    trainer = request.trainer()
    trainer.fit(sample.train, sample.test, request.epochs, verbose=False)
    folder = Path(app.outdir, "demo")
    folder.mkdir(exist_ok=True)
    snapshot = NetworkSnapshot(trainer.network, 0, "LeNet-5")
    (folder / "index.html").write_bytes(still.page(snapshot, sample.test, len(sample.test)))


def setup(app: Sphinx) -> None:
    """Register all of this with Sphinx."""
    app.add_directive("help", Help)
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
    app.connect("builder-inited", write_api_pages)
    app.connect("doctree-read", describe_pictures)
    app.connect("env-check-consistency", warn_of_missing)
    app.connect("build-finished", write_demo)
    app.connect("autodoc-process-docstring", describe_constant, priority=400)
    app.connect("autodoc-process-docstring", add_keywords, priority=600)  # after numpydoc
    app.connect("autodoc-process-signature", leave_unsigned, priority=400)


# --- settings  ---

project = "lenet_fast"
author = copyright = "The lenet_fast developers"
version = release = lenet_fast.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute", "front_ends_speed.rst"]
default_role = "literal"
# What Sphinx itself says of an alias of a type; there are no pages of NumPy's to lead to.
nitpick_ignore = [("py:class", "numpy.ndarray"), ("py:class", "numpy.dtype")]

html_theme = "furo"
html_title = f"lenet_fast {release}"
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
templates_path: list[str] = []

autodoc_typehints = "none"  # the docstrings have the types
autodoc_member_order = "bysource"
autosummary_generate = False
toc_object_entries_show_parents = "hide"
html_math_renderer = "mathml"
myst_heading_anchors = 2
myst_enable_extensions = ["dollarmath"]

# The lessons are executed at each build, and a cell that raises ends it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # seconds per cell
nb_merge_streams = True
# The copy button leaves out prompts and output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

numpydoc_show_class_members = False  # autodoc shows them
numpydoc_attributes_as_param_list = True
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # but for these, and none that lead away from these pages:
DEFAULT_LINKS.clear()
numpydoc_xref_aliases = {
    name: f"{module.__name__}.{name}"
    for module in PUBLIC
    for name in public_names(module)
    if kind(getattr(module, name)) in ("class", "exception")
}
# Check form, and that everything documented exists. The other checks require sections that most
# methods here do not need, such as "See Also", or texts that begin on the line after the quotes.
numpydoc_validation_checks = {
    *("GL03", "GL05", "GL06", "GL07", "GL09", "GL10", "SS03", "SS04", "SS05"),
    *("PR02", "PR05", "PR08", "PR10"),
}
