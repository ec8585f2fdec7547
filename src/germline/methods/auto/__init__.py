"""Auto-Learngene: inherit the layers that help a pseudo descendant most."""

from germline.methods.auto.method import Auto

__all__ = ["Auto"]
