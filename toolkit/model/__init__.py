"""The pipeline model, and the forms that it is read from."""
