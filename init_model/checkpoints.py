"""The checkpoints of a training: written aside, verified, then renamed.

The format is TensorFlow's, as the original's `tf.train.Saver` wrote it: `model-<step>.index` and
`.data-00000-of-00001`, tensors by name, and a file `checkpoint` that lists them. Whenever a process
is killed, the file `checkpoint` lists complete checkpoints only.
"""

import contextlib
import dataclasses
import glob
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

import init_model
from data.console import InputError, first_line, is_lack_of_memory
from data.files import base_name, replacing, require_space
from data.labels import AGE_UPPER

STATE = 'training_state'  # name of a JSON string among the tensors: the state of the run
ASIDE = 'new'  # sub-folder where a checkpoint is written first
OVERHEAD = 1_000_000  # bytes of a checkpoint besides its tensors, at most
# What TensorFlow's reader and json raise on damaged or missing files. Other errors, such as too
# many open files, say nothing of a checkpoint: it must not be passed over for them.
DAMAGE = (tf.errors.OpError, ValueError, TypeError, LookupError, RuntimeError, FileNotFoundError)


class OtherModelError(InputError):
    """A checkpoint is of a model with other sizes or age groups."""


@dataclasses.dataclass
class Checkpoint:
    """What was read from a checkpoint, or from packed weights."""

    origin: str  # its path, for messages
    values: dict  # from variable names to arrays
    settings: dict  # the model's sizes, age_upper, precision and so on, as far as they are known
    state: dict = dataclasses.field(default_factory=dict)  # of its run, see `Run.state`, or {}


def has_checkpoint(folder: str) -> bool:
    """Whether a folder holds checkpoints, or the file that lists them."""
    return os.path.isfile(os.path.join(folder, 'checkpoint')) or bool(names_in(folder))


def find(folder: str, names: Iterable[str]) -> Checkpoint | None:
    """Read the newest undamaged checkpoint of a folder, else the packed weights in it.

    It may be one of the original (TensorFlow 1). Of the tensors of these names those that it lacks
    are left out. Return None if the folder holds none. An InputError says that all are damaged,
    other errors that one cannot be opened just now.
    """
    if has_checkpoint(folder):
        return read_newest(folder, names)
    if not os.path.exists(os.path.join(folder, init_model.MANIFEST)):
        return None
    manifest = init_model.read_manifest(folder)
    settings = {'age_upper': manifest.get('age_upper', AGE_UPPER), **manifest.get('sizes', {})}
    origin = f'{folder}, epoch {manifest["epochs"]}'
    return Checkpoint(origin, init_model.load(folder), settings)


def read_newest(folder: str, names: Iterable[str] = ()) -> Checkpoint:
    """Read the newest undamaged checkpoint of a folder, see `find`; warn of damaged ones."""
    names_listed = listed(folder)
    for name in names_listed:
        try:
            return read(os.path.join(folder, name), names)
        except InputError as error:
            if name == names_listed[-1]:
                raise
            warnings.warn(f'{error} The one before it is used.', stacklevel=2)


def read(prefix: str, names: Iterable[str]) -> Checkpoint:
    """Read one checkpoint, with the tensors of these names that it has; errors as of `find`."""
    try:
        for path in glob.glob(f'{glob.escape(prefix)}.*'):
            with open(path, 'rb'):  # raises what TensorFlow's reader does not tell from damage
                pass
        with opened(prefix) as reader:
            there = reader.get_variable_to_shape_map()
            values = {name: reader.get_tensor(name) for name in names if name in there}
            state = json.loads(reader.get_tensor(STATE)) if STATE in there else {}
        if state and not (type(state['epoch']) is int and type(state['weights']) is list):
            raise ValueError(f'its {STATE} is none')
    except DAMAGE as error:
        if is_lack_of_memory(error):
            raise
        raise InputError(
            f'The checkpoint {prefix} cannot be read ({first_line(error)}): restore '
            f'a copy, or name another one in {os.path.dirname(prefix)}/checkpoint.'
        ) from error
    return Checkpoint(prefix, values, state.get('settings', state), state)


def listed(folder: str) -> list[str]:
    """Return the names of the checkpoints in the file `checkpoint` of a folder, the newest first.

    Only the base name of what is written there counts, so that a folder that was moved opens. If
    the file is damaged or missing, what lies in the folder counts.
    """
    with contextlib.suppress(ValueError):  # it names no checkpoint
        if found := tf.train.get_checkpoint_state(folder):
            paths = [found.model_checkpoint_path, *reversed(found.all_model_checkpoint_paths)]
            return list(dict.fromkeys(map(base_name, paths)))
    names = names_in(folder)
    path = os.path.join(folder, 'checkpoint')
    fault = 'is damaged' if os.path.exists(path) else 'is missing'
    if not names:
        raise InputError(f'{path} {fault}: remove it or restore a copy.')
    warnings.warn(f'{path} {fault}: {names[0]} is taken as the newest.', stacklevel=2)
    return names


