"""FRONT: networks of any size from the low frequencies of an ancestor's tensors."""

from germline.methods.front.method import FRONT

__all__ = ["FRONT"]
