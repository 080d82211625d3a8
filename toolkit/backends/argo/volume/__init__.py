"""The volume on a cluster, through a pod that reads it, and its mirror on this machine."""
