"""Trainings that are done here or on a cluster: what ``reproduce`` and ``sweep`` share."""
