"""Side by side, in turn: this project, the raw engine, bare Python and a peer. ``python -m bench`` runs all of it."""
