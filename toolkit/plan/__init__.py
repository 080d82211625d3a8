"""The plan: what every backend runs, a pure function of model and configuration."""
