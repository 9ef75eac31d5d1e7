"""The geometry of *Two Calm Ends and the Wild Middle* (paper 001), figure by figure."""
