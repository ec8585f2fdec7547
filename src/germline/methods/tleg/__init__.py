"""TLEG: a Transformer of any depth from two blocks."""

from germline.methods.tleg.method import TLEG

__all__ = ["TLEG"]
