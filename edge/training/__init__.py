"""Training: data set, backbone, cached features, head."""
