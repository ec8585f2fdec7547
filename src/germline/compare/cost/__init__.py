"""Costs of a comparison: samples, FLOPs, storage."""
