"""A camera's pictures with their answers, on a page: ``edge live`` and the service of a device.

``pipeline`` answers the newest frame and no older one; ``server`` serves the page and the interface
for programs; ``guard`` says who may ask; ``serve`` puts them together.
"""
