"""Imports run downwards only: the rules of the house, read off the syntax trees."""

from __future__ import annotations

import ast
import functools
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import printed_by

import lenet_fast
from lenet_fast import backends

PACKAGE = Path(lenet_fast.__file__).parent

# The storeys of the house, from the ground. A module imports from its own or from below.
STOREYS = (
    {
        *(
            "errors",
            "windows",
            "checks",
            "choices",
            "configs",
            "connections",
            "bitmaps",
            "defaults",
            "memory",
        ),
        "docstrings",
        "notebooks",
        *("cures", "pixels", "threads", "backends", "locks", "disk"),
    },
    {"ops"},
    {"layers", "losses"},
    {"network", "models", "initialisers", "engines", "files", "counts"},
    {"data", "training"},
    {"plots", "onnx", "export", "jobs"},
    {"bench", "reproduce", "sweeps"},
    {"cli", "__main__", "sklearn", "torch", "keras", "drop_in", "web", "federated"},
)
FRONT_ENDS = STOREYS[-1]
OPS_MAY_USE = {"ops", "backends", "checks", "choices", "docstrings", "windows"}

# Who may use which library outside the standard one; NumPy is free to all.
LIBRARIES = {
    "numba": ("backends.numba_backend",),
    "safetensors": ("files",),
    "platformdirs": ("data",),
    "requests": ("data",),
    "urllib3": ("data",),  # which comes with Requests
    "PIL": ("data", "cli"),
    "sklearn": ("data", "sklearn"),
    "joblib": ("sklearn",),  # which comes with scikit-learn
    "threadpoolctl": ("threads",),
    "IPython": ("notebooks", "plots.figures"),
    "rich": ("training.callbacks", "cli"),
    "click": ("cli",),
    "torch": ("torch",),
    "keras": ("keras",),
    "matplotlib": ("plots", "reproduce", "sweeps", "training"),
    "onnx": ("onnx",),
    "onnxruntime": ("onnx",),
    "google": ("onnx",),  # protobuf, which comes with onnx
    "flask": ("web",),
    "werkzeug": ("web",),  # which comes with Flask
    "waitress": ("web",),
    "distributed": ("jobs.clusters",),
    "mpi4py": ("engines.ranks", "jobs.clusters"),
    "pyarrow": ("cli.bulk",),
    "flwr": ("federated.flower",),
}
# Who may reach itself, through a function: a network makes the engines that it predicts with, and
# saves itself; results draw themselves.
CIRCLES = {
    *(("network", "engines"), ("network", "files")),
    *(("training.history", "plots"), ("training.evaluation", "plots")),
}
# Everything else is imported late, inside the function that needs it.
EARLY = {
    "numba": "backends.numba_backend",
    "click": "cli",
    "matplotlib": "plots.figures",
    "torch": "torch",
    "keras": "keras",
    **dict.fromkeys(("sklearn", "joblib"), "sklearn"),
    **dict.fromkeys(("flask", "werkzeug", "waitress"), "web"),
}
# The one front end that starts another.
STARTS = {("cli", "web")}


class Import(NamedTuple):
    """One import statement of one name."""

    module: str  # that has it, below lenet_fast: "ops._conv2d"; "" for the package itself
    target: str  # full name: "lenet_fast.checks", "numpy"
    late: bool  # inside a function
    typing: bool  # under `if TYPE_CHECKING:`
    line: int

    def __str__(self) -> str:
        return f"lenet_fast.{self.module}, line {self.line}: imports {self.target}"


