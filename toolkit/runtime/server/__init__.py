"""The program in the pod that reads the volume and writes on it for a client."""
