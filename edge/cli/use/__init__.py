"""Commands that use models on pictures."""
