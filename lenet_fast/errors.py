"""Exceptions of this package."""

__all__ = ["FileFormatError"]


class FileFormatError(ValueError):
    """A file is truncated, altered, or not in the expected format."""
