"""Searches for good options: many trainings, judged on a part of the training set."""
