"""The environment image: base, system packages and locked dependencies, built with BuildKit."""
