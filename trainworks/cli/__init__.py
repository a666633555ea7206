"""From the words typed to a finished command."""
