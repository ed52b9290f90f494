"""``lenet-fast notebook``: copies of the lessons, to work in."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from lenet_fast.cli import common, help


@click.command(cls=help.Command, epilog=help.example("lenet-fast notebook lessons"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def notebook(folder: Path) -> None:
    """Copy the lessons, a course of Jupyter notebooks, into a folder.

    DIR is created if it does not exist. A file that is there already stays as it is: to get a
    lesson anew, rename yours first.

    They need Jupyter and matplotlib: the command prints how to install what is missing.
    """
    from lenet_fast import cures, disk

    source = _source()
    folder = common.full_path("DIR", folder)
    common.make_folder("DIR", folder)
    copied, kept = 0, []
    for lesson in sorted(source.glob("*.ipynb")):
        target = folder / lesson.name
        content = lesson.read_bytes()
        try:
            with open(target, "xb"):
                pass
        except FileExistsError:
            if not target.is_file() or target.read_bytes() != content:
                kept.append(target)
            continue
        try:
            disk.write_atomic(target, content)
        except BaseException:
            target.unlink()
            raise
        copied += 1
    common.line("copied", f"{copied} notebook{'s' * (copied != 1)} to {folder}")
    for target in kept:
        common.line("kept", f"{target}, which is not the lesson as it was")
    first = min(folder.glob("*.ipynb"), default=folder)
    needed = {"jupyterlab": "jupyterlab", "matplotlib": "lenet_fast[plot]"}
    missing = [package for name, package in needed.items() if find_spec(name) is None]
    steps = [cures.install(*missing)] if missing else []
    steps.append(cures.shell([cures.python(), "-m", "jupyterlab", str(first)]))
    for label, step in zip(("next", ""), steps, strict=False):
        common.command(label, step)


def _source() -> Path:
    """Return the folder of the lessons: in the package, or in the clone that it lies in."""
    import lenet_fast

    package = Path(lenet_fast.__file__).parent
    for folder in (package / "lessons", package.parent / "docs" / "lessons"):
        if any(folder.glob("*.ipynb")):
            return folder
    raise FileNotFoundError(
        f"lessons: expected notebooks in {package / 'lessons'}, but there are none; install "
        "lenet_fast from a wheel, or run this in a clone"
    )
