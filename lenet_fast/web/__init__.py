"""The web page: draw a digit, inspect the network, watch it learn.

This package imports nothing; its modules import Flask and waitress.
"""
