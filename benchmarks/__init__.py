"""Measurements, run from the checkout; nothing of this is installed."""
