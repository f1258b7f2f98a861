"""What a detector does before its backbone and after its head is noticed."""

from dataclasses import replace

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import nn

from mmptq.deploy import FileForm
from mmptq.deploy.detector_watch import DetectorWatch
from mmptq.deploy.raw_images import RawImages
from mmptq.quantization import QuantizationError

RAW = FileForm(raw=RawImages([0.0], [1.0], False, 0.0))
BOXES = FileForm(end_to_end=True)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, feats):
        y = self.layer(feats)
        return [y[:, :4]], [y[:, 4:]]

    def predict_by_feat(self, boxes, scores, batch_img_metas=None):
        boxes, scores = boxes[0].flatten(2)[0].T, scores[0].sigmoid_().flatten()  # in place
        return [InstanceData(bboxes=boxes, scores=scores, labels=scores.long())]


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.bbox_head = nn.Conv2d(3, 3, 1), Head()

    def before(self, x):
        return x

    def between(self, raw):
        return raw

    def after(self, found):
        return found

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raw = self.between(self.bbox_head(self.backbone(self.before(inputs))))
        (found,) = self.bbox_head.predict_by_feat(*raw, batch_img_metas=[{}])
        sample = DetDataSample()
        sample.pred_instances = self.after(found)
        return [sample]


class Mirrored(Plain):
    def before(self, x):
        return x.flip(1)


class Resized(Plain):
    def before(self, x):
        return x[..., ::2]


class Calibrated(Plain):
    """Scores are scaled before they are decoded."""

    def between(self, raw):
        return raw[0], [raw[1][0] * 0.5]


class Rescored(Plain):
    """Scores are changed after they were decoded."""

    def after(self, found):
        found.scores *= 0.5
        return found


class Shortened(Plain):
    def after(self, found):
        return found[:1]


class TwoPasses(Plain):
    """On the image and on its mirror image."""

    def forward(self, inputs, **kwargs):
        found = super().forward(inputs)
        super().forward(inputs.flip(-1))
        return found


def watched(kind) -> DetectorWatch:
    torch.manual_seed(0)
    detector = kind().eval()
    watch = DetectorWatch(detector, 'backbone', 'bbox_head')
    with torch.no_grad(), watch.watching():
        for _ in range(2):
            detector(inputs=torch.rand(1, 3, 4, 6), mode='predict')
    assert 'predict_by_feat' not in vars(detector.bbox_head)
    return watch


def test_a_detector_that_only_decodes():
    watch = watched(Plain)
    assert watch.before is None and watch.after is None
    for form in (FileForm(), RAW, BOXES):
        watch.check(form)


@pytest.mark.parametrize(
    ('kind', 'cause'),
    [
        (Calibrated, "what 'bbox_head' gives is changed before it is decoded"),
        (Rescored, "detections are changed after 'bbox_head' decoded them"),
        (Shortened, "detections are changed after 'bbox_head' decoded them"),
        (TwoPasses, "'backbone' runs 2 times for one image"),
    ],
)
def test_boxes_of_a_file_would_be_others(kind, cause):
    watch = watched(kind)
    assert watch.after == cause
    watch.check(FileForm())
    with pytest.raises(QuantizationError, match=f'^--end-to-end: {kind.__name__} .*{cause}'):
        watch.check(BOXES)


@pytest.mark.parametrize('kind', [Mirrored, Resized])
def test_images_that_change_before_the_backbone(kind, monkeypatch):
    watch, lines = watched(kind), []
    cause = "images are changed before 'backbone' gets them"
    assert watch.before == cause and watch.after is None
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', lines.append)
    watch.check(FileForm())
    assert lines == [
        f"{cause}: the file takes what enters 'backbone', and the rest stays with the detector"
    ]
    for form, option in ((RAW, '--with-normalization'), (replace(RAW, end_to_end=True), '--end')):
        with pytest.raises(QuantizationError, match=f'^{option}.*{cause}'):
            watch.check(form)


def test_points_are_no_images():
    class Pillars(Plain):
        def forward(self, inputs, **kwargs):
            return super().forward(inputs['voxels'] * 2)

    watch = DetectorWatch(Pillars(), 'backbone', 'bbox_head')
    with torch.no_grad(), watch.watching():
        watch.detector(inputs=dict(voxels=torch.rand(1, 3, 4, 6)), mode='predict')
    assert watch.before is None
