"""Measurements, as ratios of A to B alternating in one run; the results are in RESULTS.md."""
