"""The weights to start from: an .npz file per network and manifest.json, which describes them.

`load` opens them; `python -m init_model.pack SAVEDIR` makes them from a checkpoint.
"""

import hashlib
import io
import json
import math
import os
import zipfile

import numpy as np

from data.console import InputError

MANIFEST = 'manifest.json'
FORMAT = 1  # of the manifest
NETWORKS = ('E', 'G', 'D_z', 'D_img')
FILES = tuple(f'{network}.npz' for network in NETWORKS)
DTYPE = np.dtype('<f2')  # float16, in the same byte order everywhere
MAX_BYTES = 50_000_000  # of a file: no more is read into memory, and hosts of git repositories balk
CURE = 'restore it (git checkout init_model) or make it anew (python -m init_model.pack SAVEDIR).'


def is_in(folder):
    """Whether a folder holds packed weights, be it only some of their files."""
    return any(os.path.exists(os.path.join(folder, name)) for name in (MANIFEST, *FILES))


def load(folder):
    """Open the packed weights of a folder.

    Nothing of a file is interpreted before its SHA-256 is that of the manifest; nothing is
    unpickled; no array is made but of a shape in the manifest, and all together are no larger than
    the file on the disk.

    Returns:
        dict from the original's variable names (`E_conv0/w`) to float32 arrays.

    Raises:
        InputError: a file is missing, damaged or foreign; names it.
    """
    weights = {}
    for name, entry in read_manifest(folder)['files'].items():
        path = os.path.join(folder, name)
        data = _read(path)
        if hashlib.sha256(data).hexdigest() != entry['sha256']:
            raise _damaged(path, f'its SHA-256 is not the one in {MANIFEST}')
        try:
            weights.update(_parse(data, entry['shapes']))
        except Exception as error:  # zipfile and NumPy raise many kinds on foreign files
            raise _damaged(path, error) from error
    return weights


def read_manifest(folder):
    """Return the manifest of packed weights, a dict: see README.md in this folder.

    Raises:
        InputError: it is missing, damaged or foreign. Only format, epochs, files, age_upper
            and sizes are looked at, nothing is opened by them: the files' names are always `FILES`.
    """
    path = os.path.join(folder, MANIFEST)
    data = _read(path)
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, 'it is no JSON') from error
    match manifest:
        case {'format': int(number)} if number != FORMAT:
            raise _damaged(path, f'its format is {number}, not {FORMAT}')
        case {'format': int(), 'epochs': int(), 'files': dict(files)}:
            if sorted(files) != sorted(FILES):
                raise _damaged(path, f'its files are not {", ".join(FILES)}')
        case _:
            raise _damaged(path, 'format, epochs or files are missing')
    if not _is_shape(manifest.get('age_upper', [])):
        raise _damaged(path, 'its age_upper is no list of years')
    if not isinstance(manifest.get('sizes', {}), dict):
        raise _damaged(path, 'its sizes have no names')
    for name, entry in files.items():
        match entry:
            case {'sha256': str(), 'shapes': dict(shapes)} if all(map(_is_shape, shapes.values())):
                pass
            case _:
                raise _damaged(path, f'sha256 or shapes of {name} are missing')
    return manifest


def _read(path):
    """Return the bytes of a file."""
    try:
        with open(path, 'rb') as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f'{path} is missing: {CURE}') from error
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}): {CURE}') from error
    if len(data) > MAX_BYTES:
        raise _damaged(path, f'it is larger than {MAX_BYTES:,} bytes')
    return data


def _parse(data, shapes):
    """Return the float32 arrays of an .npz file, given as bytes, if they have just these shapes.

    Raises:
        ValueError, and whatever zipfile and NumPy raise: they do not.
    """
    if sum(DTYPE.itemsize * math.prod(shape) for shape in shapes.values()) > len(data):
        raise ValueError(f'it is smaller than its shapes in {MANIFEST}')
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sorted(archive.namelist()) != sorted(f'{name}.npy' for name in shapes):
            raise ValueError(f'its variables are not those in {MANIFEST}')
        for name, shape in shapes.items():
            with archive.open(f'{name}.npy') as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError(f"{name} is of another version of NumPy's format")
                found, _, dtype = np.lib.format.read_array_header_1_0(file)
                if (list(found), dtype) != (shape, DTYPE):
                    raise ValueError(
                        f'{name} is {dtype} {list(found)}, not {DTYPE} {shape} as in {MANIFEST}'
                    )
                file.seek(0)
                array = np.lib.format.read_array(file, allow_pickle=False)
            arrays[name] = array.astype(np.float32)
    return arrays


def _is_shape(value):
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _damaged(path, reason):
    return InputError(f'{path} is damaged ({reason}): {CURE}')
