"""Measuring copies: exact neighbours, verdicts, errors per level, fidelity, intervals."""
