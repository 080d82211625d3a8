"""Bringing a built image to a registry or to a cluster's node."""
