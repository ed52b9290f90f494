"""The engines' loops: whole networks, a tile of images or one image at a time."""
