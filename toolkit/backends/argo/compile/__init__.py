"""The Argo objects of a plan. Pure."""
