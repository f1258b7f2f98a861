"""Small stand-ins for PETR and DETR3D of mmdet3d's projects, which are not in its package.

They have the names, the calls and the quirks of the originals: images squeezed in place where there
is one sample, and pre-processing, heads and post-processing under the same names.
"""

import torch
from mmdet3d.models import Det3DDataPreprocessor
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

NUM_QUERIES, NUM_CLASSES, CHANNELS, CAMERAS = 6, 3, 16, 2


class _Head(nn.Module):
    """Queries that attend to the positions of all cameras, after position encodings."""

    def __init__(self):
        super().__init__()
        self.num_classes = self.cls_out_channels = NUM_CLASSES
        self.loss_cls = nn.Module()
        self.loss_cls.use_sigmoid = True
        self.train_cfg, self.test_cfg = dict(assigner=None), dict(max_num=4)
        self.reference_points = nn.Embedding(NUM_QUERIES, 3)
        self.query_embedding = nn.Sequential(nn.Linear(3, CHANNELS), nn.ReLU(), nn.Linear(16, 16))
        self.position_encoder = nn.Conv2d(4, CHANNELS, 1)
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)
        self.cls_branch = nn.Linear(CHANNELS, NUM_CLASSES)
        self.reg_branch = nn.Linear(CHANNELS, 10)

    def forward(self, feats: list[Tensor], img_metas: list[dict]) -> dict[str, Tensor]:
        x = feats[0]
        batch, cameras, _, height, width = x.shape
        matrices = x.new_tensor([meta['lidar2img'] for meta in img_metas])  # (B, N, 4)
        rays = torch.arange(height * width, device=x.device).view(1, 1, height, width).float()
        rays = (rays + 1) * matrices.view(batch * cameras, 4, 1, 1)
        places = self.position_encoder(rays).view_as(x)
        memory = (x + places).permute(0, 1, 3, 4, 2).flatten(1, 3)
        reference = self.reference_points.weight.sigmoid()
        queries = self.query_embedding(torch.special.logit(reference, 1e-5)).expand(batch, -1, -1)
        scores, boxes = [], []
        for _ in range(2):
            queries = queries + self.attention(queries, memory, memory)[0]
            scores.append(self.cls_branch(queries))
            boxes.append(self.reg_branch(queries))
        nothing = dict(enc_cls_scores=None, enc_bbox_preds=None)
        return dict(
            all_cls_scores=torch.stack(scores), all_bbox_preds=torch.stack(boxes), **nothing
        )

    def _detections(self, preds: dict[str, Tensor]) -> list[tuple]:
        found = []
        scores, boxes = preds['all_cls_scores'][-1], preds['all_bbox_preds'][-1]
        for score, box in zip(scores.sigmoid(), boxes, strict=True):
            values, rows = score.flatten().topk(self.test_cfg['max_num'])
            box = box[rows // NUM_CLASSES]
            yaw = torch.atan2(box[:, 6:7], box[:, 7:8])
            sizes = box[:, [2, 3, 5]].exp()
            centre = torch.cat((box[:, :2], box[:, 4:5] - sizes[:, 2:] / 2), 1)
            box = torch.cat((centre, sizes, yaw, box[:, 8:]), 1)
            found.append((LiDARInstance3DBoxes(box, 9), values, rows % NUM_CLASSES))
        return found

    def _losses(self, boxes: list, labels: list[Tensor], preds: dict[str, Tensor]) -> dict:
        losses = {}
        for layer, (scores, found) in enumerate(
            zip(preds['all_cls_scores'], preds['all_bbox_preds'], strict=True)
        ):
            centres = torch.cat([box.gravity_center for box in boxes])
            prefix = '' if layer == len(preds['all_cls_scores']) - 1 else f'd{layer}.'
            losses[f'{prefix}loss_cls'] = scores.sigmoid().mean() + 0 * torch.cat(labels).sum()
            losses[f'{prefix}loss_bbox'] = (
                (found[..., :2].mean((0, 1)) - centres[:, :2]).abs().sum()
            )
        return losses


class PETRHead(_Head):
    def get_bboxes(self, preds_dicts, img_metas, rescale=False):
        return [list(found) for found in self._detections(preds_dicts)]

    def loss_by_feat(self, gt_bboxes_list, gt_labels_list, preds_dicts):
        return self._losses(gt_bboxes_list, gt_labels_list, preds_dicts)


class DETR3DHead(_Head):
    def predict_by_feat(self, preds_dicts, img_metas, rescale=False):
        keys = ('bboxes_3d', 'scores_3d', 'labels_3d')
        return [
            InstanceData(**dict(zip(keys, found, strict=True)))
            for found in self._detections(preds_dicts)
        ]

    def loss_by_feat(self, batch_gt_instances_3d, preds_dicts):
        boxes = [gt.bboxes_3d for gt in batch_gt_instances_3d]
        return self._losses(boxes, [gt.labels_3d for gt in batch_gt_instances_3d], preds_dicts)


class _Detector(BaseModel):
    def __init__(self, head: type):
        super().__init__(data_preprocessor=None)
        self.data_preprocessor = Det3DDataPreprocessor()
        self.img_backbone = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, stride=8), nn.ReLU())
        self.pts_bbox_head = head()

    def extract_img_feat(self, img: Tensor) -> list[Tensor]:
        batch = img.size(0)
        if img.dim() == 5 and batch == 1:
            img.squeeze_()  # in place, as the originals do
        elif img.dim() == 5:
            img = img.flatten(0, 1)
        x = self.img_backbone(img)
        return [x.view(batch, len(x) // batch, *x.shape[1:])]

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert mode == 'predict'
        return self.predict(inputs, data_samples)


class PETR(_Detector):
    def __init__(self):
        super().__init__(PETRHead)

    def extract_feat(self, img, img_metas):
        return self.extract_img_feat(img)

    def predict(self, inputs, data_samples):
        metas = [sample.metainfo for sample in data_samples]
        feats = self.extract_feat(img=inputs['imgs'], img_metas=metas)
        outs = self.pts_bbox_head(feats, metas)
        for sample, found in zip(
            data_samples, self.pts_bbox_head.get_bboxes(outs, metas), strict=True
        ):
            names = ('bboxes_3d', 'scores_3d', 'labels_3d')
            sample.pred_instances_3d = InstanceData(**dict(zip(names, found, strict=True)))
        return data_samples


class DETR3D(_Detector):
    def __init__(self):
        super().__init__(DETR3DHead)

    def extract_feat(self, batch_inputs_dict, batch_input_metas):
        return self.extract_img_feat(batch_inputs_dict['imgs'])

    def predict(self, batch_inputs_dict, batch_data_samples):
        metas = [sample.metainfo for sample in batch_data_samples]
        outs = self.pts_bbox_head(self.extract_feat(batch_inputs_dict, metas), metas)
        for sample, found in zip(
            batch_data_samples, self.pts_bbox_head.predict_by_feat(outs, metas), strict=True
        ):
            sample.pred_instances_3d = found
        return batch_data_samples


def build_projects(kind: type) -> nn.Module:
    """A stand-in, seeded, in eval mode."""
    torch.manual_seed(0)
    model = kind().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def camera_batch(batch: int = 1) -> dict:
    """Images of two cameras and their projections, as the model's forward takes them."""
    torch.manual_seed(1)
    samples = []
    for index in range(batch):
        matrices = [[1.0 + index, 0.5, -0.2, 0.1], [0.3, -1.0, 0.4, 0.2]]
        meta = dict(lidar2img=matrices, box_type_3d=LiDARInstance3DBoxes, sample_idx=index)
        samples.append(Det3DDataSample(metainfo=meta))
    return dict(inputs=dict(imgs=torch.randn(batch, CAMERAS, 3, 32, 48)), data_samples=samples)
