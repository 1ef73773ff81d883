"""The people whom demo.evaluate measures: held-out faces, and real ones to compare with."""

import collections
import hashlib
import typing
from collections.abc import Iterable

import numpy as np

import face_aging
from data import doubles, files, labels, pipeline, readers
from data.console import InputError

REAL = 60  # faces of each age group and gender to compare with, for 3,540 pairs of people


class People(typing.NamedTuple):
    """Faces of N people and what is known of them."""

    paths: list
    faces: np.ndarray  # uint8 [N, S, S, C]
    ages: np.ndarray  # age groups, int [N]
    genders: np.ndarray  # int [N]
    races: np.ndarray  # see `readers.parse_race`, int [N]


def read(
    model: face_aging.FaceAging, folder: str, reader: str | None = None, everyone: bool = False
) -> tuple[People, People]:
    """Read the held-out faces of a data set, and real faces to compare with.

    Held-out faces that have a copy among the others are left out, and so is every second face of a
    photo; how many is printed. For every model the same faces are left, whether its training held
    out names or photos. With `everyone` all faces count as held out. Return them, and real ones:
    these first, then others that fill each age group and gender up to REAL.
    """
    paths, ages, genders = labels.list_faces(folder, reader=reader, age_upper=model.age_upper)
    held = np.array([everyone or labels.held_out(path) for path in paths])
    left_out = f'one in {labels.HELD_OUT} by name, left out of a training; --all takes all'
    why = 'all' if everyone else left_out
    print(f'\n\tMeasuring {held.sum():,} of {len(paths):,} faces: {why}')
    photos = pipeline.find_photos(paths)
    has_copy = held & doubles.spread(photos, ~held)
    is_first = photos == np.arange(len(photos))
    repeated = np.count_nonzero(held & ~has_copy & ~is_first)
    chosen = np.flatnonzero(held & ~has_copy & is_first)
    print(
        f'\t{has_copy.sum():,} of the {held.sum():,} held-out faces have a copy among the faces '
        f'trained on, {repeated:,} are copies of another held-out face: they are left out, '
        f'{len(chosen):,} remain.'
    )
    if not len(chosen):
        raise InputError(
            f'No held-out face is left of {folder}: name a data set of hundreds of faces, of which '
            f'about one in {labels.HELD_OUT} is held out, or measure all with --all.'
        )
    cells = np.where(is_first & ~has_copy, ages * 2 + genders, -1)  # a photo once
    everybody = np.concatenate([chosen, choose(paths, cells, REAL, used=chosen)])
    paths = [paths[i] for i in everybody]
    faces, kept, _ = pipeline.decode_faces(paths, model.size_image, model.num_input_channels)
    paths, everybody = [paths[i] for i in kept], everybody[kept]
    races = np.array([readers.parse_race(path) for path in paths])
    real = People(paths, np.asarray(faces), ages[everybody], genders[everybody], races)
    held_out = np.count_nonzero(kept < len(chosen))
    return People._make(column[:held_out] for column in real), real


def choose(paths: list[str], cells: np.ndarray, count: int, used: Iterable[int] = ()) -> np.ndarray:
    """Choose up to `count` faces of each cell by their names; return their indices, ascending.

    Of a negative cell none is chosen. Those used are counted, but not chosen again.
    """
    digests = [hashlib.sha256(files.base_name(path).encode()).hexdigest() for path in paths]
    found, chosen = collections.Counter(cells[i] for i in used), []
    for i in sorted({*range(len(paths))} - {*used}, key=digests.__getitem__):
        if found[cells[i]] < count and cells[i] >= 0:
            found[cells[i]] += 1
            chosen.append(i)
    return np.array(sorted(chosen), int)
