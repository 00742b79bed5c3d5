"""Commands that make bundles."""
