"""Test pipelines of configs: which one, and what it reads."""

import pytest
from helpers import pipeline_of

from mmptq.ptq.inputs.calibration_settings import CalibrationSettings
from mmptq.ptq.inputs.pipelines import (
    evaluation_leaves,
    pipelines_for,
    sample_kind,
    without_annotations,
)
from mmptq.quantization import QuantizationError

A, B = [dict(type='A')], [dict(type='B')]
NONE = CalibrationSettings()


def leaf(root, pipeline):
    return dict(type='CocoDataset', data_root=root, pipeline=pipeline)


def concat(*leaves):
    return dict(val_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=list(leaves))))


def test_pipeline_inside_wrappers():
    assert pipeline_of(dict(type='W', dataset=dict(pipeline=A))) == A
    assert pipeline_of(dict(type='C', datasets=[dict(pipeline=A)])) == A
    assert pipeline_of(dict(type='C')) is None


def test_val_data_before_test_data_before_the_name():
    cfg = dict(test_dataloader=dict(dataset=leaf('t', B)), test_pipeline=A)
    assert evaluation_leaves(cfg)[0]['pipeline'] == B
    cfg['val_dataloader'] = [dict(dataset=leaf('v', A)), dict(dataset=leaf('w', B))]
    assert [found['pipeline'] for found in evaluation_leaves(cfg)] == [A, B]
    assert evaluation_leaves(dict(val_dataloader=None, test_pipeline=A)) == [dict(pipeline=A)]
    assert evaluation_leaves({}) == []


def test_equal_pipelines_serve_all():
    assert pipelines_for(concat(leaf('a', A), leaf('b', A)), NONE, [{}] * 3) == [A, A, A]
    assert pipelines_for({}, NONE, [{}]) is None


def test_different_pipelines_go_to_the_data_of_the_same_place():
    cfg = concat(leaf('a', A), leaf('b', B))
    assert pipelines_for(cfg, NONE, [leaf('a', []), leaf('b', [])]) == [A, B]
    for train in ([leaf('b', []), leaf('a', [])], [leaf('a', [])]):
        with pytest.raises(QuantizationError, match='2 different test .*calibration.pipeline=0'):
            pipelines_for(cfg, NONE, train)
    chosen = CalibrationSettings(pipeline=1)
    assert pipelines_for(cfg, chosen, [leaf('a', [])]) == [B]
    assert pipelines_for(cfg, CalibrationSettings(pipeline=A), [{}]) == [A]
    with pytest.raises(QuantizationError, match='calibration.pipeline=2'):
        pipelines_for(cfg, CalibrationSettings(pipeline=2), [{}])


def test_labels_are_not_loaded():
    inner = [dict(type='mmdet.LoadPanopticAnnotations'), dict(type='Pad')]
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations3D'),
        dict(type='Nest', transforms=[inner, [dict(type='LoadAnnotations')]]),
    ]
    assert without_annotations(pipeline) == [
        dict(type='LoadImageFromFile'),
        dict(type='Nest', transforms=[[dict(type='Pad')], []]),
    ]
    assert len(pipeline[2]['transforms'][0]) == 2


def test_what_a_pipeline_reads():
    from mmcv.transforms import LoadImageFromFile

    class OwnLoader(LoadImageFromFile):
        pass

    assert sample_kind([dict(type='mmdet.LoadImageFromFile')]) == 'images'
    assert sample_kind([dict(type=OwnLoader)]) == 'images'
    assert sample_kind([dict(type='LoadPointsFromFile')]) == 'scans'
    assert sample_kind([dict(type='OwnCamera')]) is None
    with pytest.raises(QuantizationError, match=r'camera matrices \(LoadImageFromFileMono3D\)'):
        sample_kind([dict(type='LoadImageFromFileMono3D')])
    with pytest.raises(QuantizationError, match='camera matrices .*without --calibration-data'):
        sample_kind([dict(type='BEVLoadMultiViewImageFromFiles')])
    with pytest.raises(QuantizationError, match='scans together with images'):
        sample_kind([dict(type='LoadPointsFromFile'), dict(type='LoadImageFromFile')])
