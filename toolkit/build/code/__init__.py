"""The layers of the code: which files they have, their hashes, and their bytes."""
