"""Inspection: what a model file holds, read from its graph alone; nothing of it is run."""
