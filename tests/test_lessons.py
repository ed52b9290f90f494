"""The lessons are stripped, small and free of what holds on one machine only.

That they run is checked by the documentation's build, which executes them and ends at an error.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lenet_fast import plots

LESSONS = Path(__file__).resolve().parents[1] / "docs" / "lessons"
TITLES = {
    "1-convolution": "1. Convolution by hand",
    "2-sub-sampling": "2. Sub-sampling and the connection table",
    "3-rbf-and-map": "3. RBF outputs and the MAP criterion",
    "4-gradients-checked": "4. Gradients, checked",
    "5-sdlm": "5. SDLM: a learning rate for every weight",
    "6-seconds": "6. 99 % in seconds",
    "7-what-it-looks-at": "7. What it looks at",
    "8-zip-codes": "8. The network of 1989 on its own zip codes",
}
HOST_PATH = re.compile(r"(?<![\w.:/)\]])[/~](?:home|root|work|tmp|Users|usr|mnt|opt)\b|\b[A-Z]:\\")
"""A path that starts at the root of one machine."""


def lesson(name: str) -> dict[str, Any]:
    return json.loads((LESSONS / f"{name}.ipynb").read_text("utf-8"))


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def check(notebook: dict[str, Any], title: str) -> None:
    """Raise AssertionError unless the notebook is one for git and for a reader."""
    cells = notebook["cells"]
    assert text(cells[0]).startswith(f"# {title}\n")
    assert "**Afterwards you will know**" in text(cells[0])
    assert any("## Exercises\n" in text(cell) for cell in cells)
    assert sum("hide-cell" in cell["metadata"].get("tags", ()) for cell in cells) >= 2, "solutions"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    for cell in cells:
        assert not HOST_PATH.search(text(cell)), text(cell)
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "strip the outputs"
            assert cell["execution_count"] is None, "strip the counts"
            assert not set(cell["metadata"]) - {"tags", "jupyter"}
            assert len(cell["source"]) <= 40, "a cell that fits a screen"
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_the_gallery_shows_every_figure() -> None:
    page = (LESSONS.parent / "gallery.md").read_text("utf-8")
    others = {"FORMATS", "Figure", "check_out", "save"}
    for name in set(plots.__all__) - others:
        assert f"\nplots.{name}(" in page, name
        assert f"{{func}}`lenet_fast.plots.{name}`" in page, name


@pytest.mark.parametrize("name", TITLES)
def test_lesson(name: str) -> None:
    check(lesson(name), TITLES[name])


def test_there_are_no_others_and_the_index_lists_them() -> None:
    assert sorted(path.stem for path in LESSONS.glob("*.ipynb")) == [*TITLES]
    index = (LESSONS / "index.rst").read_text()
    assert re.findall(r"^   (\d-\S+)$", index, re.MULTILINE) == [*TITLES]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda code: code.update(outputs=[{"output_type": "stream", "text": ["1"]}]),
        lambda code: code.update(execution_count=3),
        lambda code: code.update(source=["x = load('/home/me/mnist')"]),
        lambda code: code["metadata"].update(ExecuteTime={}),
        lambda code: code.update(id="cell-01"),
    ],
)
def test_what_is_not_for_git_is_found(spoil: Any) -> None:
    notebook = copy.deepcopy(lesson("1-convolution"))
    check(notebook, TITLES["1-convolution"])
    spoil(next(cell for cell in notebook["cells"] if cell["cell_type"] == "code"))
    with pytest.raises(AssertionError):
        check(notebook, TITLES["1-convolution"])
