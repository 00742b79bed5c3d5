"""The commands of ``python3 -m edge.runtime``, one module each.

Each has ``EXAMPLE``, ``add_arguments(parser)``, and ``run(options)``, which gives the exit code.
"""
