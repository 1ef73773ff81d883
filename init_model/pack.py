"""Make the weights to start from: python -m init_model.pack SAVEDIR.

Writes the networks of the newest checkpoint of SAVEDIR in float16, history.csv with the losses of
each epoch, the statistics of its codes where it has any, and manifest.json. The same SAVEDIR and
arguments give the same bytes.
"""

import contextlib
import csv
import glob
import itertools
import json
import os
import platform
import re
import subprocess
import tempfile

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import init_model
from data import console, flag_types, limits
from data.console import InputError
from data.labels import AGE_UPPER
from init_model import checkpoints, codes
from init_model.savedir import HISTORY, SUMMARY
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
PAUSE = 600  # seconds without a training step that count as a pause, not as training
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


def pack(savedir, out=HERE, commit=None, hardware=None, mean_of=()):
    """Write the newest checkpoint of a training as packed weights.

    Args:
        savedir: folder that `main.py --savedir` wrote.
        mean_of: folders of earlier checkpoints of the same training; E and G are packed as the
            mean of the newest one in each of them and in savedir.
        out: folder for the files; those that are there are replaced, all or none.
        commit: of the training, by default the project's own.
        hardware: of the training, in words, by default this machine's.

    Returns:
        the manifest, a dict.

    Raises:
        InputError: savedir holds no checkpoint of this program, one that float16 cannot hold, or
            not the summary of all its epochs; nothing is written then.
    """
    weights, training = read_checkpoint(os.path.join(savedir, 'checkpoint'), mean_of)
    done = training['epochs'], training['steps']
    history, wall_time = read_history(os.path.join(savedir, HISTORY), *done) or read_events(
        os.path.join(savedir, SUMMARY), *done
    )
    manifest = {
        'format': init_model.FORMAT,
        **training,
        **read_flags(os.path.join(savedir, 'flags.txt')),
        'commit': commit or _commit(),
        'hardware': hardware or describe_hardware(),
        'wall_time_seconds': round(wall_time),
        'learning_rates': [row['EG_learning_rate'] for row in history],  # of each epoch
        'losses': {name: history[-1][name] for name in PACKED_LOSSES},
        'files': {},
    }
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as aside:
        for network, name in zip(init_model.NETWORKS, init_model.FILES, strict=True):
            arrays = {key: weights[key] for key in weights if key.startswith(f'{network}_')}
            entry = init_model.describe_file(os.path.join(aside, name), arrays)
            if entry['bytes'] > init_model.MAX_BYTES:
                raise InputError(
                    f'{network} takes {entry["bytes"]:,} bytes, but a file at most '
                    f'{init_model.MAX_BYTES:,}: pack a smaller model.'
                )
            manifest['files'][name] = entry
        names = [*init_model.FILES, HISTORY]
        # Those in savedir are of its newest weights, not of their mean with others.
        statistics = {} if mean_of else codes.read_tensors(os.path.join(savedir, 'checkpoint'))
        if statistics:
            path = os.path.join(aside, init_model.CODES)
            manifest['files'][init_model.CODES] = init_model.describe_file(path, statistics)
            names.append(init_model.CODES)
        with open(os.path.join(aside, HISTORY), 'w', encoding='utf-8', newline='') as file:
            writer = csv.DictWriter(file, ['epoch', 'step', *COLUMNS], lineterminator='\n')
            writer.writeheader()
            writer.writerows(history)
        init_model.write_manifest(os.path.join(aside, init_model.MANIFEST), manifest)
        for name in (*names, init_model.MANIFEST):  # the manifest last
            os.replace(os.path.join(aside, name), os.path.join(out, name))
    if not statistics:
        with contextlib.suppress(FileNotFoundError):  # those of other weights
            os.remove(os.path.join(out, init_model.CODES))
    return manifest


def read_checkpoint(folder, mean_of=()):
    """Return the networks' weights and what a checkpoint knows of its training.

    Args:
        folder: of the checkpoints.
        mean_of: folders of others, as for `pack`.

    Returns:
        weights: dict from variable names, sorted, to float16 arrays.
        training: dict of epochs, steps, weights of the losses, faces, sizes, and age_upper where it
            is not the usual one, and the steps whose mean E and G are.

    Raises:
        InputError: there is none, it is unreadable, not of this program, or a value of it is
            not finite in float16; the variable is named.
    """
    values, state, steps = _read_newest(folder)
    averaged = [steps]
    for other in mean_of:
        earlier, _, step = _read_newest(other)
        averaged.append(step)
        if {n: x.shape for n, x in earlier.items()} != {n: x.shape for n, x in values.items()}:
            raise InputError(f'{other} holds other networks than {folder}: name another one.')
        for name in values:
            if name.startswith(AVERAGED):  # a running mean, in float32
                values[name] = values[name] + (earlier[name] - values[name]) / len(averaged)
    weights = {}
    for name, value in values.items():
        with np.errstate(over='ignore'):  # reported below
            weights[name] = np.ascontiguousarray(value, init_model.DTYPE)
        if not np.isfinite(weights[name]).all():
            raise InputError(
                f'{name} in the newest checkpoint of {folder} is not finite in float16, up to '
                f'{np.abs(value).max():g}: pack another checkpoint.'
            )
    training = {'epochs': state['epoch'], 'steps': steps, 'weights': state.get('weights')}
    training['faces'] = len(state.get('order', []))
    settings = state.get('settings', state)
    training['sizes'] = {name: settings[name] for name in SIZES if name in settings}
    age_upper = settings.get('age_upper', list(AGE_UPPER))
    if age_upper != list(AGE_UPPER):
        training['age_upper'] = age_upper
    if mean_of:
        training['mean_of_steps'] = sorted(averaged)
    return weights, training


