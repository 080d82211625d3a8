"""The image: the code layer on an environment, as an archive, in the engine, and as the last build left it."""
