"""Sampling: steps of the reverse process and the one loop that takes them."""
