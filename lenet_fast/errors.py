"""Exceptions that callers may want to tell apart."""

__all__ = ["FileFormatError"]


class FileFormatError(ValueError):
    """A file that is truncated, altered, or not of the format it should have."""
