"""Benchmarks: how long a model file takes here, with the raw samples kept."""
