"""Denoisers: exact ones, networks, and the wrappers that make a denoiser of a network."""
