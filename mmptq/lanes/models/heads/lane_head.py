"""Base of the heads of lane detectors."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

from mmdet.structures import DetDataSample
from mmengine.model import BaseModule
from torch import Tensor

from mmptq.lanes.geometry import lanes_to_original


class LaneHead(BaseModule, metaclass=ABCMeta):
    """Base of heads that predict lanes from features.

    A head implements three methods, so that raw outputs can be compared, changed and decoded
    without another run of the network:

    - :meth:`forward`: features to named raw outputs;
    - :meth:`loss_by_output`: raw outputs and labelled samples to losses;
    - :meth:`decode`: raw outputs to lanes in pixels of the input.

    A head encodes its own targets from ``gt_lanes`` (list of (N, 2) tensors in pixels of the input,
    bottom to top, on the CPU) and ``gt_lane_slots`` of each sample. Samples may have no lanes.
    """

    @abstractmethod
    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Raw outputs of the head.

        Args:
            feats (Sequence[Tensor]): Features of the neck, or of the backbone if there is no neck.

        Returns:
            dict[str, Tensor]: Outputs by name, batch first.
        """

    @abstractmethod
    def loss_by_output(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses of raw outputs.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): With ``gt_lanes``, one per image.

        Returns:
            dict[str, Tensor]: Scalars; those named ``loss...`` are summed by the training loop.
        """

    @abstractmethod
    def decode(
        self, outputs: dict[str, Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Lanes of raw outputs.

        Args:
            outputs (dict[str, Tensor]): From :meth:`forward`.
            data_samples (list[DetDataSample]): One per image; provide the image sizes.

        Returns:
            list[list[Tensor]]: The lanes of each image, (N, 2) x and y in pixels of the input.
        """

    def loss(self, feats: Sequence[Tensor], data_samples: list[DetDataSample]) -> dict[str, Tensor]:
        """Losses of a batch, see :meth:`loss_by_output`."""
        return self.loss_by_output(self(feats), data_samples)

    def predict(
        self, feats: Sequence[Tensor], data_samples: list[DetDataSample]
    ) -> list[list[Tensor]]:
        """Lanes of a batch.

        Args:
            feats (Sequence[Tensor]): Input of :meth:`forward`.
            data_samples (list[DetDataSample]): One per image.

        Returns:
            list[list[Tensor]]: The lanes of each image, (N, 2) x and y in pixels of the original
            image.
        """
        lanes = self.decode(self(feats), data_samples)
        return [
            lanes_to_original(of_image, sample.metainfo)
            for of_image, sample in zip(lanes, data_samples, strict=True)
        ]
