"""Learngene Pool: distilled blocks stitched into a family of sizes."""

from germline.methods.pool.method import Pool

__all__ = ["Pool"]
