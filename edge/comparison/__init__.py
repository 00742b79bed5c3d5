"""Comparison: is a candidate as good as its baseline? A verdict with its uncertainty."""
