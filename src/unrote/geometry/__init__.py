"""The geometry of memorization: what a training set says about a model before anyone trains it.

All levels are sigma of x = x0 + sigma z, in the units of the pixels: images in [0, 1] have half the thresholds of the
same images in [-1, 1].
"""
