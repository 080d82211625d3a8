"""Following a Workflow: its nodes, its outcome, and the watch on it."""
