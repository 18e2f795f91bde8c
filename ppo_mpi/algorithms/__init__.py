"""Algorithms: a loss each, and the phases that are theirs alone."""
