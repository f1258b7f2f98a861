"""Evaluates a float or quantized model; like the stock tools/test.py of mmdet and mmdet3d.

python tools/test.py CONFIG CHECKPOINT [--tta] [--out METRICS.json]
python tools/test.py CONFIG DEPLOYED.onnx [--engine NAME] [--threads N]     the file in its engine
"""

import argparse
import sys

from mmengine.config import Config

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.deploy import ENGINES, is_engine_file, open_engine_file, replace_with_engine
from mmptq.deploy.sparse_engine import open_sparse_network, replace_encoder, weights_before
from mmptq.engine.evaluate import named_files
from mmptq.engine.evaluation import add_tta, runner_of_test
from mmptq.engine.ptq_config import use_replicas
from mmptq.ptq.launch import connected
from mmptq.ptq.parallel import is_main
from mmptq.quantization import QuantizationError
from mmptq.utils.cli import load_config, make_parser, require_file
from mmptq.utils.files import write_json
from mmptq.utils.messages import DataError, last_sentence
from mmptq.utils.models import unwrap


def test(config: Config, args: argparse.Namespace) -> dict[str, float]:
    """Metrics of a checkpoint."""
    return runner_of_test(config, args.checkpoint).test()


def test_deployed(config: Config, args: argparse.Namespace) -> dict[str, float]:
    """Metrics of a deployed file, in the detector that it was exported from."""
    engine = open_engine_file(args.checkpoint, args.engine, args.threads)
    network = None
    if not args.sparse_in_pytorch:
        network = open_sparse_network(args.checkpoint, engine.metadata, args.threads)
    checkpoint = args.layers_before
    if checkpoint is None and network is None:
        checkpoint = str(engine.metadata.get('checkpoint'))
    if checkpoint is not None:
        require_file(checkpoint, 'checkpoint of the layers that the file leaves out')
    runner = runner_of_test(config, checkpoint)
    runner.load_or_resume()
    model = unwrap(runner.model)
    replace_with_engine(model, engine)
    integer, floating = engine.count_layers()
    print(f'{args.checkpoint}: {integer} layers run in integers, {floating} in float')
    if network is not None:
        replace_encoder(model, network, engine)
        integer, floating = network.graph.count_layers()
        print(f'sparse engine: {integer} layers run in integers, {floating} in float')
        if checkpoint is None and weights_before(model):
            raise QuantizationError(
                f"'{weights_before(model)[0]}' is in no exported file: name the checkpoint of "
                'these layers with --layers-before'
            )
    return runner.test()


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint, or a file of tools/export.py')
    parser.add_argument(
        '--engine',
        choices=list(ENGINES.module_dict),
        help='runs a deployed file; default: the engine it was made for',
    )
    parser.add_argument('--threads', type=int, default=0, help='of that engine (default: its own)')
    parser.add_argument(
        '--layers-before',
        help='checkpoint of the layers that a deployed file leaves out, as the encoders of a LiDAR '
        'detector (default: the one it was exported from)',
    )
    parser.add_argument(
        '--sparse-in-pytorch',
        action='store_true',
        help='run the sparse voxel encoder of a deployed detector in PyTorch',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: tta_model and tta_pipeline of the config, or flips',
    )
    parser.add_argument('--out', help='JSON file to write the metrics to')
    args = parser.parse_args()
    try:
        config = load_config(args)
        if args.tta:
            add_tta(config)
        require_file(args.checkpoint, 'checkpoint')
        with connected(config):
            use_replicas(config)
            deployed = is_engine_file(args.checkpoint)
            with named_files('test'):
                metrics = test_deployed(config, args) if deployed else test(config, args)
            if not is_main():
                return
        if args.out:
            write_json(metrics, args.out)
    except (QuantizationError, DataError, OSError) as error:
        sys.exit(f'error: {last_sentence(error)}')
    for name, value in metrics.items():
        print(f'{name}: {value}')


if __name__ == '__main__':
    main()