def _read_newest(folder):
    """Return the networks' weights, the state and the steps of the newest checkpoint."""
    if not checkpoints.is_in(folder):
        raise InputError(f'There is no checkpoint in {folder}: name the --savedir of a training.')
    prefix = os.path.join(folder, checkpoints.listed(folder)[0])
    try:
        with checkpoints.opened(prefix) as reader:
            names = sorted(filter(_VARIABLE.fullmatch, reader.get_variable_to_shape_map()))
            values = {name: reader.get_tensor(name) for name in names}
            state = json.loads(reader.get_tensor('training_state'))
            return values, state, int(reader.get_tensor('opt_EG/iteration'))
    except Exception as error:  # TensorFlow's reader raises many kinds on damaged files
        raise InputError(
            f'{prefix} cannot be read as a checkpoint of this program '
            f'({str(error).splitlines()[0]}): pack another one.'
        ) from error


def read_history(path, epochs, steps):
    """Read the mean losses of each epoch from the history.csv of a training.

    Args:
        path: of the file.
        epochs, steps: as for `read_events`.

    Returns:
        history, wall_time: as from `read_events`; None if it lacks an epoch or a column, as those
        of older versions do.
    """
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = [row for row in csv.DictReader(file) if int(row['step']) <= steps]
        history = [
            {'epoch': int(row['epoch']), 'step': int(row['step'])}
            | {name: float(row[name]) for name in COLUMNS}
            for row in rows[-epochs:]
        ]
        wall_time = sum(float(row['seconds']) for row in rows)
    except (OSError, KeyError, TypeError, ValueError):  # it is missing, older, edited
        return None
    is_complete = epochs > 0 and [row['epoch'] for row in history] == [*range(1, epochs + 1)]
    return (history, wall_time) if is_complete and history[-1]['step'] == steps else None


def read_events(folder, epochs, steps):
    """Read the mean losses of each epoch from the summary of a training without a history.

    Of a step that was done again after an interruption the last event counts.

    Args:
        folder: of TensorBoard's event files.
        epochs, steps: done in all, where the last epoch ends.

    Returns:
        history: list with a dict for each epoch: epoch, step (its last), and the means of COLUMNS.
        wall_time: seconds between steps, summed, less gaps longer than PAUSE.

    Raises:
        InputError: the summary does not show all epochs.
    """
    if not glob.glob(os.path.join(glob.escape(folder), '*tfevents*')):
        raise InputError(
            f'There is no summary in {folder}: copy the complete --savedir of the training, not '
            'its checkpoints alone.'
        )
    summary = EventAccumulator(folder, size_guidance={'tensors': 0})  # 0: all
    summary.Reload()
    tags = summary.Tags()['tensors']
    events = {tag: summary.Tensors(tag) if tag in tags else [] for tag in (*COLUMNS, 'samples')}
    # A picture is written after each epoch, at its last step: the borders between the epochs.
    moments = [(event.wall_time, event.step, False) for event in events['EG_loss']]
    moments += [(event.wall_time, event.step, True) for event in events['samples']]
    borders = [0]
    for _, step, is_border in sorted(moments):
        # A step that is taken again voids what followed it.
        borders = [border for border in borders if border < step] + [step] * is_border
    borders = [border for border in borders if border <= steps][-epochs - 1 :]
    values = {
        name: {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in events[name]}
        for name in COLUMNS
    }
    shown = set.intersection(*map(set, values.values()))
    is_whole = epochs > 0 and len(borders) == epochs + 1 and borders[-1] == steps
    if not is_whole or not shown.issuperset(range(borders[0] + 1, steps + 1)):
        raise InputError(
            f'{folder} does not show all of {epochs} epochs up to step {steps}: '
            'pack where the whole training ran, with --summary_steps 1.'
        )
    history = [
        {'epoch': epoch, 'step': end}
        | {
            name: round(float(np.mean([values[name][k] for k in range(start + 1, end + 1)])), 6)
            for name in COLUMNS
        }
        for epoch, (start, end) in enumerate(itertools.pairwise(borders), 1)
    ]
    gaps = np.diff(sorted(event.wall_time for event in events['EG_loss'] if event.step <= steps))
    return history, float(gaps[gaps <= PAUSE].sum())


def read_flags(path):
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


def describe_hardware():
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
