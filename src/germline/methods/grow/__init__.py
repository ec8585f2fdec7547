"""Exact growth: a wider and deeper network that computes what its ancestor does."""

from germline.methods.grow.method import Grow

__all__ = ["Grow"]
