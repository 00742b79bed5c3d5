"""On the device, standard library only: slots, service, trial, state.

The host ships this package with ``edge.runtime``; it needs Python >= 3.11 and nothing else.
"""
