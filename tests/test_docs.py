"""The documentation's commands are commands, and every command is in the documentation.

Its Python examples are doctests (docs/conftest.py). Its commands are not run, which the README's
are, but parsed as the program itself parses them: an option that is gone or misspelt is an error.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from lenet_fast.cli import group

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.rst") if "_build" not in path.parts)
BLOCK = re.compile(r"^( *)\.\. code-block:: sh\n\n((?:\1 +.*\n|\n)+)", re.MULTILINE)
LINES = [
    pytest.param(line.strip(), id=f"{page.relative_to(ROOT).as_posix()}: {line.strip()[:40]}")
    for page in PAGES
    for block in BLOCK.finditer(page.read_text())
    for line in block[2].splitlines()
    if line.strip()
]


def check(line: str) -> None:
    """Raise unless a line of shell is a command that there is, with options that there are."""
    words = shlex.split(line, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    if words[:2] == ["mpiexec", "-n"]:
        words = words[3:]
    program, *rest = words if words != ["make"] else ["make", "help"]
    if program == "lenet-fast":
        group.commands[rest[0]].make_context(rest[0], rest[1:])
    elif program == "make":
        assert re.search(f"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
    elif program == "python":
        assert rest[0] == "-m", line
        assert importlib.util.find_spec(rest[1]) is not None, line
    elif program == "pytest":
        assert (ROOT / rest[0]).exists(), line
    else:
        assert (program, rest[0]) == ("pip", "install"), f"no check for: {line}"
        extras = re.fullmatch(r"\.(?:\[(.*)\])?", rest[-1])
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert extras is not None, line
        assert set((extras[1] or "").split(",")) - {""} <= set(project["optional-dependencies"])


@pytest.mark.parametrize("line", LINES)
def test_command(line: str) -> None:
    check(line)


@pytest.mark.parametrize(
    "line",
    [
        "lenet-fast train --epoch-count 2",
        "lenet-fast train --pooling median",
        "lenet-fast learn",
        "make coffee",
        "python -m benchmarks.naught",
        "pytest benchmarks/test_bench_naught.py",
        "pip install '.[naught]'",
        "rm lenet5.onnx",
    ],
)
def test_what_is_no_command_is_found(line: str) -> None:
    with pytest.raises((AssertionError, KeyError, click.UsageError)):
        check(line)


def test_every_command_has_its_help() -> None:
    page = (ROOT / "docs" / "command_line.rst").read_text()
    assert set(re.findall(r"^\.\. help:: (\S+)$", page, re.MULTILINE)) == set(group.commands)


def test_every_picture_is_on_a_page() -> None:
    """Else nobody looks at it again, and it stays as it was while the figures change."""
    pages = [*PAGES, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    shown = {
        (page.parent / name).resolve()
        for page in pages
        if "_build" not in page.parts
        for name in re.findall(r"[\w./-]+\.(?:png|svg|jpe?g|gif|webp)", page.read_text("utf-8"))
    }
    there = {
        path
        for folder in ("docs", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp"}
        and not {"_build", "_static"} & set(path.parts)
    }
    assert there - shown == set()
    assert len(there) > 20


def test_the_developers_page_names_what_there_is() -> None:
    """Files by the end of their path, everything else by a word of the sources."""
    page = (ROOT / "docs" / "developing.rst").read_text()
    kinds = {".py", ".pyx", ".pxi", ".pxd", ".h", ".toml"}
    folders = [ROOT / name for name in ("lenet_fast", "kernels", "benchmarks", "tests", "tools")]
    files = [*ROOT.glob("*.*"), *(path for folder in folders for path in folder.rglob("*.*"))]
    files = [path for path in files if path.suffix in kinds and path != Path(__file__)]
    words = {word for path in files for word in re.findall(r"\w+", path.read_text())}
    for name in re.findall(r"(?<!`)(?<!:)`([\w./]+)`(?!`)", page):
        if "NAME" in name:
            continue
        if Path(name).suffix in kinds:
            assert any(f"/{path.relative_to(ROOT)}".endswith(f"/{name}") for path in files), name
        elif "/" not in name and Path(name).suffix not in (".rst", ".md"):
            assert set(name.split(".")) <= words, name
