"""Turns the weights of LSTR's authors into a checkpoint of this project's LSTR.

python tools/model_converters/lstr.py lstr_tusimple.pth lstr_r18s_tusimple.pth

The weights: https://github.com/liuruijin17/LSTR, ``cache/nnet/LSTR/LSTR_500000.pkl``; those for
CULane, in the branch ``culane``, have three class logits: ``lane_head=dict(num_logits=3)``.
"""

import re
import sys
from pathlib import Path

import torch

from mmptq.utils.cli import tool_parser
from mmptq.utils.files import complete_file

COUNTERS = ('total_ops', 'total_params')  # left behind by a tool that counts operations
ATTENTION = re.compile(r'(.*)\.in_proj_(weight|bias)$')
RENAMED = (
    (r'(conv1|bn1|layer\d)\.(.*)', r'backbone.\1.\2'),
    (r'transformer\.decoder\.norm\.(.*)', r'lane_head.transformer.norm.\1'),
    (
        r'transformer\.(en|de)coder\.layers\.(\d+)\.linear1\.(.*)',
        r'lane_head.transformer.\1coder.\2.ffn.layers.0.0.\3',
    ),
    (
        r'transformer\.(en|de)coder\.layers\.(\d+)\.linear2\.(.*)',
        r'lane_head.transformer.\1coder.\2.ffn.layers.1.\3',
    ),
    (
        r'transformer\.decoder\.layers\.(\d+)\.multihead_attn\.(.*)',
        r'lane_head.transformer.decoder.\1.cross_attn.\2',
    ),
    (
        r'transformer\.(en|de)coder\.layers\.(\d+)\.((?:self_attn|norm\d)\..*)',
        r'lane_head.transformer.\1coder.\2.\3',
    ),
    (
        r'((?:query_embed|input_proj|class_embed|specific_embed|shared_embed)\..*)',
        r'lane_head.\1',
    ),
)


def rename(name: str) -> str:
    """This project's name of one of the authors' parameters.

    Raises:
        ValueError: If LSTR has no such parameter.
    """
    for pattern, replacement in RENAMED:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    raise ValueError(f"'{name}' is no parameter of LSTR: give the weights of its authors.")


def convert(weights: dict) -> dict:
    """This project's state dict from the authors'.

    Args:
        weights (dict[str, Tensor]): Theirs.

    Returns:
        dict[str, Tensor]: Ours; the joint projections of attentions are split in three.

    Raises:
        ValueError: If a name is not one of LSTR's.
    """
    state = {}
    for name, tensor in weights.items():
        name = name.removeprefix('module.')
        if name.split('.')[-1] in COUNTERS:
            continue
        name = rename(name)
        attention = ATTENTION.fullmatch(name)
        if attention:
            for part, piece in zip(('query', 'key', 'value'), tensor.chunk(3), strict=True):
                state[f'{attention[1]}.{part}_proj.{attention[2]}'] = piece.clone()
        else:
            state[name] = tensor.clone()
    # Their first BatchNorm is a frozen one, without a counter of batches.
    state.setdefault('backbone.bn1.num_batches_tracked', torch.tensor(0))
    return state


def read(path: Path) -> dict:
    """The authors' state dict, loaded without executing anything from the file.

    Raises:
        ValueError: If the file holds no state dict.
        FileNotFoundError: If there is no such file.
    """
    try:
        weights = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch fails on broken files with whatever it stumbles over
        raise ValueError(
            f"'{path}' is no file of weights ({str(error).splitlines()[0]})."
        ) from None
    if not isinstance(weights, dict) or not all(torch.is_tensor(x) for x in weights.values()):
        raise ValueError(f"'{path}' is no state dict: give the weights of LSTR's authors.")
    return weights


def main() -> None:
    parser = tool_parser(__doc__)
    parser.add_argument('source', type=Path, help="the authors' weights")
    parser.add_argument('target', type=Path, help='checkpoint to write')
    args = parser.parse_args()
    try:
        state = convert(read(args.source))
        with complete_file(args.target) as temporary:
            torch.save(dict(state_dict=state, meta={}), temporary)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.target}: {len(state)} tensors')


if __name__ == '__main__':
    main()
