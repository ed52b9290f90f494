"""What the tests of the command line share."""

from __future__ import annotations


class Result:
    """Exit status, standard output and standard error output of a command."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


def assert_one_line(result: Result, *words: str, status: int = 1) -> None:
    """Check that a command failed, with one line that has these words in it."""
    assert result.status == status, result.err
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("lenet-fast: error: ")
    for word in words:
        assert word in result.err


def assert_fits(text: str, columns: int = 80) -> None:
    """Check the width of a report, but for commands to copy, which name this Python."""
    lines = [line for line in text.splitlines() if " -m lenet_fast " not in line]
    assert max(map(len, lines)) <= columns
