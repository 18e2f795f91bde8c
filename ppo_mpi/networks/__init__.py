"""Torsos, heads and distributions."""
