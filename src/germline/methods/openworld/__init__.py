"""Open-World Learngene: a collective network that grows over a task stream."""

from germline.methods.openworld.method import OpenWorld

__all__ = ["OpenWorld"]
