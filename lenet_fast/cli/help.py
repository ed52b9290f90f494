"""Help texts: sections in the order of work, second names of options, and colour on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_HEADING: dict[str, Any] = {"fg": "yellow", "bold": True}
_NAME: dict[str, Any] = {"fg": "cyan"}


def example(*lines: str) -> str:
    """Return the end of a help text: command lines to copy."""
    word = "Example" if len(lines) == 1 else "Examples"
    return "\n".join(["\b", f"{word}:", *(f"  {line}" for line in lines)])


class Option(click.Option):
    """An option that can have second names, which its help names at the end.

    Parameters
    ----------
    also : sequence of str
        Second names; for a flag, one that switches it off follows a slash: "--center/--no-center".
    """

    section = "Options"

    def __init__(self, *names: Any, also: Iterable[str] = (), **settings: Any) -> None:
        self._also = tuple(also)
        if self._also and settings.get("help") is not None:
            settings["help"] += f"  Also {', '.join(self._also)}."
        super().__init__(*names, **settings)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser know all names; errors and help texts have the first ones."""
        pairs = [each.partition("/")[::2] for each in self._also]
        shown = self.opts, self.secondary_opts
        self.opts = [*self.opts, *(on for on, _ in pairs)]
        self.secondary_opts = [*self.secondary_opts, *(off for _, off in pairs if off)]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts, self.secondary_opts = shown


def option(*names: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """Return the decorator that adds an :class:`Option`."""
    return click.option(*names, cls=Option, **settings)


def all_of(*options: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds these options, which the help shows in this order."""

    def add(command: Decorated) -> Decorated:
        for each in reversed(options):
            command = each(command)
        return command

    return add


def section(
    title: str, *options: Callable[[Decorated], Decorated]
) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds these options under a heading of the help."""

    def add(command: Decorated) -> Decorated:
        before = len(getattr(command, "__click_params__", ()))
        command = all_of(*options)(command)
        for each in command.__click_params__[before:]:  # type: ignore[attr-defined]  # set by click
            each.section = title
        return command

    return add


class Formatter(click.HelpFormatter):
    """Writes headings and names in colour, if standard output is a terminal that wants it."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        if width is None:  # click itself would assume 50 columns at least
            width = max(min(shutil.get_terminal_size().columns, max_width or 80) - 2, 30)
        super().__init__(indent_increment, width, max_width)
        self._coloured = coloured()

    def write_heading(self, heading: str) -> None:
        """Write a heading."""
        super().write_heading(self._styled(heading, _HEADING))

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and what they mean; on a narrow terminal below each other."""
        if self.width < 60:
            col_max = 8  # no name fits: each gets a line of its own
        styled = [(self._styled(self._wrapped(name), _NAME), text) for name, text in rows]
        super().write_dl(styled, col_max, col_spacing)

    def _wrapped(self, name: str) -> str:
        """Return a name whose choices, if they are too long for a line, fill several."""
        lines = [""]
        for part in re.split(r"(?<=[| ])", name):
            if len(lines[-1]) + len(part) > self.width - 8 and lines[-1]:
                lines.append(f"{'':>6}")
            lines[-1] += part
        return "\n".join(lines)

    def _styled(self, text: str, style: dict[str, Any]) -> str:
        return click.style(text, **style) if self._coloured else text


def coloured() -> bool:
    """Return whether standard output is a terminal, and NO_COLOR and TERM allow colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()


class _Context(click.Context):
    formatter_class = Formatter


_IN_THE_LIBRARY = {
    "run_or_model": ("run", "model"),
    "folders": ("run",),
    "resume": ("run", "out"),
}
"""What the library calls parameters that have another name in a command."""


class Command(click.Command):
    """A command whose help has its options in sections."""

    context_class = _Context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of the library about an argument is one about how the command
        was called, and names the option."""
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, OSError) as error:
            name, colon, rest = str(error).partition(": ")
            # Of --out and --resume, that which the user gave.
            for each in sorted(self.params, key=lambda each: not ctx.params.get(each.name or "")):
                known = (each.name, each.opts[0], *_IN_THE_LIBRARY.get(each.name or "", ()))
                if not colon or name not in known:
                    continue
                option = isinstance(each, click.Option)
                # Of RUN RUN..., the first word.
                shown = each.opts[0] if option else each.human_readable_name.split()[0].strip("[]")
                if isinstance(error, BlockingIOError):  # called rightly, but at a wrong time
                    error.args = (f"{shown}: {rest}",)
                    break
                raise click.UsageError(f"{shown}: {rest}", ctx) from error
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        found: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx)
            if record is not None and not isinstance(each, click.Argument):
                found.setdefault(getattr(each, "section", Option.section), []).append(record)
        found[Option.section] = found.pop(Option.section)  # the rest comes last, with --help
        for title, records in found.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Group(click.Group):
    """A group whose help has its commands in sections, in the order given."""

    context_class = _Context
    sections: Mapping[str, tuple[click.Command, ...]] = {}

    def add_sections(self, sections: Mapping[str, tuple[click.Command, ...]]) -> None:
        """Add commands under headings."""
        self.sections = sections
        for commands in sections.values():
            for command in commands:
                self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, section by section."""
        width = max(map(len, self.commands))
        for title, commands in self.sections.items():
            with formatter.section(title):
                rows = [
                    (f"{command.name:<{width}}", command.get_short_help_str(limit=200))
                    for command in commands
                ]
                formatter.write_dl(rows)
