"""Hyperparameter search: trials of settings with several seeds each, from one YAML file."""
