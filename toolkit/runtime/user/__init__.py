"""What meets the user's code: it runs in the supervisor's child, and where a pipeline is described."""
