"""What a model file holds, read from its graph alone: no interpreter is loaded, nothing is run."""
