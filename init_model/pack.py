"""Make the weights to start from: python -m init_model.pack SAVEDIR.

Writes the networks of the newest checkpoint of SAVEDIR in float16, history.csv with the losses of
each epoch, the statistics of its codes where it has any, and manifest.json. The same SAVEDIR and
arguments give the same bytes.
"""

import contextlib
import csv
import json
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

import init_model
from data import console, flag_types, limits
from data.console import InputError, first_line, is_lack_of_memory
from data.labels import AGE_UPPER
from init_model import checkpoints, codes
from init_model.savedir import CHECKPOINT, HISTORY
from init_model.settings import SIZES

HERE = os.path.dirname(os.path.abspath(__file__))
PACKED_LOSSES = (
    'EG_loss',
    'E_z_loss',
    'D_z_loss_z',
    'D_z_loss_prior',
    'G_img_loss',
    'D_img_loss_input',
    'D_img_loss_G',
)
COLUMNS = (*PACKED_LOSSES, 'EG_learning_rate')  # of the packed history
AVERAGED = ('E_', 'G_')  # names of the variables of which --mean_of packs the mean
# The flags in SAVEDIR/flags.txt that are packed, and their types; of a path only the name.
FLAGS = {
    'dataset': os.path.basename,
    'batch_size': int,
    'seed': int,
    'precision': str,
    'balance': float,
}
# The networks' variables, not the optimizers'.
_VARIABLE = re.compile(rf'({"|".join(init_model.NETWORKS)})_\w+/(w|b|beta|moving_\w+)')


def pack(
    savedir: str,
    out: str = HERE,
    commit: str | None = None,
    hardware: str | None = None,
    mean_of: Sequence[str] = (),
) -> dict:
    """Write the newest checkpoint of a training as packed weights.

    Args:
        savedir: folder that `main.py --savedir` wrote.
        out: folder for the files; those that are there are replaced, all or none.
        commit: of the training, by default the project's own.
        hardware: of the training, in words, by default this machine's.
        mean_of: folders of earlier checkpoints of the same training; E and G are packed as the
            mean of the newest one in each of them and in savedir.

    Returns:
        the manifest.

    Raises:
        InputError: savedir holds no checkpoint of this program, one that float16 cannot hold,
            statistics of the codes of other weights, or not the history of all its epochs; nothing
            is written then.
    """
    folder = os.path.join(savedir, CHECKPOINT)
    weights, training, statistics = read_checkpoint(folder, mean_of)
    history, seconds = read_history(
        os.path.join(savedir, HISTORY), training['epochs'], training['steps']
    )
    manifest = {
        'format': init_model.FORMAT,
        **training,
        **read_flags(os.path.join(savedir, 'flags.txt')),
        'commit': commit or _commit(),
        'hardware': hardware or describe_hardware(),
        'wall_time_seconds': round(seconds),
        'learning_rates': [row['EG_learning_rate'] for row in history],  # of each epoch
        'losses': {name: history[-1][name] for name in PACKED_LOSSES},
        'files': {},
    }
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as aside:
        for network, name in zip(init_model.NETWORKS, init_model.FILES, strict=True):
            arrays = _of_network(network, weights)
            entry = init_model.describe_file(os.path.join(aside, name), arrays)
            if entry['bytes'] > init_model.MAX_BYTES:
                raise InputError(
                    f'{network} takes {entry["bytes"]:,} bytes, but a file at most '
                    f'{init_model.MAX_BYTES:,}: pack a smaller model.'
                )
            manifest['files'][name] = entry
        with open(os.path.join(aside, HISTORY), 'w', encoding='utf-8', newline='') as file:
            writer = csv.DictWriter(file, ['epoch', 'step', *COLUMNS], lineterminator='\n')
            writer.writeheader()
            writer.writerows(history)
        init_model.write_manifest(os.path.join(aside, init_model.MANIFEST), manifest)
        if statistics:
            codes.store(aside, statistics, init_model.digest(_of_network('E', weights)))
            manifest = init_model.read_manifest(aside)
        names = sorted(os.listdir(aside), key=lambda name: name == init_model.MANIFEST)
        for name in names:  # the manifest last
            os.replace(os.path.join(aside, name), os.path.join(out, name))
    if not statistics:
        with contextlib.suppress(FileNotFoundError):  # those of other weights
            os.remove(os.path.join(out, init_model.CODES))
    return manifest


