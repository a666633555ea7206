"""Continuing a run: from which checkpoint, whether it is the same training, and to the very same weights."""
