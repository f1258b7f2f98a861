"""What mmdet, mmdet3d and mmptq call the parts of a detector.

Plain attribute names, kept in the lowest layer because patches, schemes, adapters and export all
read them. The functions that look parts up in a model are in ``mmptq.adapters.parts``.
"""

# Dense heads that give boxes, in the order in which they are looked up.
BOX_HEADS = ('bbox_head', 'pts_bbox_head')
# The head of a lane detector.
LANE_HEAD = 'lane_head'
# The two stages of Faster R-CNN, and the mask head of Mask R-CNN.
RPN_HEAD = 'rpn_head'
ROI_HEAD = 'roi_head'
ROI_BOX_HEAD = f'{ROI_HEAD}.bbox_head'
ROI_MASK_HEAD = f'{ROI_HEAD}.mask_head'

# The parts of a LiDAR detector before its backbone.
VOXEL_ENCODERS = ('voxel_encoder', 'pts_voxel_encoder')
MIDDLE_ENCODERS = ('middle_encoder', 'pts_middle_encoder')
# Globs over the layers in them.
ENCODER_LAYERS = tuple(f'*{name}.*' for name in (VOXEL_ENCODERS[0], MIDDLE_ENCODERS[0]))

# The cameras of a detector that fuses them with LiDAR.
IMAGE_BRANCH = ('img_backbone.', 'img_neck.')

# Backbone, neck and head of detectors with one dense head; the neck may be absent.
SINGLE_STAGE = (
    ('pts_backbone', 'pts_neck', 'pts_bbox_head'),
    ('backbone', 'neck', 'bbox_head'),
    ('backbone', 'neck', LANE_HEAD),
)
# A detector with one of these parts has more than one branch or stage.
OTHER_STAGES = (ROI_HEAD, RPN_HEAD, 'decoder', 'img_backbone')
