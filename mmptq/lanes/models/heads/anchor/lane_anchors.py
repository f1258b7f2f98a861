"""Anchors of a lane head, and features along them."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmdet.registry import TASK_UTILS
from torch import Tensor, nn

from .row_lanes import RowLanes, lanes_to_rows, row_lane_distances


class LaneAnchors(nn.Module):
    """A subset of the generated anchors.

    All anchors follow from the config. The checkpoint stores which are used (``index``) and whether
    they were chosen from data (``chosen``). Without data they are evenly spaced.

    Args:
        generator (dict): Config of a :class:`LaneAnchorGenerator`.
        num_anchors (int): Number of anchors A to choose.
        num_rows (int): Number of rows S with an x, from bottom to top.
        image_size (tuple[int, int]): Width and height of the input in pixels.
        stride (int): Stride of the feature map in pixels.

    Raises:
        ValueError: If ``num_anchors`` is less than 2 or more than are generated.
    """

    def __init__(
        self,
        generator: dict,
        num_anchors: int,
        num_rows: int,
        image_size: tuple[int, int],
        stride: int,
    ) -> None:
        super().__init__()
        generator = TASK_UTILS.build(generator)
        if not 2 <= num_anchors <= len(generator):
            raise ValueError(
                f'num_anchors must be between 2 and {len(generator)}, the number of generated '
                f'anchors, got {num_anchors}'
            )
        self.image_size = tuple(image_size)
        self.stride = stride
        width = self.image_size[0]
        xs = generator.xs_at(torch.linspace(1, 0, num_rows, device='cpu')) * width
        starts = (generator.start_heights() * (num_rows - 1)).round()
        self.register_buffer('all_xs', xs, persistent=False)
        self.register_buffer('all_starts', starts, persistent=False)
        heights = torch.linspace(0, 1, self.image_size[1] // stride, device='cpu')
        columns = (generator.xs_at(heights) * width / stride).round().long()
        self.register_buffer('all_columns', columns, persistent=False)
        even = torch.linspace(0, len(generator) - 1, num_anchors, dtype=torch.float64, device='cpu')
        self.register_buffer('index', even.round().long())
        self.register_buffer('chosen', torch.tensor(False))

    @property
    def pooled_rows(self) -> int:
        """Number of rows of the feature map that are used."""
        return self.all_columns.shape[1]

    def lanes(self) -> RowLanes:
        """The chosen anchors as lanes up to the top of the image."""
        return self._all_lanes()[self.index]

    def pool(self, features: Tensor) -> Tensor:
        """Features along the chosen anchors, zero outside the image.

        Args:
            features (Tensor): (B, C, H, W).

        Returns:
            Tensor: (B, A, C * pooled_rows).

        Raises:
            ValueError: If the features belong to another image size.
        """
        height, width = features.shape[2:]
        if width != -(-self.image_size[0] // self.stride) or height < self.pooled_rows:
            raise ValueError(
                f'anchors are for images of {self.image_size[0]}x{self.image_size[1]} pixels, but '
                f'the feature map has {width}x{height} cells of {self.stride} pixels: set '
                'image_size of the head to the size of the images in the pipeline'
            )
        columns = self.all_columns[self.index].T
        # Columns are rounded, so column `width` is the right half of the last cell.
        outside = (columns < 0) | (columns > width)
        # Unused rows are dropped after the gather: OpenVINO 2026.4 removes a slice before a gather
        # and then reports inconsistent shapes.
        index = F.pad(columns.clamp(0, width - 1), (0, 0, 0, height - self.pooled_rows))
        pooled = features.gather(3, index.expand(*features.shape[:2], -1, -1))
        pooled = pooled[:, :, : self.pooled_rows].masked_fill(outside, 0)
        return pooled.permute(0, 3, 1, 2).flatten(2)

    @torch.no_grad()
    def count_matches(self, lanes: Sequence[Tensor], max_distance: float) -> Tensor:
        """Count the lanes near each generated anchor.

        Args:
            lanes (Sequence[Tensor]): (P, 2) points each, in pixels of the input, on the CPU.
            max_distance (float): Lanes with a smaller mean difference of x over common rows count.

        Returns:
            Tensor: (all anchors,) int64.
        """
        targets = lanes_to_rows(lanes, self.all_xs.shape[1], *self.image_size)
        targets = targets.to(self.all_xs.device)
        return (row_lane_distances(self._all_lanes(), targets) < max_distance).sum(dim=1)

    def choose(self, frequency: Tensor) -> None:
        """Use the anchors that match most lanes.

        Args:
            frequency (Tensor): (all anchors,) numbers of lanes.
        """
        best = frequency.to(self.index.device).argsort(descending=True, stable=True)
        self.index.copy_(best[: len(self.index)])
        self.chosen.fill_(True)

    def choose_by_file(self, path: str) -> None:
        """Use the anchors that match most lanes according to a file.

        Args:
            path (str): File with one tensor, saved with ``torch.save``.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file does not hold one number per generated anchor.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"anchor_frequency '{path}' does not exist: remove it and use LaneAnchorHook"
            )
        frequency = torch.load(path, map_location='cpu', weights_only=True)
        num_all = len(self.all_xs)
        if not isinstance(frequency, Tensor) or frequency.shape != (num_all,):
            raise ValueError(
                f"anchor_frequency '{path}' must hold a tensor of {num_all} numbers, one for each "
                'generated anchor'
            )
        self.choose(frequency)

    def _all_lanes(self) -> RowLanes:
        lengths = torch.full_like(self.all_starts, self.all_xs.shape[1])
        return RowLanes(self.all_xs, self.all_starts, lengths)
