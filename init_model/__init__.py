"""The weights to start from: an .npz file per network and manifest.json, which describes them.

`load` opens them; `python -m init_model.pack SAVEDIR` makes them from a checkpoint. Beside them may
lie statistics of their codes, which `python -m init_model.codes` makes (see codes.py).
"""

import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from data.console import InputError, is_lack_of_memory

MANIFEST = 'manifest.json'
FORMAT = 1  # of the manifest
NETWORKS = ('E', 'G', 'D_z', 'D_img')
FILES = tuple(f'{network}.npz' for network in NETWORKS)
CODES = 'codes.npz'  # the one file that a manifest may lack
E_DIGEST = 'E_sha256'  # in its entry: the `digest` of the E that the codes belong to
DTYPE = np.dtype('<f2')  # float16, in the same byte order everywhere
CODES_DTYPE = np.dtype('<f4')  # the inverse of a covariance magnifies what float16 rounds
MAX_BYTES = 50_000_000  # of a file: no more is read into memory, and hosts of git repositories balk
CURE = 'restore it (git checkout init_model) or make it anew (python -m init_model.pack SAVEDIR).'


def has_weights(folder: str) -> bool:
    """Whether a folder holds packed weights, be it only some of their files."""
    return any(os.path.exists(os.path.join(folder, name)) for name in (MANIFEST, *FILES))


def load(
    folder: str,
    manifest_name: str = MANIFEST,
    names: Sequence[str] = FILES,
    cure: str = CURE,
) -> dict[str, np.ndarray]:
    """Open the packed weights of a folder.

    Nothing of a file is interpreted before its SHA-256 is that of the manifest; nothing is
    unpickled; no array is made but of a shape in the manifest, and all together are no larger than
    the file on the disk.

    Args:
        folder: of the weights.
        manifest_name: of the file that describes them.
        names: of the files of weights.
        cure: what to do where they cannot be opened, the end of the error's sentence.

    Returns:
        dict from the original's variable names (`E_conv0/w`) to float32 arrays.

    Raises:
        InputError: a file is missing, damaged or foreign; names it.
    """
    files = read_manifest(folder, manifest_name, names, cure)['files']
    weights = {}
    for name in names:
        arrays = _load_listed(folder, name, files[name], DTYPE, manifest_name, cure)
        weights |= {key: array.astype(np.float32) for key, array in arrays.items()}
    return weights


def load_codes(folder: str) -> tuple[dict[str, np.ndarray], str | None]:
    """Open the statistics of codes beside packed weights, by the same rules as `load`.

    Returns:
        dict from names to float32 arrays, {} where the manifest lists none; and the `digest` of the
        E that they belong to, None where it is not known.

    Raises:
        InputError: as `load`.
    """
    entry = read_manifest(folder)['files'].get(CODES)
    if not entry:
        return {}, None
    return _load_listed(folder, CODES, entry, CODES_DTYPE, MANIFEST, CURE), entry.get(E_DIGEST)


def load_arrays(
    path: str, kinds: dict[str, tuple[np.dtype, tuple[int, ...]]], cure: str
) -> dict[str, np.ndarray]:
    """Open an .npz file by the rules of `load`, but without a manifest.

    Args:
        path: of the file.
        kinds: the types and shapes of just the arrays that it must hold, by name.
        cure: as for `load`.

    Raises:
        InputError: it is missing, damaged or holds other arrays.
    """
    return _parse(path, _read(path, cure), kinds, cure)


def digest(arrays: Mapping[str, np.typing.ArrayLike]) -> str:
    """Return a SHA-256 in hexadecimal digits of float32 arrays, a dict by name."""
    sha256 = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.ascontiguousarray(array, '<f4')
        sha256.update(f'{name} {array.shape}\n'.encode())
        sha256.update(array)
    return sha256.hexdigest()


def _load_listed(folder, name, entry, dtype, manifest_name, cure):
    """Return the arrays, of one type, of an .npz file that has an entry in the manifest."""
    path = os.path.join(folder, name)
    data = _read(path, cure)
    if hashlib.sha256(data).hexdigest() != entry['sha256']:
        raise _damaged(path, f'its SHA-256 is not the one in {manifest_name}', cure)
    kinds = {key: (dtype, tuple(shape)) for key, shape in entry['shapes'].items()}
    return _parse(path, data, kinds, cure)


