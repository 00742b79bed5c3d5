"""Tags for a collection of photos."""
