"""The plan: what every backend runs, made purely from model and configuration."""
