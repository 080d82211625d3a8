"""The code layer: which files it has, their hashes, and its bytes."""
