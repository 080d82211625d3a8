"""The delivery of a built image: a push to a registry, or a load into a cluster's node."""
