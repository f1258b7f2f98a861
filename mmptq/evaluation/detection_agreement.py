"""Differences between the detections of a quantized and a float network."""

import numpy as np

from .center_matching import match_centers


def detection_agreement(
    reference: dict[str, np.ndarray], other: dict[str, np.ndarray], match_distance: float = 1.0
) -> dict[str, np.ndarray | int]:
    """Match the boxes of two networks on one scan and compute their differences.

    Args:
        reference (dict): Detections of the float network: ``boxes`` (N, 7 or more) with x, y, z,
            three sizes and a heading in radians, ``labels`` (N,) and ``scores`` (N,).
        other (dict): M detections of the quantized network, in the same form.
        match_distance (float): Maximum distance of matched centres in bird's eye view, in metres.
            Defaults to 1.0.

    Returns:
        dict: ``num_reference`` N, ``num_other`` M, and for each of K matches ``center_error`` (K,)
        in metres (3D), ``heading_error`` (K,) in radians from 0 to pi, ``score_error`` (K,).
    """
    boxes, others = reference['boxes'], other['boxes']
    matched = match_centers(
        others[:, :2],
        other['labels'],
        other['scores'],
        boxes[:, :2],
        reference['labels'],
        match_distance,
    )
    mine, theirs = np.flatnonzero(matched >= 0), matched[matched >= 0]
    turn = boxes[mine, 6] - others[theirs, 6]
    return dict(
        num_reference=len(boxes),
        num_other=len(others),
        center_error=np.linalg.norm(boxes[mine, :3] - others[theirs, :3], axis=1),
        heading_error=np.abs((turn + np.pi) % (2 * np.pi) - np.pi),
        score_error=np.abs(reference['scores'][mine] - other['scores'][theirs]),
    )


def summarize_agreement(scans: list[dict]) -> dict[str, float]:
    """Summarize the differences over all scans.

    Args:
        scans (list[dict]): From :func:`detection_agreement`.

    Returns:
        dict[str, float]: ``matched`` (fraction of the boxes of both networks with a match,
        2 K / (N + M)); ``center_error`` in metres, ``heading_error`` in degrees and
        ``score_error``, all means over matches; ``num_pairs``. NaN without matches.
    """
    num_pairs = sum(len(scan['center_error']) for scan in scans)
    num_boxes = sum(scan['num_reference'] + scan['num_other'] for scan in scans)
    summary = dict(matched=2 * num_pairs / num_boxes if num_boxes else float('nan'))
    for name in ('center_error', 'heading_error', 'score_error'):
        values = np.concatenate([scan[name] for scan in scans]) if scans else np.empty(0)
        summary[name] = float(values.mean()) if len(values) else float('nan')
    summary['heading_error'] = float(np.degrees(summary['heading_error']))
    return dict(summary, num_pairs=num_pairs)
