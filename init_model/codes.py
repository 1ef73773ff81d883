"""Measure the codes of a trained model by age and gender: python -m init_model.codes.

Faces of a data set go through E. The mean of their codes z by age group and gender, and the
covariance within these cells, tell which part of a code is the age: the age shift replaces it. They
are stored beside the weights, with the digest of E, so that those of other weights are not used.
Faces that `data.labels.held_out` leaves out are never used.
"""

import contextlib
import os
import shlex
import typing

import numpy as np
import tensorflow as tf

import init_model
from data import console, files, flag_types, labels, pipeline
from data.console import InputError, first_line
from init_model import checkpoints, savedir

# Faces of an age group and gender, at most. Where 400 move a code by 0.136 (rms), those of 100
# move it by another 0.034, those of 200 by 0.022, those of 300 by 0.012.
PER_CELL = 400
# Fewer faces in a cell, and those of its neighbours count too: of 30 the mean is off by 0.3 in the
# three directions of age, in deviations within a cell; neighbouring means are 0.5 to 1.8 apart.
ENOUGH = 30
LEAST_VARIANCE = 1e-6  # of codes in (-1, 1)
COMMAND = 'python -m init_model.codes'
FILE = 'checkpoint_codes.npz'  # beside a checkpoint; init_model.CODES is that of packed weights


class OtherWeightsError(InputError):
    """The statistics in a folder are not those of the weights in use."""


class Codes(typing.NamedTuple):
    """Statistics of codes, float32; L age groups, Z components."""

    mean: np.ndarray  # [L, 2, Z], by age group and gender (male, female)
    covariance: np.ndarray  # [Z, Z], within these cells; positive definite
    count: np.ndarray  # [L, 2], the faces measured


NAMES = tuple(f'codes/{field}' for field in Codes._fields)  # of the arrays in a file


def measure(z: np.ndarray, groups: np.ndarray, genders: np.ndarray, num_categories: int) -> Codes:
    """Return the `Codes` of faces with codes z [N, Z], of int age groups and genders [N].

    The mean of a cell with fewer than ENOUGH faces is that of a window of age groups around it,
    which grows until it has so many. The covariance is drawn towards a multiple of the identity,
    as if by Z more faces, so that two give an invertible one; fewer raise an InputError.
    """
    if len(z) < 2:
        raise InputError(f'The codes of {len(z)} faces tell nothing of ages: take a data set.')
    z, size = np.asarray(z, np.float64), z.shape[1]
    count, total = np.zeros([num_categories, 2]), np.zeros([num_categories, 2, size])
    np.add.at(count, (groups, genders), 1)
    np.add.at(total, (groups, genders), z)
    within = z - (total / np.maximum(count, 1)[..., None])[groups, genders]
    scatter = within.T @ within
    # Of a component, on average; an E that is hardly trained has the same code for all.
    variance = max(np.trace(scatter) / (len(z) * size), LEAST_VARIANCE)
    covariance = (scatter + size * variance * np.eye(size)) / (len(z) + size)
    cells = np.ndindex(num_categories, 2)
    mean = np.reshape([_mean_near(total, count, *cell) for cell in cells], total.shape)
    return Codes(*map(np.float32, (mean, covariance, count)))


def _mean_near(total, count, group, gender):
    """Return the mean code of the cells around one, of both genders where one has too few."""
    for genders in (slice(gender, gender + 1), slice(None)):
        for reach in range(len(count)):
            window = slice(max(group - reach, 0), group + reach + 1), genders
            if count[window].sum() >= ENOUGH:
                return total[window].sum(axis=(0, 1)) / count[window].sum()
    return total.sum(axis=(0, 1)) / count.sum()


def measure_data_set(model, folder: str, reader: str | None = None) -> Codes:
    """Return the `Codes` of the faces of a data set, with progress bars.

    Of each age group and gender at most PER_CELL faces are read, evenly spread over the sorted
    names; the labels as `labels.list_faces` does. An InputError says that too few can be read.
    """
    paths, groups, genders = labels.list_faces(folder, True, reader, model.age_upper)
    chosen = []
    for group, gender in np.ndindex(model.num_categories, 2):
        cell = np.flatnonzero((groups == group) & (genders == gender))
        places = np.linspace(0, len(cell) - 1, min(len(cell), PER_CELL))
        chosen.extend(cell[places.round().astype(int)])
    chosen = np.sort(np.array(chosen, int))
    paths = [paths[i] for i in chosen]
    faces, kept, _ = pipeline.decode_faces(paths, model.size_image, model.num_input_channels)
    z, chosen = model.encode(faces, title='Encoding'), chosen[kept]
    return measure(z, groups[chosen], genders[chosen], model.num_categories)