def read_checkpoint(
    folder: str, mean_of: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict, codes.Codes | None]:
    """Return the networks' weights and what a checkpoint knows of its training.

    Args:
        folder: of the checkpoints.
        mean_of: folders of others, as for `pack`.

    Returns:
        weights: dict from variable names, sorted, to float16 arrays.
        training: dict of epochs, steps, weights of the losses, faces, sizes, and age_upper where it
            is not the usual one, and the steps whose mean E and G are.
        statistics: of the codes, None where there are none; nor are there any of a mean.

    Raises:
        InputError: there is none, it is unreadable, not of this program, its statistics are of
            other weights, or a value of it is not finite in float16; the variable is named.
    """
    values, state, steps = _read_newest(folder)
    settings = state.get('settings', state)
    age_upper = settings.get('age_upper', list(AGE_UPPER))
    training = {
        'epochs': state['epoch'],
        'steps': steps,
        'weights': state.get('weights'),
        'faces': len(state.get('order', [])),
        'sizes': {name: settings[name] for name in SIZES if name in settings},
    }
    if age_upper != list(AGE_UPPER):
        training['age_upper'] = age_upper
    statistics = None
    if mean_of:
        training['mean_of_steps'] = _take_mean(folder, values, steps, mean_of)
    else:
        sizes = len(age_upper) + 1, values['E_fc/b'].size
        statistics = codes.read(folder, *sizes, lambda: init_model.digest(_of_network('E', values)))
    weights = {}
    for name, value in values.items():
        with np.errstate(over='ignore'):  # reported below
            weights[name] = np.ascontiguousarray(value, init_model.DTYPE)
        if not np.isfinite(weights[name]).all():
            raise InputError(
                f'{name} in the newest checkpoint of {folder} is not finite in float16, up to '
                f'{np.abs(value).max():g}: pack another checkpoint.'
            )
    return weights, training, statistics


def _of_network(network, weights):
    """Return the variables of a network among all."""
    return {name: value for name, value in weights.items() if name.startswith(f'{network}_')}


def _take_mean(folder, values, steps, others):
    """Replace E and G among values by their mean with other checkpoints; return the steps of all.

    Args:
        folder, values, steps: of the newest checkpoint.
        others: folders.

    Raises:
        InputError: one is unreadable, or of another model.
    """
    averaged = [steps]
    for other in others:
        earlier, _, step = _read_newest(other)
        averaged.append(step)
        if {n: x.shape for n, x in earlier.items()} != {n: x.shape for n, x in values.items()}:
            raise InputError(f'{other} holds other networks than {folder}: name another one.')
        for name in values:
            if name.startswith(AVERAGED):  # a running mean, in float32
                values[name] = values[name] + (earlier[name] - values[name]) / len(averaged)
    return sorted(averaged)


def _read_newest(folder):
    """Return the networks' weights, the state and the steps of the newest checkpoint."""
    if not checkpoints.has_checkpoint(folder):
        raise InputError(f'There is no checkpoint in {folder}: name the --savedir of a training.')
    prefix = os.path.join(folder, checkpoints.listed(folder)[0])
    try:
        with checkpoints.opened(prefix) as reader:
            names = sorted(filter(_VARIABLE.fullmatch, reader.get_variable_to_shape_map()))
            values = {name: reader.get_tensor(name) for name in names}
            state = json.loads(reader.get_tensor('training_state'))
            return values, state, int(reader.get_tensor('opt_EG/iteration'))
    except checkpoints.DAMAGE as error:
        if is_lack_of_memory(error):
            raise
        raise InputError(
            f'{prefix} cannot be read as a checkpoint of this program ({first_line(error)}): pack '
            'another one.'
        ) from error


