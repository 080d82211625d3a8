"""What the host and the container share: the records, where they lie, and how they are read."""
