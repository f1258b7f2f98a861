"""Tables say what was done, in columns that line up."""

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
