"""``lenet-fast completion``: let the shell complete commands, options and choices."""

from __future__ import annotations

import click

from lenet_fast.cli import help

_SHELLS = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc, after compinit",
    "fish": "~/.config/fish/completions/lenet-fast.fish",
}


@click.command(
    cls=help.Command,
    epilog="\b\nFor the current shell, one of:\n"
    '  eval "$(lenet-fast completion bash)"\n'
    '  eval "$(lenet-fast completion zsh)"\n'
    "  lenet-fast completion fish | source\n\n"
    "\b\nFor every new shell, put that line into:\n"
    + "\n".join(f"  {shell:<6}{file}" for shell, file in _SHELLS.items()),
)
@click.argument("shell", type=click.Choice(tuple(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script with which a shell completes what you type, at the Tab key.

    It completes commands, options, their choices and file names, for the program lenet-fast.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(context.find_root().command, {}, "lenet-fast", "_LENET_FAST_COMPLETE")
    click.echo(made.source_template % made.source_vars())
