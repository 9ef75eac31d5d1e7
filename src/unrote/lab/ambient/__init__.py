"""Experiments on ambient training (paper 003): exact optima, what copies leak, subpopulations."""
