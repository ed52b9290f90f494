"""The options in the ``config.toml`` of a run, for a new one."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from lenet_fast.cli import common, settings

_RECORDED = {"epochs": "epochs", "folder": "data"}
"""Names in the file of options that ``settings.NOT_RECORDED`` would leave out."""


def read(context: click.Context, path: Path) -> dict[str, Any]:
    """Return the options of ``lenet-fast train`` in a run's ``config.toml``, or its folder.

    UsageError names the file, the option, its value and what is allowed.
    """
    import tomllib

    from lenet_fast.training import runs

    file = common.full_path("--config", path)
    file = file / runs.CONFIG if file.is_dir() else file
    try:
        tables = tomllib.loads(runs.text(file))
    except FileNotFoundError:
        raise click.UsageError(
            f"--config: expected the {runs.CONFIG} of a run, or its folder, but there is no {file}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--config: {file}: expected TOML ({error})") from None
    found = tables.get("options")
    if not isinstance(found, dict) or not found:
        raise click.UsageError(
            f"--config: {file}: expected a table [options], as lenet-fast train writes it, got none"
        )
    found = dict(found)
    if "evaluate_train" in found and "model" not in found:  # by an older version
        found.setdefault("distort", "none")
    elif "evaluate_train" not in found and "network" in tables:
        raise click.UsageError(
            f"--config: {file}: expected a run of lenet-fast train, got one that was started in "
            "Python, of which not everything is an option"
        )
    run = tables.get("run")
    if isinstance(run, dict) and "epochs" in run:
        found.setdefault("epochs", run["epochs"])
    if found.get("schedule") == "rate_list":  # what --rates means
        del found["schedule"]
    options = allowed(context.command)
    values = {}
    for name, value in found.items():
        if name not in options:
            raise unknown(f"--config: {file}: options", name, options)
        try:
            values[str(options[name].name)] = checked(options[name], value, context)
        except click.BadParameter as error:
            raise click.UsageError(
                f"--config: {file}: {name} = {value!r}: {error.message}"
            ) from None
    if values.get("distort") == "none":
        values["distort"] = None
    return values


def allowed(train: click.Command) -> dict[str, click.Parameter]:
    """Return the options of ``lenet-fast train`` that a file may have, by their names in it."""
    return {
        _RECORDED.get(each.name or "", each.name or ""): each
        for each in train.params
        if each.name in _RECORDED or each.name not in settings.NOT_RECORDED
    }


def unknown(where: str, name: str, options: Collection[str]) -> click.UsageError:
    """Return the error about an option that a file may not have."""
    close = difflib.get_close_matches(name.replace("-", "_"), options, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return click.UsageError(
        f"{where}: expected options of lenet-fast train, got {common.printable(name)}{hint}"
    )


def checked(option: click.Parameter, value: Any, context: click.Context) -> Any:
    """Return a value of TOML, checked as its text on the command line would be; BadParameter if
    that would be refused."""
    if isinstance(option, click.Option) and option.is_flag:
        if isinstance(value, bool):
            return value
        raise click.BadParameter("expected true or false")
    if option.name == "rates" and isinstance(value, list):
        value = ",".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise click.BadParameter("expected a number or a text")
    return option.type.convert(str(value), option, context)
