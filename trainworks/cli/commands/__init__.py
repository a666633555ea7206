"""The commands of `python train.py`: one file states each, with its options, their help and what it needs."""
