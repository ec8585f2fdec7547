"""LeTs: a Transformer of any width and depth from narrow blocks and learnt maps."""

from germline.methods.lets.method import LeTs

__all__ = ["LeTs"]