def command(folder: str | None) -> str:
    """Return the command that makes the statistics of the weights in a folder."""
    if folder is None:
        return COMMAND
    if os.path.realpath(folder) == os.path.realpath(os.path.dirname(__file__)):
        return f'{COMMAND} --bundled'
    return f'{COMMAND} --savedir {shlex.quote(os.path.dirname(folder) or os.curdir)}'


def of(model) -> Codes | None:
    """Return the `Codes` that are stored beside the weights of a FaceAging; None where none are.

    An OtherWeightsError says that they are of another E, an InputError that they are damaged.
    """
    folder, size = model.weights_dir, model.num_z_channels
    arrays, digest = _stored(folder) if folder else ({}, None)
    if not arrays:
        return None
    cells = model.num_categories, 2
    codes = [arrays.get(name, np.nan) for name in NAMES]
    fits = [np.shape(x) for x in codes] == [(*cells, size), (size, size), cells]
    what, cure = f'The statistics of codes in {folder} are', f'make them anew ({command(folder)}).'
    if not fits or not all(np.isfinite(x).all() for x in codes):
        raise InputError(f'{what} damaged or of another model: {cure}')
    if digest not in (None, model.digest()):
        raise OtherWeightsError(f'{what} of other weights than those in use: {cure}')
    return Codes(*codes)


def _stored(folder):
    """Return the arrays that are stored in a folder, by name, and the digest of their E.

    It is None where earlier versions stored none: with packed weights, or inside the checkpoint.
    """
    if not checkpoints.has_checkpoint(folder):
        entry = init_model.read_manifest(folder)['files'].get(init_model.CODES)
        if entry is None:
            return {}, None
        path = os.path.join(folder, init_model.CODES)
        arrays = init_model.load_arrays(path, init_model.CURE, entry['sha256'])
        return arrays, entry.get(init_model.E_DIGEST)
    path = os.path.join(folder, FILE)
    if not os.path.exists(path):
        return checkpoints.read_newest(folder, NAMES).values, None
    arrays = init_model.load_arrays(path, f'make it anew ({command(folder)}).')
    digest = arrays.get(init_model.E_DIGEST, np.zeros(0))
    return arrays, digest.astype(np.uint8).tobytes().hex()


def store(model, codes: Codes) -> None:
    """Store the `Codes` of a FaceAging, and the digest of its E, beside its weights."""
    folder, arrays = model.weights_dir, dict(zip(NAMES, codes, strict=True))
    if not checkpoints.has_checkpoint(folder):
        manifest = init_model.read_manifest(folder)
        manifest['files'][init_model.CODES] = {init_model.E_DIGEST: model.digest()}
        init_model.save(folder, manifest, {init_model.CODES: arrays})
        return
    arrays[init_model.E_DIGEST] = np.frombuffer(bytes.fromhex(model.digest()), np.uint8)
    with files.replacing(os.path.join(folder, FILE)) as aside, open(aside, 'wb') as file:
        np.savez(file, **arrays)


def complete(model) -> None:
    """Store the `Codes` of a finished training beside its checkpoint; say why if that fails."""
    if not model.run.is_current:
        return
    with contextlib.suppress(InputError):  # they are damaged, or of an earlier checkpoint
        if of(model):
            return
    try:
        store(model, measure_data_set(model, model.data_set, model.reader))
    except (InputError, OSError, tf.errors.OpError) as error:
        makes = command(model.weights_dir)
        savedir.say_and_log(f'\tNo statistics of codes ({first_line(error)}): {makes} makes them.')


@console.one_sentence()
def main(argv=None):
    import face_aging  # here, since it imports this folder: only the program needs a model

    parser = flag_types.Parser(COMMAND, __doc__)
    weights = parser.add_mutually_exclusive_group()
    text = 'folder of a training (%(default)s)'
    weights.add_argument('--savedir', type=flag_types.path, default='save', help=text)
    text = 'the weights in init_model, where it then writes'
    weights.add_argument('--bundled', action='store_true', help=text)
    flag_types.add_data_set(parser)
    args = parser.parse_args(argv)
    model = face_aging.FaceAging(is_training=False, save_dir=args.savedir)
    if not model.load_checkpoint(face_aging.INIT_MODEL if args.bundled else None):
        raise InputError(
            f'There is no checkpoint in {os.path.join(args.savedir, savedir.CHECKPOINT)}: name the '
            '--savedir of a training, or pass --bundled.'
        )
    codes = measure_data_set(model, os.path.join(args.datadir, args.dataset), args.labels)
    store(model, codes)
    print(f'{model.weights_dir} has the statistics of the codes of {codes.count.sum():,.0f} faces.')


if __name__ == '__main__':
    main()
