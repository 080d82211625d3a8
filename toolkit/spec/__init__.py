"""The container of a step, described once for every engine."""
