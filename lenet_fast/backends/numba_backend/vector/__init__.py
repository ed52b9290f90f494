"""Vectors: their type, what moves them, and what threads share."""
