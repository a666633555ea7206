"""Processes, devices, threads, signals, precision, memory."""
