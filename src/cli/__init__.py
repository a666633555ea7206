"""Machinery: from the words typed to a finished command."""
