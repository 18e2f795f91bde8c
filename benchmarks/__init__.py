"""Measurements of speed, memory and start-up; each script is run by itself and explains itself."""
