"""The run log and the catalog as this machine reads and writes them."""
