"""The ``local`` environment: containers of the Docker engine."""
