"""Machinery: processes, devices, signals, precision, memory."""
