"""The checkpoints of a training: written aside, verified, then renamed; read where they are whole.

The format is TensorFlow's, as the original's `tf.train.Saver` wrote it: `model-<step>.index` and
`.data-00000-of-00001`, tensors by name, and a file `checkpoint` that lists them. Whatever moment a
process is killed at, the file `checkpoint` names only what is whole.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import tempfile
import warnings

import numpy as np
import tensorflow as tf

from data.console import InputError
from data.files import replacing
from data.labels import AGE_UPPER, format_age_upper

STATE = 'training_state'  # a JSON string among the tensors: what a run is besides its variables
ASIDE = 'new'  # sub-folder where a checkpoint is until it is whole
FORMAT = 1  # of this string
OVERHEAD = 1_000_000  # bytes that a checkpoint takes beside its tensors, at most


def save(folder, name, tensors, kept=()):
    """Write a checkpoint, verify it by reading it back, and list it as the newest one.

    Args:
        folder: of the checkpoints, made if need be.
        name: base name of the files, model-<step>.
        tensors: dict from names to arrays; of STATE to a string.
        kept: names of the older checkpoints that stay listed, oldest first.

    Raises:
        InputError: the disk is full, which is noticed before anything is written, or fails; the
            checkpoints that were there are still whole.
    """
    require_space(folder, size_of(tensors))
    aside = os.path.join(folder, ASIDE)
    shutil.rmtree(aside, ignore_errors=True)  # left by a process that was killed
    os.makedirs(aside)
    prefix = os.path.join(aside, name)
    try:
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=list(tensors),
            shape_and_slices=[''] * len(tensors),
            tensors=list(tensors.values()),
        )
        _verify(prefix, tensors)
        # The index last: without it there is no checkpoint.
        files = sorted(os.listdir(aside), key=lambda file: file.endswith('.index'))
        for file in files:
            _to_disk(os.path.join(aside, file))
        if os.path.exists(os.path.join(folder, f'{name}.index')):
            _list(folder, kept)  # one of the same name, by another run, is no longer whole
        for file in files:
            os.replace(os.path.join(aside, file), os.path.join(folder, file))
        _list(folder, [*kept, name])
    except (tf.errors.OpError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f'{os.path.join(folder, name)} cannot be written ({reason}): mend the disk or pass '
            'another --savedir; the checkpoint before it is whole.'
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def add(folder, tensors):
    """Write tensors into the newest checkpoint of a folder that is whole, beside those it holds.

    Args:
        folder: with a file `checkpoint`.
        tensors: dict from names to arrays; one that is there already is replaced.

    Raises:
        InputError: all checkpoints are damaged, or as `save`.
    """
    prefix, _, _, damaged = read_newest(folder, names=())
    name = os.path.basename(prefix)
    with opened(prefix) as reader:
        there = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    if STATE in there:
        there[STATE] = there[STATE].decode()
    kept = [other for other in reversed(listed(folder)) if other not in (name, *damaged)]
    save(folder, name, {**there, **tensors}, kept)


def size_of(tensors):
    """Return the bytes that a checkpoint takes, at most."""
    sizes = (len(v) if isinstance(v, str) else np.asarray(v).nbytes for v in tensors.values())
    return sum(sizes) + OVERHEAD


def require_space(folder, size):
    """Make a folder; raise an InputError if its disk has less than `size` bytes free."""
    os.makedirs(folder, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f'The checkpoints in {folder} need {size:,} bytes more, but the disk has only '
            f'{free:,} free: free the difference, or pass another --savedir.'
        )


def remove(folder, name):
    """Remove the files of a checkpoint, the index first."""
    paths = glob.glob(os.path.join(glob.escape(folder), f'{glob.escape(name)}.*'))
    for path in sorted(paths, key=lambda path: not path.endswith('.index')):
        os.remove(path)


def listed(folder):
    """Return the names of the checkpoints in the file `checkpoint` of a folder, the newest first.

    Only the base name of what is written there counts, so that a folder that was moved opens. If
    the file is damaged, what lies in the folder counts, the latest step first.

    Raises:
        InputError: it is damaged, and there is no checkpoint.
    """
    try:
        found = tf.train.get_checkpoint_state(folder)
    except ValueError:  # it names no checkpoint
        found = None
    if found is None:
        names = there(folder)
        if not names:
            raise InputError(f'{folder}/checkpoint is damaged: remove it or restore a copy.')
        warnings.warn(f'{folder}/checkpoint is damaged: {names[0]} is the newest.', stacklevel=2)
        return names
    paths = [found.model_checkpoint_path, *reversed(found.all_model_checkpoint_paths)]
    return list(dict.fromkeys(re.split(r'[/\\]', path)[-1] for path in paths))


def there(folder):
    """Return the names of a training's checkpoints that lie in a folder, the latest step first."""
    files = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (re.fullmatch(r'model-(\d+)\.index', file) for file in files)
    steps = sorted((int(match[1]) for match in matches if match), reverse=True)
    return [f'model-{step}' for step in steps]


@contextlib.contextmanager
def opened(prefix):
    """Yield TensorFlow's reader of a checkpoint; whatever that raises on damaged files is raised.

    TensorFlow takes brackets and backslashes in a name for a pattern, so that a folder with such
    a name is opened by another one, a link to it.
    """
    if os.name == 'nt' or not re.search(r'[\[\\]', prefix):
        yield tf.train.load_checkpoint(prefix)
        return
    folder, name = os.path.split(os.path.abspath(prefix))
    with tempfile.TemporaryDirectory() as other:
        os.symlink(folder, os.path.join(other, 'folder'))
        yield tf.train.load_checkpoint(os.path.join(other, 'folder', name))


