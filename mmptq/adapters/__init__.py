"""What detector families look like from outside; each file registers one."""

from .adapter import Adapter, build_adapter
from .anchor3d_head import Anchor3DHeadAdapter
from .anchor_head import AnchorHeadAdapter
from .center_head import CenterHeadAdapter
from .head_output import HeadOutput

__all__ = [
    'Adapter',
    'Anchor3DHeadAdapter',
    'AnchorHeadAdapter',
    'CenterHeadAdapter',
    'HeadOutput',
    'build_adapter',
]
