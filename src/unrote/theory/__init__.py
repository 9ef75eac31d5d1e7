"""Formulas as pure functions: no data is read, nothing is trained.

`levels` (laws of levels and weightings), `crossover` (000's two excess losses, their crossover and the loss of a
k-means optimum), `nearest` (its constant at finite dimension), `overlap` and `surrogates` (the exact losses),
`concentration` (000's Appendix C, corrected), `wasserstein` (how many samples make an empirical distribution);
`leakage`, `subpopulations`, `merging` (003's information about training data, rare groups, and what noise makes one).
"""
