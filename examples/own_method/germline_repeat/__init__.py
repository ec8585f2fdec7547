"""An example method for germline: descendants repeat the first blocks of an ancestor."""

from germline_repeat.method import Repeat

__all__ = ["Repeat"]
