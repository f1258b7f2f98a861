"""Evaluation data that are left out leave the pipeline of calibration samples as it was."""

import pytest
from mmengine.config import Config

from mmptq.engine.data_config import prepare_data
from mmptq.ptq.inputs.calibration_settings import CalibrationSettings
from mmptq.ptq.inputs.pipelines import pipelines_for
from mmptq.quantization import QuantizationError

VAL, TEST, OLD = ([dict(type=name)] for name in ('val', 'test', 'old'))


def config(val, test=None, **others) -> Config:
    """A config whose top level holds the pipeline of its base, which nothing uses."""
    cfg = dict(train_dataloader=dict(dataset=dict(type='Own', pipeline=[])), test_pipeline=OLD)
    for key, pipelines in dict(val=val, test=test).items():
        if pipelines:
            datasets = [dict(type='Own', pipeline=pipeline) for pipeline in pipelines]
            dataset = datasets[0] if len(datasets) == 1 else dict(datasets=datasets)
            cfg[f'{key}_dataloader'] = dict(dataset=dataset)
    return Config(dict(cfg, **others))


def calibrated(cfg):
    """The pipelines of calibration samples."""
    return pipelines_for(cfg, CalibrationSettings.from_config(cfg.get('calibration')), [{}])


@pytest.mark.parametrize(
    ('cfg', 'expected'),
    [
        (config([VAL], [TEST]), VAL),
        (config([VAL], [TEST], test_evaluator=dict(type='Own')), VAL),
        (config(None, [TEST]), TEST),
        (config([VAL, VAL]), VAL),
        (config([VAL, TEST], calibration=dict(pipeline=1)), TEST),
        (config([VAL], calibration=dict(pipeline=OLD)), OLD),
        (config(None), OLD),
    ],
)
def test_the_pipeline_stays(cfg, expected):
    before = calibrated(cfg)
    prepare_data(cfg)
    assert before == calibrated(cfg) == [expected]
    assert not cfg.get('val_dataloader')
    prepare_data(cfg)  # the config that a run keeps is prepared again
    assert calibrated(cfg) == [expected]


def test_several_pipelines_need_a_choice():
    with pytest.raises(QuantizationError, match='2 different test pipelines.*=0'):
        prepare_data(config([VAL, TEST]))
