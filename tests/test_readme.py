"""Every block of the README, and every shell block of the pages in PAGES, is run here, in an empty
folder with an environment to activate and, where the block asks for it, a trained run.

Python blocks run as they stand. Shell blocks run as they stand too, under ``bash -e``, with four
commands replaced: ``lenet-fast``, ``python`` and ``pytest`` by ones that add options to make them
short (SHORT, BENCHMARKS and SUITE below), and ``make`` by its dry run in the checkout: really to
run `make test` would run this test again, and CI runs both commands. A block that none of these
claims is a failure.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import missing, require
from PIL import Image

import lenet_fast

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = ("benchmarks.rst", "quickstart.rst")


def _blocks() -> Iterator[Any]:
    for match in re.finditer(r"^```(\S*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        line = README[: match.start()].count("\n") + 1
        yield pytest.param(match[1], match[2], id=f"README-line{line}")
    for name in PAGES:
        text = (ROOT / "docs" / name).read_text()
        for match in re.finditer(r"^\.\. code-block:: sh\n\n((?: +.*\n|\n)+)", text, re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            slow = [pytest.mark.slow] if name == "benchmarks.rst" else []
            yield pytest.param("sh", textwrap.dedent(match[1]), id=f"{name}-line{line}", marks=slow)


BLOCKS = [*_blocks()]

SHORT = {
    "train": ["--dataset", "sample", "--limit", "200"],
    "evaluate": ["--dataset", "sample"],
    "data": ["--dataset", "sample"],
    "predict": [],
    "export": [],
    "info": [],
    "runs": [],
    "compare": [],
    "notebook": [],
    "plot": ["--dataset", "sample"],
    "reproduce": ["--dataset", "sample"],
    "bench": ["--only", "plain: one image, latency", "--seconds", "0.001"],
}
"""What is added to a command; of an option that is given twice, the last one counts."""

LENET_FAST = f"""#!{sys.executable}
import sys
from lenet_fast.cli import main

arguments = sys.argv[1:]
short = {SHORT}[arguments[0]]
main(arguments if "--resume" in arguments else arguments + short)
"""

BENCHMARKS = {
    "epochs": "--dataset sample --images 192 --rounds 1 --batch-size 64",
    "time_to_accuracy": "--dataset sample --goals 98 --seeds 1 --pytorch-seeds 0",
    "latency": "--calls 20",
    "networks": "--help",
    "lenet1989": "--dataset sample --passes 1 --steps 40",
    "distortions": "--dataset sample --images 64 --rounds 1 --batch-size 32",
}

SUITE = f"""#!{sys.executable}
import sys
import pytest

short = "-p no:cacheprovider --benchmark-min-rounds=1 --benchmark-max-time=0.001".split()
short += ["-k", "F6 and forward and float32 and numpy"]
for argument in sys.argv[1:]:
    if argument.startswith("--benchmark-compare-fail"):  # nothing is judged by its time here
        argument = "--benchmark-compare-fail=median:1000000%"
    short.append({str(ROOT / "benchmarks")!r} if argument == "benchmarks/" else argument)
short += ["-k", short[short.index("-k") + 1]]
sys.exit(pytest.main(short))
"""


def test_blocks_are_found() -> None:
    assert {block.values[0] for block in BLOCKS} == {"python", "sh"}
    assert README.count("```") == 2 * sum(block.id.startswith("README") for block in BLOCKS)
    for name in PAGES:
        found = sum(block.id.startswith(name) for block in BLOCKS)
        assert found == (ROOT / "docs" / name).read_text().count(".. code-block:: sh") > 0


def test_it_is_short() -> None:
    """What is longer goes into docs."""
    assert len(README.split()) <= 900


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    headings = {
        f"#{name.lower().replace(' ', '-')}" for name in re.findall(r"^#+ (.*)$", README, re.M)
    }
    assert len(links) > 10
    assert [link for link in links if link not in headings and not (ROOT / link).exists()] == []


def test_the_citation_has_the_version() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {lenet_fast.__version__}\n" in text


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_block(language: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if language == "python":
        exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})
    elif language == "sh":
        _run_shell(text, tmp_path)
    else:
        pytest.fail(f"no runner for a block of {language or 'no language'}")


def _run_shell(text: str, folder: Path) -> None:
    tools = folder / "tools"
    tools.mkdir()
    _script(tools / "lenet-fast", LENET_FAST)
    make = next(
        (p for p in map(Path, ("/usr/bin/make", "/usr/local/bin/make")) if p.exists()), None
    )
    if "make " in text:
        if make is None:
            missing("make is not installed")
        _script(tools / "make", f'#!/bin/sh\nexec {make} -n -C "{ROOT}" "$@"\n')
    if "python -m benchmarks" in text:
        cases = " ".join(f'*.{name}) set -- "$@" {short};;' for name, short in BENCHMARKS.items())
        script = f'#!/bin/sh\ncase "$2" in {cases} esac\nexec "{sys.executable}" "$@"\n'
        _script(tools / "python", script)
    if "pytest benchmarks/" in text:
        require("pytest_benchmark")
        _script(tools / "pytest", SUITE)
    if "digit.png" in text:
        _draw_digit(folder / "digit.png")
    if "runs/lenet5" in text:
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "activate").touch()
        text = f"lenet-fast train --epochs 1\n{text}"
    path = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["bash", "-e", "-u", "-c", text],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error:" not in done.stderr  # TensorFlow tells of "round-off errors"
    for line in text.splitlines():
        if line.startswith("make "):
            expected = {
                "train": "bin/lenet-fast train",
                "test": "-m pytest",
                "serve": "bin/lenet-fast serve",
                "bench": "-m pytest benchmarks/",
            }
            assert expected[line.split()[1]] in done.stdout


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _draw_digit(path: Path) -> None:
    from lenet_fast import data

    test = data.load("sample").test
    Image.fromarray(255 - test.images[0]).resize((200, 200)).save(path)
