"""The networks of the papers and of other reproductions, trained as their sources say."""
