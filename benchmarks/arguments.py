"""Arguments of the commands in this folder."""

import argparse


def positive(text: str) -> int:
    """Return a number of rounds, images or threads: for argparse, which names the argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an int, at least 1, got {text!r}")
    return int(text)
