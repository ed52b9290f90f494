"""Layers on one image at a time, vectors along its maps, columns or inputs."""
