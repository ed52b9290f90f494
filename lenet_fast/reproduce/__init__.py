"""The experiments of the papers and of other reproductions, with their sources' settings."""