def read_history(path: str, epochs: int, steps: int) -> tuple[list[dict], float]:
    """Read the mean losses of each epoch from the history.csv of a training.

    Args:
        path: of the file.
        epochs, steps: done in all, where the last epoch ends.

    Returns:
        history: a dict for each epoch: epoch, step (its last), and the means of COLUMNS.
        seconds: that the training took, pre-training included.

    Raises:
        InputError: it lacks an epoch.
    """
    history, seconds = [], 0.0
    with contextlib.suppress(OSError, KeyError, TypeError, ValueError):  # it is missing, or edited
        with open(path, encoding='utf-8', newline='') as file:
            rows = [row for row in csv.DictReader(file) if int(row['step']) <= steps]
        history = [
            {'epoch': int(row['epoch']), 'step': int(row['step'])}
            | {name: float(row[name]) for name in COLUMNS}
            for row in rows[-epochs:]
        ]
        seconds = sum(float(row['seconds']) for row in rows)
    shown = [row['epoch'] for row in history]
    if not epochs or shown != [*range(1, epochs + 1)] or history[-1]['step'] != steps:
        raise InputError(
            f'{path} does not show all of {epochs} epochs up to step {steps}: copy the complete '
            '--savedir of the training, not its checkpoints alone.'
        )
    return history, seconds


def read_flags(path: str) -> dict:
    """Return FLAGS from a file of flags, the last ones winning; None for what it does not tell.

    Raises:
        InputError: a value cannot be that of its flag.
    """
    try:
        with open(path, encoding='utf-8') as file:
            words = dict(re.findall(r'^--(\w+)=(.*)$', file.read(), re.MULTILINE))
    except FileNotFoundError:
        words = {}
    try:
        return {name: kind(words[name]) if name in words else None for name, kind in FLAGS.items()}
    except ValueError as error:
        raise InputError(f'{path} was edited ({error}): restore or remove it.') from error


def describe_hardware() -> str:
    """Return this machine in words: processor, cores, system, GPUs."""
    name = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            name = re.search(r'model name\s*:\s*(.*)', file.read())[1]
    except (OSError, TypeError):  # not every system, and not every processor, tells
        pass
    gpus = [
        tf.config.experimental.get_device_details(gpu).get('device_name', 'a GPU')
        for gpu in tf.config.list_physical_devices('GPU')
    ]
    system = f'{platform.system()} {platform.machine()}'
    return ', '.join([name, f'{limits.cpu_count()} cores', system, *gpus])


def _commit():
    """Return the project's commit, None outside a clone."""
    try:
        return subprocess.run(
            ['git', 'rev-parse', 'HEAD'], cwd=HERE, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@console.one_sentence()
def main(argv=None):
    parser = flag_types.Parser('python -m init_model.pack', __doc__)
    parser.add_argument('savedir', type=flag_types.path, help='the --savedir of a training')
    parser.add_argument(
        '--out',
        type=flag_types.path,
        default=HERE,
        help='folder for the files; default: init_model',
    )
    parser.add_argument('--commit', help="of the training; default: the project's")
    parser.add_argument('--hardware', help="of the training; default: this machine's")
    parser.add_argument(
        '--mean_of',
        type=flag_types.path,
        nargs='+',
        default=[],
        metavar='FOLDER',
        help='of earlier checkpoints: pack E and G as the mean of these and the newest one',
    )
    args = parser.parse_args(argv)
    manifest = pack(args.savedir, args.out, args.commit, args.hardware, args.mean_of)
    print(f'Packed epoch {manifest["epochs"]}, step {manifest["steps"]} into {args.out}:')
    for name, file in manifest['files'].items():
        print(f'\t{name}  {file["bytes"] / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
