"""What turns a rollout into a better policy."""
