"""Runs a plan as an Argo Workflow on Kubernetes: no Argo server, no Argo CLI, no pod beyond the user's steps."""
