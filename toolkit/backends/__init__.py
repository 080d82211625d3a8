"""Backends: what turns a plan into running containers or processes."""
