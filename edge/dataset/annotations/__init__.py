"""Annotated pictures: one module for each format, a table of them, and one reader in front."""
