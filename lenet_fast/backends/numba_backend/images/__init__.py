"""Images before they come to a network."""
