"""Measurements to run from the checkout; they are not installed."""