def describe_file(path: str, arrays: dict[str, np.ndarray]) -> dict:
    """Write arrays, a dict by name, as an .npz file; return its entry in the manifest."""
    with open(path, 'wb') as file:  # given a name, NumPy would add a suffix to it
        np.savez(file, **arrays)
    with open(path, 'rb') as file:
        data = file.read()
    shapes = {key: list(array.shape) for key, array in arrays.items()}
    return {'sha256': hashlib.sha256(data).hexdigest(), 'bytes': len(data), 'shapes': shapes}


def write_manifest(path: str, manifest: dict) -> None:
    """Write a manifest as JSON to be read by people: each shape on one line."""
    text = json.dumps(manifest, indent=1)
    text = re.sub(r'\[[\d,\s]*\]', lambda shape: json.dumps(json.loads(shape[0])), text)
    with open(path, 'w', encoding='utf-8') as file:
        print(text, file=file)


def read_manifest(
    folder: str,
    manifest_name: str = MANIFEST,
    names: Sequence[str] = FILES,
    cure: str = CURE,
) -> dict:
    """Return the manifest of packed weights, a dict: see README.md in this folder.

    Args:
        folder, manifest_name, names, cure: as for `load`.

    Raises:
        InputError: it is missing, damaged or foreign. Only format, epochs, files, age_upper and
            sizes are looked at, nothing is opened by them: the files' names are always
            `names`, and `CODES` where it is listed.
    """
    path = os.path.join(folder, manifest_name)
    data = _read(path, cure)
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, 'it is no JSON', cure) from error
    match manifest:
        case {'format': int(number)} if number != FORMAT:
            raise _damaged(path, f'its format is {number}, not {FORMAT}', cure)
        case {'format': int(), 'epochs': int(), 'files': dict(files)}:
            if sorted(set(files) - {CODES}) != sorted(names):
                raise _damaged(path, f'its files are not {", ".join(names)}', cure)
        case _:
            raise _damaged(path, 'format, epochs or files are missing', cure)
    if not _is_shape(manifest.get('age_upper', [])):
        raise _damaged(path, 'its age_upper is no list of years', cure)
    if not isinstance(manifest.get('sizes', {}), dict):
        raise _damaged(path, 'its sizes have no names', cure)
    for name, entry in files.items():
        match entry:
            case {'sha256': str(), 'shapes': dict(shapes)} if all(map(_is_shape, shapes.values())):
                pass
            case _:
                raise _damaged(path, f'sha256 or shapes of {name} are missing', cure)
    return manifest


def _read(path, cure):
    """Return the bytes of a file."""
    try:
        with open(path, 'rb') as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f'{path} is missing: {cure}') from error
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}): {cure}') from error
    if len(data) > MAX_BYTES:
        raise _damaged(path, f'it is larger than {MAX_BYTES:,} bytes', cure)
    return data


def _parse(path, data, kinds, cure):
    """Return the arrays of an .npz file, given as bytes, if they are of just these kinds.

    Args:
        path, kinds, cure: as for `load_arrays`.

    Raises:
        InputError: they are not.
    """
    arrays = {}
    try:
        if sum(dtype.itemsize * math.prod(shape) for dtype, shape in kinds.values()) > len(data):
            raise ValueError('it is smaller than its shapes')
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sorted(archive.namelist()) != sorted(f'{name}.npy' for name in kinds):
                raise ValueError('its variables are not those expected')
            for name, kind in kinds.items():
                with archive.open(f'{name}.npy') as file:
                    arrays[name] = _parse_array(file, name, *kind)
    except Exception as error:  # zipfile and NumPy raise many kinds on foreign files
        if is_lack_of_memory(error):
            raise
        raise _damaged(path, error, cure) from error
    return arrays


def _parse_array(file, name, dtype, shape):
    """Return the array of a .npy file that is of this type and shape."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} is of another version of NumPy's format")
    found, _, found_dtype = np.lib.format.read_array_header_1_0(file)
    if (found, found_dtype) != (shape, dtype):
        raise ValueError(f'{name} is {found_dtype} {list(found)}, not {dtype} {list(shape)}')
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _is_shape(value):
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _damaged(path, reason, cure):
    return InputError(f'{path} is damaged ({reason}): {cure}')
