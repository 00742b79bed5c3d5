"""Cameras of every kind behind one interface: a frame is always a JPEG, and the newest one wins.

``table`` says which module an address belongs to; ``camera`` says what all of them give.
"""
