"""The environment of an image for another platform than the engine's: made without running anything of that platform."""
