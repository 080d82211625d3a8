"""What a project declares or locks: which file counts, what belongs to it, and how it is installed."""
