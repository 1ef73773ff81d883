"""Make the weights to start from: python -m init_model.pack SAVEDIR.

Writes the networks of the newest checkpoint of SAVEDIR in float16, the statistics of its codes
where it has any, manifest.json, and a copy of history.csv. The same SAVEDIR gives the same bytes.
"""

import os
import shutil

import numpy as np

import init_model
from data import console, files, flag_types
from data.console import InputError
from init_model import checkpoints, codes
from init_model.savedir import CHECKPOINT, HISTORY
from init_model.settings import SIZES

HERE = os.path.dirname(os.path.abspath(__file__))


def pack(model, out: str = HERE) -> dict:
    """Write a FaceAging, as it was restored from its save_dir, as packed weights.

    The files replace those in the folder `out`. Return the manifest. An InputError says that the
    checkpoint is none of a training by this program, that float16 cannot hold it, or that its
    statistics of codes are of other weights; nothing is written then.
    """
    run, found = model.run, checkpoints.read_newest(model.weights_dir, ())
    if run.order is None:
        raise InputError(f'{run.origin} is of no training by this program: pack another one.')
    manifest = {
        'format': init_model.FORMAT,
        'epochs': run.epoch,
        'steps': run.step,
        'weights': run.weights,
        'faces': len(found.state['order']),
        'sizes': {name: getattr(model, name) for name in SIZES},
        'age_upper': model.age_upper,
        'dataset': found.settings.get('dataset'),
        'batch_size': run.order.size_batch,
        'seed': run.order.seed,
        'precision': found.settings.get('precision'),
        'files': {},
    }
    arrays = {name: {} for name in init_model.FILES}
    for name, variable in sorted(model.named_variables.items()):
        with np.errstate(over='ignore'):  # reported below
            array = variable.numpy().astype(init_model.DTYPE)
        if not np.isfinite(array).all():
            raise InputError(f'{name} is not finite in float16: pack another checkpoint.')
        (file,) = (f'{n}.npz' for n in init_model.NETWORKS if name.startswith(f'{n}_'))
        arrays[file][name] = array
    if statistics := codes.of(model):
        arrays[init_model.CODES] = dict(zip(codes.NAMES, statistics, strict=True))
        digest = init_model.digest(arrays['E.npz'])
        manifest['files'][init_model.CODES] = {init_model.E_DIGEST: digest}
    os.makedirs(out, exist_ok=True)
    with files.replacing(os.path.join(out, HISTORY)) as aside:
        shutil.copy(os.path.join(model.save_dir, HISTORY), aside)
    init_model.save(out, manifest, arrays)
    return manifest


@console.one_sentence()
def main(argv=None):
    import face_aging  # here, since it imports this folder: only the program needs a model

    parser = flag_types.Parser('python -m init_model.pack', __doc__)
    parser.add_argument('savedir', type=flag_types.path, help='the --savedir of a training')
    text = 'for the files; default: init_model'
    parser.add_argument('--out', type=flag_types.path, default=HERE, help=text)
    args = parser.parse_args(argv)
    model = face_aging.FaceAging(is_training=False, save_dir=args.savedir)
    if not model.load_checkpoint():
        folder = os.path.join(args.savedir, CHECKPOINT)
        raise InputError(f'There is no checkpoint in {folder}: name the --savedir of a training.')
    manifest = pack(model, args.out)
    print(f'Packed epoch {manifest["epochs"]}, step {manifest["steps"]} into {args.out}.')


if __name__ == '__main__':
    main()