def modules() -> dict[str, Path]:
    """Return the package's modules by their names below lenet_fast."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(module: str, source: str) -> list[Import]:
    """Return all imports in a source, those in functions and conditions included."""
    found = []

    def add(node: ast.AST, target: str, late: bool, typing: bool) -> None:
        found.append(Import(module, target, late, typing, node.lineno))

    def walk(node: ast.AST, late: bool, typing: bool) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(node, alias.name, late, typing)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = full.removeprefix("lenet_fast.") in MODULES
                add(node, full if is_module else node.module, late, typing)
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing = typing or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for child in ast.iter_child_nodes(node):
            walk(child, late, typing)

    walk(ast.parse(source), False, False)
    return found


@functools.cache
def imports() -> list[Import]:
    """Return all imports of the package."""
    return [
        found
        for module, path in MODULES.items()
        for found in imports_of(module, path.read_text(encoding="utf-8"))
    ]


def storey(name: str) -> int:
    """Return the storey of a module given below lenet_fast."""
    for level, rooms in enumerate(STOREYS):
        if name.split(".")[0] in rooms:
            return level
    raise AssertionError(f"lenet_fast.{name} has no storey in {Path(__file__).name} yet")


def inside() -> list[tuple[Import, str]]:
    """Return the imports from one module of the package to another."""
    return [
        (found, found.target.removeprefix("lenet_fast").removeprefix("."))
        for found in imports()
        if found.target.split(".")[0] == "lenet_fast"
    ]


def is_within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def judge(found: list[tuple[Import, str]]) -> list[str]:
    """Return what breaks the rule that imports run downwards."""
    wrong = []
    for one, target in found:
        if one.module == "" or target == "":
            continue
        room, other = one.module.split(".")[0], target.split(".")[0]
        if storey(target) > storey(one.module) and not (
            one.late and (one.module, target) in CIRCLES
        ):
            wrong.append(f"{one}: upwards")
        started = room in (other, "__main__") or (one.late and (room, other) in STARTS)
        if {room, other} <= FRONT_ENDS and not started:
            wrong.append(f"{one}: one front end from another")
        if room == "ops" and other not in OPS_MAY_USE:
            wrong.append(f"{one}: not for the ops")
    return wrong


def test_every_module_has_a_storey():
    assert len(MODULES) > 30
    for module in MODULES:
        if module:
            storey(module)


def test_imports_run_downwards():
    assert len(inside()) > 50
    assert judge(inside()) == []


def test_the_judge_sees_wrong_imports():
    """Planted: upwards, upwards inside a function, sideways between front ends."""
    for module, source in (
        ("checks", "from lenet_fast import ops"),
        ("ops._conv2d", "def f():\n    from lenet_fast.layers import base"),
        ("ops._conv2d", "import lenet_fast.connections"),
        ("web", "if x:\n    try:\n        from lenet_fast.cli import common\n    except E: pass"),
        ("cli.serve", "from lenet_fast.web import server"),
        ("cli.serve", "def f():\n    from lenet_fast import drop_in"),
        ("backends.numpy_backend", "import lenet_fast.training.trainer as t"),
    ):
        found = imports_of(module, source)
        pairs = [(one, one.target.removeprefix("lenet_fast.")) for one in found]
        assert judge(pairs), source
    with pytest.raises(AssertionError, match="relative"):
        imports_of("ops", "from . import checks")
    with pytest.raises(AssertionError, match="no storey"):
        storey("attic")


def test_the_package_itself_is_imported_for_its_version_only():
    for found, target in inside():
        if target == "" and found.module:
            line = MODULES[found.module].read_text(encoding="utf-8").splitlines()[found.line - 1]
            assert "__version__" in line or found.module.startswith("cli"), str(found)


def test_the_package_itself_opens_nothing_before_it_is_used():
    assert all(found.late or found.typing for found, _ in inside() if found.module == "")
    code = (
        "import lenet_fast, sys; print('numpy' in sys.modules); "
        "print(lenet_fast.models.lenet5().counts().parameters, lenet_fast.use_backend.__name__)"
    )
    assert printed_by(code).split() == ["False", "60000", "use_backend"]


def test_completion_of_models_offers_networks_only():
    assert set(dir(lenet_fast.models)) == set(lenet_fast.models.__all__)
    assert lenet_fast.models.MAX_CLASSES  # what is left out is there


def test_public_modules_are_attributes_of_the_package():
    assert set(dir(lenet_fast)) == set(lenet_fast.__all__)
    front_ends = {name for name in ("sklearn", "torch") if find_spec(name)}
    tops = {name.split(".")[0] for name in MODULES if name}
    inner = {
        "__main__",
        "bench",
        "checks",
        "choices",
        "cli",
        "configs",
        "counts",
        "cures",
        "defaults",
        "disk",
        "docstrings",
    }
    inner |= {"locks", "memory", "notebooks", "pixels", "reproduce", "web", "windows"}
    inner |= {"jobs", "sweeps"}
    inner |= {"keras", *({"sklearn", "torch"} - front_ends)}
    assert set(lenet_fast.__all__) == tops - inner | {"__version__", "load", "use_backend"}
    for name in sorted(tops - {"__main__", "torch", "keras"}):  # which the tests need not have
        module = getattr(lenet_fast, name)
        assert module.__name__ == f"lenet_fast.{name}"
    with pytest.raises(AttributeError, match="module 'lenet_fast' has no attribute 'lenet5'"):
        _ = lenet_fast.lenet5


EVERYTHING = """\
import sys
sys.modules.update(dict.fromkeys(["torch", "sklearn", "keras", "onnx", "matplotlib"]))
import inspect, pydoc, rlcompleter
from unittest import mock
import lenet_fast as lf
from lenet_fast import *
assert data is lf.data and "torch" not in globals()
assert {"onnx", "plots"} <= {name for name, _ in inspect.getmembers(lf)}
assert "LeNet-5 of 1998" in pydoc.render_doc(lf)
mock.create_autospec(lf)
typed = rlcompleter.Completer({"lf": lf})
assert [typed.complete("lf.t", n) for n in range(3)] == ["lf.threads", "lf.training", None]
assert not any(hasattr(lf, name) for name in ("torch", "sklearn", "keras"))
assert not {"torch", "sklearn", "keras"} & {*dir(lf), *lf.__all__}
codes = ("lf.torch", "from lenet_fast import torch", "import lenet_fast.sklearn")
for code in (*codes, "import lenet_fast.keras"):
    try:
        exec(code)
    except (AttributeError, ImportError) as error:
        print(type(error).__name__, error)