def read(prefix, names):
    """Read tensors of a checkpoint.

    Args:
        prefix: path of its files without their endings.
        names: of the tensors; those that it lacks are left out.

    Returns:
        values: dict from names to arrays.
        state: the dict that was saved as STATE; of another program's checkpoint {}.

    Raises:
        InputError: it is damaged.
    """
    try:
        with opened(prefix) as reader:
            there = reader.get_variable_to_shape_map()
            values = {name: reader.get_tensor(name) for name in names if name in there}
            state = json.loads(reader.get_tensor(STATE)) if STATE in there else {}
        if state and not (type(state['epoch']) is int and type(state['weights']) is list):
            raise ValueError(f'its {STATE} is none')
    except Exception as error:  # TensorFlow's reader raises many kinds on damaged files
        raise InputError(
            f'The checkpoint {prefix} cannot be read ({str(error).splitlines()[0]}): restore '
            f'a copy, or name another one in {os.path.dirname(prefix)}/checkpoint.'
        ) from error
    return values, state


def read_newest(folder, names):
    """Read the newest checkpoint of a folder that is not damaged; warn of those that are.

    Args:
        folder: with a file `checkpoint`.
        names: of the tensors, as for `read`.

    Returns:
        prefix: of the checkpoint.
        values, state: as from `read`.
        damaged: names of the newer ones.

    Raises:
        InputError: all are damaged.
    """
    names_listed = listed(folder)
    for i, name in enumerate(names_listed):
        prefix = os.path.join(folder, name)
        try:
            return prefix, *read(prefix, names), names_listed[:i]
        except InputError as error:
            if name == names_listed[-1]:
                raise
            warnings.warn(f'{error} The one before it is used.', stacklevel=2)


def require_settings(origin, settings, own, is_training):
    """Compare what a checkpoint tells of its model with the model that is to take it.

    Args:
        origin: what the settings are of, for messages.
        settings: dict of sizes, age_upper, precision, format; what it lacks is not compared, but
            the age groups, which are the original's then.
        own: dict of the model's sizes, age_upper, precision and version of TensorFlow.
        is_training: whether the optimizers are to be restored too; they hang on the precision.

    Raises:
        InputError: they differ; says in what.
    """
    if settings.get('format', FORMAT) > FORMAT:
        raise InputError(f'{origin} is of a newer version of this program: update it.')
    upper = tuple(own['age_upper'])
    # Of another number of groups than the original's, a checkpoint without settings has no fit.
    usual = AGE_UPPER if len(upper) == len(AGE_UPPER) else upper
    age_upper = tuple(settings.get('age_upper', usual))
    if age_upper != upper:
        theirs, ours = map(format_age_upper, (age_upper, upper))
        raise InputError(
            f'{origin} is of age groups up to {theirs}, but this model of {ours}: pass '
            f'--age_groups {theirs}, or train from fresh weights, in another --savedir and '
            'with --use_init_model False.'
        )
    differing = [
        f'{name} is {settings[name]} there, {value} here'
        for name, value in own.items()
        if name not in ('age_upper', 'precision', 'tensorflow')
        and settings.get(name, value) != value
    ]
    if differing:
        raise InputError(
            f'{origin} is of another model ({"; ".join(differing)}): build this one with its sizes.'
        )
    precision = settings.get('precision', own['precision'])
    if is_training and precision != own['precision']:
        if 'mixed_float16' in (precision, own['precision']):  # its optimizers keep a scale
            raise InputError(
                f'{origin} was trained in {precision} and cannot go on in {own["precision"]}: pass '
                f'--precision {precision}, or another --savedir.'
            )
        warnings.warn(
            f'{origin} was trained in {precision} and goes on in {own["precision"]}.', stacklevel=2
        )
    version = settings.get('tensorflow', own['tensorflow'])
    if is_training and version != own['tensorflow']:
        warnings.warn(
            f'{origin} was trained by TensorFlow {version} and goes on by {own["tensorflow"]}: not '
            'to the last bit as it would have.',
            stacklevel=2,
        )


def restore(origin, values, variables):
    """Assign values to variables, both dicts by name; all or, where one does not fit, none.

    Args:
        origin: what the values are of, for messages.

    Raises:
        InputError: one is missing, or of another shape.
    """
    for name, variable in variables.items():
        if name not in values:
            raise InputError(f'{origin} has no variable {name}: it is of another model.')
        if values[name].shape != variable.shape:
            raise InputError(
                f'{name} is {list(values[name].shape)} in {origin}, but {list(variable.shape)} in '
                'this model: build it with the sizes of the training.'
            )
    for name, variable in variables.items():
        variable.assign(values[name])


def _verify(prefix, tensors):
    """Raise an OSError if a checkpoint does not hold just these tensors."""
    with opened(prefix) as reader:
        for name, value in tensors.items():
            expected = value.encode() if isinstance(value, str) else value
            if not np.array_equal(reader.get_tensor(name), expected):
                raise OSError(f'{name} was not written as it was')


def _list(folder, names):
    """Write the file `checkpoint` that lists checkpoints, oldest first; none: remove it."""
    path = os.path.join(folder, 'checkpoint')
    if not names:
        if os.path.exists(path):
            os.remove(path)
        return
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    with replacing(path) as aside:  # at once, never half written
        with open(aside, 'w', encoding='utf-8') as file:
            print(*lines, sep='\n', file=file)
        _to_disk(aside)


def _to_disk(path):
    """Wait until the system has written a file: a machine may fail, not only a process."""
    with open(path, 'rb+') as file:
        os.fsync(file.fileno())
