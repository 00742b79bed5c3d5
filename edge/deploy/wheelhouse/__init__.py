"""Wheels for one board, gathered on the host: locked, checked, cached, unpacked, slimmed."""

from edge.deploy.wheelhouse.environment import Environment, environment
from edge.deploy.wheelhouse.lock import Platform, Wheel, locked

__all__ = ["Environment", "Platform", "Wheel", "environment", "locked"]
