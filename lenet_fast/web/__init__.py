"""The page: draw a digit, watch the network think, watch it learn.

The modules import Flask and waitress when they are imported themselves; this one imports nothing.
"""
