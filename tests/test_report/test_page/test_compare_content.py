"""What differs between two runs."""

from mmptq.report.page.compare_content import differing_layers, run_names


def layer(name: str, weight: str = 'int8', act: str = 'uint8') -> dict:
    return dict(layer=name, kind='Conv2d', weight=weight, input=act, note='')


def test_layers_at_other_bits_and_scales():
    coverage = [
        [layer('a'), layer('b'), layer('c'), layer('d')],
        [layer('a'), layer('b', 'int4'), layer('c'), layer('e')],
    ]
    scales = (
        {'a.input_quantizer': 0.5, 'c.input_quantizer': 0.1, 'c.weight_quantizer': 0.2},
        {'a.input_quantizer': 0.505, 'c.input_quantizer': 0.2, 'c.weight_quantizer': 0.2},
    )
    found = differing_layers(('one', 'two'), coverage, scales)
    assert found['header'][2:4] == ['one', 'two']
    assert found['summary'] == '4 of 5 layers; 3 of them at other bits'
    # Other bits first, then the largest ratio; a ratio of 1.01 is none.
    assert [row[0] for row in found['rows']] == ['b', 'd', 'e', 'c']
    assert found['rows'][0][2:] == ['int8 / uint8', 'int4 / uint8', '', '']
    assert found['rows'][1][3] == '– / –'
    assert found['rows'][3][4:] == ['× 1', '× 2']


def test_names_of_folders(tmp_path):
    assert run_names((tmp_path / 'a', tmp_path / 'b')) == ('a', 'b')
    assert run_names((tmp_path / 'x/work', tmp_path / 'y/work')) == ('x/work', 'y/work')
    assert run_names((tmp_path, tmp_path)) == ('first', 'second')
