"""A detector is exported only if its file holds all between backbone and head outputs."""

import pytest
import torch
from deploy_models import TinyDetector, sample_inputs
from torch import nn

from mmptq.deploy.exported_subgraph import subgraph_inputs
from mmptq.quantization import QuantizationError


class Gate(TinyDetector):
    """Attention between neck and head."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Conv2d(32, 32, 1)

    def forward(self, x):
        feats = self.neck(self.backbone(x))
        return self.bbox_head(feats * self.gate(feats).sigmoid())


class Blur(TinyDetector):
    """A module without weights between neck and head."""

    def __init__(self):
        super().__init__()
        self.blur = nn.AvgPool2d(3, 1, 1)

    def forward(self, x):
        return self.bbox_head(self.blur(self.neck(self.backbone(x))))


class Scaled(TinyDetector):
    """No module at all."""

    def extract_feat(self, x):
        return 2 * self.neck(self.backbone(x))

    def forward(self, x):
        return self.bbox_head(self.extract_feat(x))


class After(TinyDetector):
    """Masks from the neck, as in YOLACT: the output of the head is as before."""

    def __init__(self):
        super().__init__()
        self.mask_head = nn.Sequential(nn.Conv2d(32, 2, 1))

    def forward(self, x):
        feats = self.neck(self.backbone(x))
        return self.bbox_head(feats), self.mask_head(feats)


class Twice(TinyDetector):
    """The head on the image and on its mirror image."""

    def forward(self, x):
        feats = self.neck(self.backbone(x))
        return self.bbox_head(feats), self.bbox_head(feats.flip(-1))


class Never(TinyDetector):
    """The layers of the head without its forward."""

    def forward(self, x):
        return self.bbox_head.scores(self.bbox_head.shared(self.neck(self.backbone(x))))


class TextHead(nn.Module):
    def forward(self, feats, text):
        return feats * text


class Text(TinyDetector):
    """A head that takes more than features, as in GLIP."""

    def __init__(self):
        super().__init__()
        self.bbox_head = TextHead()

    def forward(self, x):
        return self.bbox_head(self.neck(self.backbone(x)), 3.0)


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        (Gate, "Gate cannot be exported: 'gate' runs after the backbone, and has weights"),
        (Blur, "Blur cannot be exported: 'blur' changes what the head gets or gives"),
        (Scaled, 'Scaled.extract_feat changes .* hold backbone, neck, bbox_head, one after'),
        (After, "'mask_head' runs after the backbone, and has weights"),
        (Twice, "the forward of 'bbox_head' runs 2 times, not once"),
        (Never, "the forward of 'bbox_head' runs 0 times"),
        (Text, r"'bbox_head' does not run on the features alone \(TypeError: .*'text'"),
    ],
)
def test_what_the_file_would_leave_out_is_named(kind, message):
    detector = kind().eval()
    watched = subgraph_inputs(detector)
    with torch.no_grad(), pytest.raises(QuantizationError, match=message), watched:
        for x in sample_inputs():
            detector(x)
    assert 'forward' not in vars(detector.bbox_head)


class Before(TinyDetector):
    """What runs before the backbone stays in the detector; decoding may work in place."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 3, 1)
        self.box_loss = nn.MSELoss()

    def forward(self, x):
        (scores,), outputs = self.bbox_head(self.neck(self.backbone(self.encoder(x))))
        return scores.sigmoid_(), outputs['offsets'].exp_()


def test_before_and_in_place():
    detector = Before().eval()
    with torch.no_grad(), subgraph_inputs(detector) as inputs:
        for x in sample_inputs(3):
            detector(x)
    assert len(inputs) == 3


def test_an_error_in_the_detector_is_not_hidden():
    detector = Gate().eval()
    with pytest.raises(ZeroDivisionError), subgraph_inputs(detector):
        detector(sample_inputs()[0])
        raise ZeroDivisionError
