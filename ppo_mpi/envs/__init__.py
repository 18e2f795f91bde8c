"""Environment suites behind one contract."""