def names_in(folder: str) -> list[str]:
    """Return the names of the checkpoints in a folder, the latest step first."""
    files = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (re.fullmatch(r'model-(\d+|init)\.index', file) for file in files)
    steps = [match[1] for match in matches if match]  # init: the authors' published weights
    steps.sort(key=lambda step: -1 if step == 'init' else int(step), reverse=True)
    return [f'model-{step}' for step in steps]


@contextlib.contextmanager
def opened(prefix: str):
    """Yield TensorFlow's reader of a checkpoint; what that raises on damaged files is raised."""
    # It takes brackets and backslashes for a pattern: there a link of another name is opened.
    if os.name == 'nt' or not re.search(r'[\[\\]', prefix):
        yield tf.train.load_checkpoint(prefix)
        return
    folder, name = os.path.split(os.path.abspath(prefix))
    with tempfile.TemporaryDirectory() as other:
        os.symlink(folder, os.path.join(other, 'folder'))
        yield tf.train.load_checkpoint(os.path.join(other, 'folder', name))


def restore(origin: str, values: dict, variables: dict) -> None:
    """Assign values from a path to variables, both dicts by name; if one does not fit, assign none.

    An OtherModelError says which value is missing or of another shape.
    """
    for name, variable in variables.items():
        if name not in values:
            raise OtherModelError(f'{origin} has no variable {name}: it is of another model.')
        if values[name].shape != variable.shape:
            raise OtherModelError(
                f'{name} is {list(values[name].shape)} in {origin}, but {list(variable.shape)} in '
                'this model: build it with the sizes of the training.'
            )
    for name, variable in variables.items():
        variable.assign(values[name])


def save(folder: str, name: str, tensors: dict, kept: Sequence[str] = ()) -> None:
    """Write a checkpoint, verify it by reading it back, and list it as the newest one.

    Tensors are a dict from names to tensors, or to arrays, which are copied; of STATE to a string.
    The older checkpoints that are `kept`, oldest first, stay listed. An InputError says that the
    disk fails or is full; the older checkpoints are still complete.
    """
    require_space(folder, size_of(tensors))
    aside = os.path.join(folder, ASIDE)
    shutil.rmtree(aside, ignore_errors=True)  # if a process was killed
    os.makedirs(aside)
    try:
        _write(os.path.join(aside, name), tensors)
        # The index last: without it there is no checkpoint.
        files = sorted(os.listdir(aside), key=lambda file: file.endswith('.index'))
        for file in files:
            _to_disk(os.path.join(aside, file))
        if os.path.exists(os.path.join(folder, f'{name}.index')):
            _list(folder, kept)  # another run's of the same name will no longer be complete
            os.remove(os.path.join(folder, f'{name}.index'))
        for file in files:
            os.replace(os.path.join(aside, file), os.path.join(folder, file))
        _list(folder, [*kept, name])
    except (tf.errors.OpError, OSError) as error:
        raise InputError(
            f'{os.path.join(folder, name)} cannot be written ({first_line(error)}): mend the disk '
            'or save to another folder; the checkpoint before it is complete.'
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def size_of(tensors: dict) -> int:
    """Return the bytes that a checkpoint takes, at most."""
    return sum(np.asarray(value).nbytes for value in tensors.values()) + OVERHEAD


def remove(folder: str, name: str) -> None:
    """Remove the files of a checkpoint, the index first."""
    paths = glob.glob(os.path.join(glob.escape(folder), f'{glob.escape(name)}.*'))
    for path in sorted(paths, key=lambda path: not path.endswith('.index')):
        os.remove(path)


def _write(prefix, tensors):
    """Write tensors; raise an OSError if they cannot be read back as they were."""
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[''] * len(tensors),
        tensors=list(tensors.values()),
    )
    with opened(prefix) as reader:
        for name, value in tensors.items():
            expected = value.encode() if isinstance(value, str) else value
            if not np.array_equal(reader.get_tensor(name), expected):
                raise OSError(f'{name} was not written as it was')


def _list(folder, names):
    """Write the file `checkpoint` that lists checkpoints, oldest first; none: remove it."""
    path = os.path.join(folder, 'checkpoint')
    if not names:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        return
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    with replacing(path) as aside:  # at once, never half written
        with open(aside, 'w', encoding='utf-8') as file:
            print(*lines, sep='\n', file=file)
        _to_disk(aside)


def _to_disk(path):
    """Wait until the system has written a file to the disk, so that it survives a power failure."""
    with open(path, 'rb+') as file:
        os.fsync(file.fileno())
