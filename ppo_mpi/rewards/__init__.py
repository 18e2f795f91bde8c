"""Rewards computed from a rollout by a model of its own."""
