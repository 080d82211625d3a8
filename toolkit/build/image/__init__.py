"""The image: our layers on an environment, as an archive and in the engine, and the record of the last build."""
