"""Pictures of results: PNG and SVG, the same bytes from the same results."""
