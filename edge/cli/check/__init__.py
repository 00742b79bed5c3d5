"""Commands that check models and bundles."""
