"""The table: transcripts, parsing, the walk through a composition, and the loop that moves many episodes at once."""
