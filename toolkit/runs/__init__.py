"""Runs that exist: finding, reading, moving, retrying and cancelling them."""
