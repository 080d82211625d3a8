"""Showing runs: what ``toolkit runs``, ``show``, ``logs`` and ``catalog`` print, and their JSON."""
