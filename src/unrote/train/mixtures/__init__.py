"""Learned Gaussian mixtures: k-means, its other metrics, Adam, and the literal recipe."""
