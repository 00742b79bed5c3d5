"""Boards that edge knows: one TOML file each, read by ``devices.profile``."""
