"""Measures this project beside the raw engine, bare Python and a peer, in turn. ``python -m bench`` runs all of it."""
