"""Exceptions of this package."""

__all__ = ["FileFormatError"]


class FileFormatError(ValueError):
    """A file is truncated, altered, or not in the expected format.

    Examples
    --------
    >>> from lenet_fast.data import idx
    >>> idx.loads(b"", "digits.gz")
    Traceback (most recent call last):
    lenet_fast.errors.FileFormatError: digits.gz: expected an IDX header, got 0 bytes in all
    """
