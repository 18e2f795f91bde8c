"""What a run writes: checkpoints, logs, videos."""
