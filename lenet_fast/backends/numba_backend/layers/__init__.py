"""Layers on a packed tile of images, and the operations on whole batches."""