"""


def test_without_the_libraries_of_the_front_ends_the_rest_is_complete():
    lines = printed_by(EVERYTHING).splitlines()
    assert [line.split()[0] for line in lines] == ["AttributeError", *["ImportError"] * 3]
    for line, library in zip(lines, ("PyTorch", "PyTorch", "scikit-learn", "Keras 3"), strict=True):
        assert re.search(f" needs {library}: .* install 'lenet_fast", line), line


def test_a_library_that_stands_in_without_a_spec_is_taken_as_there():
    code = (
        "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); import lenet_fast; "
        "print('torch' in dir(lenet_fast))"
    )
    assert printed_by(code) == "True"


def test_a_backend_imports_itself_and_nothing_else_of_the_package():
    seen = set()
    for found in imports():
        name = re.match(r"backends\.(\w+)", found.module)
        if not name:
            continue
        seen.add(name[1])
        root = found.target.split(".")[0]
        if root == "lenet_fast":
            assert is_within(found.target, f"lenet_fast.backends.{name[1]}"), str(found)
        else:
            own = {"numba"} if name[1] == "numba_backend" else set()
            assert root in {"numpy", *own} or root in sys.stdlib_module_names, str(found)
    assert seen >= {"numpy_backend", "cython_backend", "numba_backend"}


def test_each_library_is_used_where_it_belongs_and_late():
    seen = set()
    for found in imports():
        root = found.target.split(".")[0]
        if root in sys.stdlib_module_names or root in ("lenet_fast", "numpy"):
            continue
        assert root in LIBRARIES, f"{found}: a library without a place in the table"
        assert is_within(found.module, *LIBRARIES[root]), str(found)
        if not (found.late or found.typing):
            assert is_within(found.module, EARLY.get(root, "-")), f"{found} too early"
        seen.add(root)
    assert seen == set(LIBRARIES), "the table names what nobody uses"


def test_no_module_reaches_itself():
    """Cycles, those through functions included; imports for annotations alone do not count."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found, target in inside():
        allowed = found.late and (found.module, target) in CIRCLES
        if not (found.typing or allowed) and target in graph and target and found.module:
            graph[found.module].add(target)
    # A package is complete only after its parts: those who import the package wait for all of it.
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            raise AssertionError(" -> ".join((*path[path.index(module) :], module)))
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_names_are_imported_by_string_in_the_backends_only():
    for module, path in MODULES.items():
        if module and not is_within(module, "backends"):  # the package itself opens its modules
            source = path.read_text(encoding="utf-8")
            assert not re.search(r"\b(import_module|__import__|exec|eval)\(", source), module


def test_nothing_imports_the_kernels_folder():
    for found in imports():
        assert found.target.split(".")[0] != "kernels", str(found)


# --- as it happens  ---

HEAVY = (
    *("numba", "llvmlite", "click", "rich", "platformdirs", "safetensors", "matplotlib"),
    "threadpoolctl",
    *("torch", "sklearn", "scipy", "PIL", "pandas", "requests", "onnx", "onnxruntime", "google"),
    *("flask", "werkzeug", "waitress", "keras", "distributed", "mpi4py", "flwr"),
)
LOADED = f"print(*sorted({{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r})))"


@pytest.mark.parametrize("module", ["lenet_fast", "lenet_fast.ops", "lenet_fast.backends"])
def test_import_loads_nothing_heavy(module):
    assert printed_by(f"import sys, {module}; {LOADED}") == ""


def test_a_call_loads_nothing_heavy_either():
    """The default is Cython where it is compiled; Numba stays out unless chosen."""
    call = "import sys, numpy, lenet_fast.ops as o; o.tanh(numpy.ones(3){}); "
    assert printed_by(call.format(", backend='numpy'") + LOADED) == ""
    if backends.available()["cython"].usable:
        assert printed_by(call.format("") + LOADED) == ""


def test_ops_need_numpy_alone():
    """With every other library of the package out of reach."""
    libraries = sorted({*HEAVY, *LIBRARIES} - {"numpy"})
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({libraries!r})); "
        "import numpy, lenet_fast.ops as o; print(o.relu(numpy.ones(3), backend='numpy').sum())"
    )
    assert printed_by(code) == "3.0"
