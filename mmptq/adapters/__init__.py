"""What detector families look like from outside; each file registers one."""

from .adapter import Adapter, build_adapter
from .anchor_head import AnchorHeadAdapter
from .head_output import HeadOutput

__all__ = ['Adapter', 'AnchorHeadAdapter', 'HeadOutput', 'build_adapter']
