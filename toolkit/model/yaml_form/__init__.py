"""The YAML form of a pipeline: what its file says, as a description."""
