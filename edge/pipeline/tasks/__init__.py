"""Models that answer something else than the class of a picture: scores, report and bundle."""
