import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.logging.history_buffer import HistoryBuffer

TOOL = Path(__file__).resolve().parents[3] / 'tools' / 'model_converters' / 'publish_model.py'


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('publish_model', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.register_safe_globals()
    return module


@pytest.fixture
def training_checkpoint(tmp_path):
    """Saves what mmengine's CheckpointHook saves: weights, optimizer, logged history, meta."""
    hub = MessageHub.get_instance('publish-model-test')
    hub.update_scalar('loss', 1.5)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    checkpoint = {
        'state_dict': model.state_dict(),
        'optimizer': optimizer.state_dict(),
        'message_hub': hub.state_dict(),
        'meta': {
            'epoch': 3,
            'cfg': 'work_dir = "/home/someone"',
            'dataset_meta': {'classes': ('a', 'b'), 'palette': [(1, 2, 3)]},
        },
    }
    path = tmp_path / 'epoch_3.pth'
    torch.save(checkpoint, path)
    assert HistoryBuffer.__name__.encode() in path.read_bytes()
    return path


def test_publish_keeps_half_precision_weights_and_plain_meta(tool, training_checkpoint, tmp_path):
    target = tmp_path / 'out' / 'model.pth'
    tool.publish(training_checkpoint, target)
    published = torch.load(target, weights_only=True)
    assert set(published) == {'state_dict', 'meta'}
    assert published['meta'] == {'dataset_meta': {'classes': ['a', 'b'], 'palette': [[1, 2, 3]]}}
    weights = torch.load(training_checkpoint, weights_only=True)['state_dict']
    assert set(published['state_dict']) == set(weights)
    for name, tensor in published['state_dict'].items():
        expected = weights[name].half() if weights[name].is_floating_point() else weights[name]
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected)
    assert [path.name for path in target.parent.iterdir()] == ['model.pth']


@pytest.mark.parametrize('content', [b'', b'text', 'truncated'])
def test_unreadable_checkpoint_is_named(tool, training_checkpoint, tmp_path, content):
    source = tmp_path / 'broken.pth'
    if content == 'truncated':
        content = training_checkpoint.read_bytes()[:-200]
    source.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken.pth' is truncated or no checkpoint"):
        tool.publish(source, tmp_path / 'model.pth')
    assert not (tmp_path / 'model.pth').exists()


def test_checkpoint_without_weights_is_named(tool, tmp_path):
    torch.save({'weights': {}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r"other.pth' has no 'state_dict'"):
        tool.publish(tmp_path / 'other.pth', tmp_path / 'model.pth')


def test_overflow_is_refused_and_leaves_nothing(tool, tmp_path):
    torch.save({'state_dict': {'bn.running_var': torch.tensor([1e6])}}, tmp_path / 'big.pth')
    with pytest.raises(ValueError, match="'bn.running_var' holds values that half precision"):
        tool.publish(tmp_path / 'big.pth', tmp_path / 'model.pth')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['big.pth']


def test_versions_of_the_modules_are_kept(tool, training_checkpoint, tmp_path):
    """mmdet3d permutes the kernels of sparse convolutions that come without a version."""
    tool.publish(training_checkpoint, tmp_path / 'model.pth')
    state = torch.load(tmp_path / 'model.pth', weights_only=True)['state_dict']
    assert state._metadata['1']['version'] == 2
