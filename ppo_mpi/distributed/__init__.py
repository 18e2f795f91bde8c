"""Communication between ranks, and what keeps them alive or ends them together."""
