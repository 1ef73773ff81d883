"""Measure the codes of a trained model by age and gender: python -m init_model.codes.

Faces of a data set go through E. The mean of their codes z by age group and gender, and the
covariance within these cells, tell which part of a code is the age: demo.aging's age shift
replaces it. They are stored with the weights, in the newest checkpoint of SAVEDIR or, where there
is none, in init_model. Faces that `data.labels.held_out` leaves out are never used.
"""

import os
import typing
import warnings

import numpy as np
import tensorflow as tf

import init_model
from data import console, files, flag_types, labels, pipeline
from data.console import InputError
from init_model import checkpoints, savedir

# Faces of an age group and gender, at most. Where 400 move a code by 0.136 (rms), those of 100
# move it by another 0.034, those of 200 by 0.022, those of 300 by 0.012.
PER_CELL = 400
# Fewer faces in a cell, and those of its neighbours count too: of 30 the mean is off by 0.3 in the
# three directions of age, in deviations within a cell; neighbouring means are 0.5 to 1.8 apart.
ENOUGH = 30
LEAST_VARIANCE = 1e-6  # of codes in (-1, 1)
SIZE_BATCH = 50  # faces encoded at once
COMMAND = 'python -m init_model.codes'


class Codes(typing.NamedTuple):
    """Statistics of codes; L age groups, Z components.

    Attributes:
        mean: float32 array [L, 2, Z], by age group and gender (male, female).
        covariance: float32 array [Z, Z], within these cells; positive definite.
        count: float32 array [L, 2], the faces measured.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: np.ndarray


NAMES = {f'codes/{field}': field for field in Codes._fields}  # of the tensors


def measure(z, groups, genders, num_categories):
    """Return the `Codes` of faces.

    The mean of a cell with fewer than ENOUGH faces is that of a window of age groups around it,
    which grows until it has so many. The covariance is drawn towards a multiple of the identity,
    as if by Z more faces, so that few faces give an invertible one too.

    Args:
        z: float array [N, Z].
        groups, genders: int arrays [N], age groups and genders (0 male, 1 female).
        num_categories: L.

    Raises:
        InputError: there are fewer than two faces.
    """
    if len(z) < 2:
        raise InputError(f'The codes of {len(z)} faces tell nothing of ages: take a data set.')
    z = np.asarray(z, np.float64)
    size = z.shape[1]
    count, total = np.zeros([num_categories, 2]), np.zeros([num_categories, 2, size])
    np.add.at(count, (groups, genders), 1)
    np.add.at(total, (groups, genders), z)
    within = z - (total / np.maximum(count, 1)[..., None])[groups, genders]
    scatter = within.T @ within
    # Of a component, on average; an E that is hardly trained has the same code for all.
    variance = max(np.trace(scatter) / (len(z) * size), LEAST_VARIANCE)
    covariance = (scatter + size * variance * np.eye(size)) / (len(z) + size)
    mean = np.empty([num_categories, 2, size])
    for group, gender in np.ndindex(num_categories, 2):
        mean[group, gender] = _mean_near(total, count, group, gender)
    return Codes(*(np.float32(array) for array in (mean, covariance, count)))


def _mean_near(total, count, group, gender):
    """Return the mean code of the cells around one, of both genders where one has too few."""
    for genders in (slice(gender, gender + 1), slice(None)):
        for reach in range(len(count)):
            window = slice(max(group - reach, 0), group + reach + 1), genders
            if count[window].sum() >= ENOUGH:
                return total[window].sum(axis=(0, 1)) / count[window].sum()
    return total.sum(axis=(0, 1)) / count.sum()


def measure_data_set(model, folder, reader=None):
    """Return the `Codes` of the faces of a data set, with progress bars.

    Of each age group and gender at most PER_CELL faces are read, evenly spread over
    the sorted names.

    Args:
        model: a FaceAging, trained.
        folder: of the data set.
        reader: of its labels, as `labels.list_faces` takes it.

    Raises:
        InputError: no data set, fewer than two faces in it, or most of them unreadable.
    """
    paths, groups, genders = labels.list_faces(folder, True, reader, model.age_upper)
    cells = (
        np.flatnonzero((groups == group) & (genders == gender))
        for group, gender in np.ndindex(model.num_categories, 2)
    )
    chosen = np.sort(np.concatenate([_spread(cell) for cell in cells]))
    faces, kept, _ = pipeline.decode_faces(
        [paths[i] for i in chosen], model.size_image, model.num_input_channels
    )
    chosen = chosen[kept]
    z = model.encode(faces, SIZE_BATCH, 'Encoding')
    return measure(z, groups[chosen], genders[chosen], model.num_categories)


def _spread(cell):
    """Return at most PER_CELL of indices, evenly spread."""
    return cell[np.linspace(0, len(cell) - 1, min(len(cell), PER_CELL)).round().astype(int)]


def read(folder, num_categories, num_z_channels):
    """Return the `Codes` that are stored with a model's weights; None where there are none.

    Args:
        folder: of a checkpoint or of packed weights.
        num_categories, num_z_channels: of the model, L and Z.

    Raises:
        InputError: they are damaged, or of another model.
    """
    tensors = read_tensors(folder)
    if not tensors:
        return None
    codes = Codes(**{field: tensors[name] for name, field in NAMES.items()})
    cells = (num_categories, 2)
    shapes = (*cells, num_z_channels), (num_z_channels, num_z_channels), cells
    fits = tuple(array.shape for array in codes) == shapes
    if not fits or not all(np.isfinite(array).all() for array in codes):
        raise InputError(
            f'The statistics of codes in {folder} are damaged or of another model: make them anew '
            f'({COMMAND}).'
        )
    return codes


def read_tensors(folder):
    """Return what `store` stored in a folder, a dict from NAMES to arrays; {} without all of it.

    Raises:
        InputError: the file is damaged.
    """
    if checkpoints.is_in(folder):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of damaged ones load_checkpoint tells
            tensors = checkpoints.read_newest(folder, NAMES).values
    else:
        tensors = init_model.load_codes(folder) if init_model.is_in(folder) else {}
    return tensors if tensors.keys() == NAMES.keys() else {}


def store(folder, codes):
    """Store `Codes` with the weights in a folder: in its newest checkpoint, else in its manifest.

    Raises:
        InputError: there are no weights, they are damaged, or the disk is full.
    """
    tensors = {name: getattr(codes, field) for name, field in NAMES.items()}
    if checkpoints.is_in(folder):
        checkpoints.add(folder, tensors)
        return
    manifest = init_model.read_manifest(folder)
    with (
        files.replacing(os.path.join(folder, init_model.MANIFEST)) as manifest_aside,
        files.replacing(os.path.join(folder, init_model.CODES)) as codes_aside,
    ):
        manifest['files'][init_model.CODES] = init_model.describe_file(codes_aside, tensors)
        init_model.write_manifest(manifest_aside, manifest)


def complete(folder, model, data_set, reader=None):
    """Store the `Codes` of a finished training in its checkpoint; say why if that fails.

    Args:
        folder: of its checkpoints.
        model: a FaceAging, as trained.
        data_set, reader: as for `measure_data_set`.
    """
    try:
        if model.run.is_current and not read_tensors(folder):
            store(folder, measure_data_set(model, data_set, reader))
    except (InputError, OSError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        savedir.say_and_log(f'\tNo statistics of codes ({reason}): {COMMAND} makes them.')


@console.one_sentence()
def main(argv=None):
    import face_aging  # here, since it imports this folder: only the program needs a model

    parser = flag_types.Parser('python -m init_model.codes', __doc__)
    flag_types.add_model(parser)
    flag_types.add_data_set(parser)
    args = parser.parse_args(argv)
    model = face_aging.open_trained(args.savedir, args.age_groups)
    codes = measure_data_set(model, os.path.join(args.datadir, args.dataset), args.labels)
    folder = os.path.join(args.savedir, savedir.CHECKPOINT)
    if checkpoints.is_in(folder):
        with savedir.locked(args.savedir):
            store(folder, codes)
    else:
        folder = face_aging.INIT_MODEL
        store(folder, codes)
    print(f'{folder} has the statistics of the codes of {codes.count.sum():,.0f} faces.')


if __name__ == '__main__':
    main()
