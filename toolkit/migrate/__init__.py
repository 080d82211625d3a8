"""Moves a project from runnable: its files with what toolkit calls things, and what is left for a person to do."""
