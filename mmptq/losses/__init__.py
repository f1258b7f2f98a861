"""What "close to float" means."""

from .detection_output_loss import DetectionOutputLoss
from .global_positive_loss import GlobalPositiveLoss
from .head_distortions import head_distortions
from .lp_loss import LpLoss
from .semantic_focus_loss import SemanticFocusLoss
from .sensitivity_aware_selection import SensitivityAwareSelection
from .task_loss import TaskLoss
from .top_k_confidence_loss import TopKConfidenceLoss

__all__ = [
    'DetectionOutputLoss',
    'GlobalPositiveLoss',
    'LpLoss',
    'SemanticFocusLoss',
    'SensitivityAwareSelection',
    'TaskLoss',
    'TopKConfidenceLoss',
    'head_distortions',
]
