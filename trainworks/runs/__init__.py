"""What is on the disk: run directories, checkpoints, YAML."""
