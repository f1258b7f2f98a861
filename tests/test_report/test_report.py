"""Tables say what was done, in columns that line up."""

import pytest

from mmptq.quantization import QuantizationError
from mmptq.report import (
    comparison_rows,
    format_table,
    main_metric,
    metric_label,
)


def test_one_metric_stands_for_a_model():
    assert main_metric({'a': 1, 'b/Accuracy': 2}) == 'b/Accuracy'
    assert main_metric({'culane/F1': 1, 'coco/bbox_mAP': 2}) == 'coco/bbox_mAP'
    assert main_metric({'a': 1}) == 'a'
    assert main_metric({'a': 1, 'tusimple/accuracy': 0.9}) == 'tusimple/accuracy'
    assert main_metric({'a': None, 'b': [1, 2], 'c': 0.5}) == 'c'
    with pytest.raises(QuantizationError, match='gave no number'):
        main_metric({'a': None})


def test_values_that_cannot_be_subtracted():
    rows = comparison_rows({'a': 1.0, 'b': None, 'c': [1]}, {'a': 2.5, 'b': 1.0, 'c': [2], 'd': 1})
    assert [row['difference'] for row in rows] == [1.5, None, None, None]
    assert '| [2]' in format_table(rows)
    assert metric_label('coco/bbox_mAP') == 'mAP' and metric_label('culane/F1') == 'F1'


def test_comparison_and_table():
    rows = comparison_rows({'mAP': 0.5}, {'mAP': 0.49, 'new': 1.0})
    assert rows[0]['difference'] == 0.49 - 0.5
    assert format_table(rows).splitlines() == [
        '| metric | float  | quantized | difference |',
        '|--------|--------|-----------|------------|',
        '| mAP    | 0.5000 | 0.4900    | -0.0100    |',
        '| new    | -      | 1.0000    | -          |',
    ]
    assert format_table([]) == '(no rows)'
