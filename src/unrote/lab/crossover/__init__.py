"""The Gaussian-mixture laboratory of *On the Edge of Memorization* (paper 000), figure by figure."""
