"""A Kubernetes with Argo Workflows on this machine alone, for tests and for trying things out; see ../README.md."""
