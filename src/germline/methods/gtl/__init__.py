"""Genetic Transfer Learning: an evolved circuit of channels."""

from germline.methods.gtl.method import GTL

__all__ = ["GTL"]
