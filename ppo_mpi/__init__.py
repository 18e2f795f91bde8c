"""PPO and its relatives, distributed with MPI."""

__version__ = "0.1.0"
