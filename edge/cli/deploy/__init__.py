"""Commands that bring bundles to devices."""
