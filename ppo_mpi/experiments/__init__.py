"""Experiments: many runs, their evaluations, tables and figures, from one command each."""
