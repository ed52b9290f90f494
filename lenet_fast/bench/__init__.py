"""Measurements of ``lenet-fast bench``: this machine, whole networks on it, and their profile.

The benchmarks of the checkout build on these, and add single operations and other libraries.
"""
