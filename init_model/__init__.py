"""The weights to start from: an .npz file per network and manifest.json, which describes them.

`load` opens them; `python -m init_model.pack SAVEDIR` makes them from a checkpoint. Beside them may
lie statistics of their codes, which `python -m init_model.codes` makes (see codes.py).
"""

import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from data.console import InputError, first_line, is_lack_of_memory

MANIFEST = 'manifest.json'
FORMAT = 1  # of the manifest
NETWORKS = ('E', 'G', 'D_z', 'D_img')
FILES = tuple(f'{network}.npz' for network in NETWORKS)
CODES = 'codes.npz'  # the one file that a manifest may lack
E_DIGEST = 'E_sha256'  # in its entry: the `digest` of the E that the codes belong to
DTYPE = np.dtype('<f2')  # float16, in the same byte order everywhere
CURE = 'restore it (git checkout init_model) or make it anew (python -m init_model.pack SAVEDIR).'


def load(
    folder: str,
    manifest_name: str = MANIFEST,
    names: Sequence[str] = FILES,
    cure: str = CURE,
) -> dict[str, np.ndarray]:
    """Open the packed weights of a folder, float32 arrays by the original's names (`E_conv0/w`).

    Nothing of a file is interpreted before its SHA-256 is that of the manifest, and nothing is
    unpickled. An InputError names a file that is missing, damaged or foreign, and the `cure`.
    """
    files = read_manifest(folder, manifest_name, names, cure)['files']
    weights = {}
    for name in names:
        weights |= load_arrays(os.path.join(folder, name), cure, files[name]['sha256'])
    return weights


def load_arrays(path: str, cure: str, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Open an .npz file as `load` does, given its SHA-256 if there is one for it."""
    with _opening(path, cure), open(path, 'rb') as file:
        data = file.read()
        if sha256 not in (None, hashlib.sha256(data).hexdigest()):
            raise ValueError('its SHA-256 is not the one in the manifest')
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: array.astype(np.float32) for name, array in arrays.items()}


def read_manifest(
    folder: str,
    manifest_name: str = MANIFEST,
    names: Sequence[str] = FILES,
    cure: str = CURE,
) -> dict:
    """Return the manifest of packed weights, see README.md in this folder; errors as of `load`.

    No file is opened by a name in the manifest.
    """
    path = os.path.join(folder, manifest_name)
    with _opening(path, cure), open(path, encoding='utf-8') as file:
        manifest = json.load(file)
        match manifest:
            case {'format': int(number)} if number != FORMAT:
                raise ValueError(f'its format is {number}, not {FORMAT}')
            case {'format': int(), 'epochs': int(), 'files': dict(files)}:
                pass
            case _:
                raise ValueError('format, epochs or files are missing')
        if set(files) - {CODES} != set(names):
            raise ValueError(f'its files are not {", ".join(names)}')
        if not all('sha256' in entry for entry in files.values()):
            raise ValueError('the sha256 of a file is missing')
        for name, kind in (('age_upper', list), ('sizes', dict)):
            if not isinstance(manifest.get(name, kind()), kind):
                raise ValueError(f'its {name} cannot be read')
    return manifest


def save(
    folder: str,
    manifest: dict,
    files: Mapping[str, Mapping[str, np.ndarray]],
    manifest_name: str = MANIFEST,
) -> None:
    """Write files of arrays by name, and a manifest, to whose `files` theirs are added.

    All are replaced, or none.
    """
    os.makedirs(folder, exist_ok=True)
    entries = manifest.setdefault('files', {})
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        for name, arrays in files.items():
            np.savez(os.path.join(aside, name), **arrays)
            with open(os.path.join(aside, name), 'rb') as file:
                data = file.read()
            entries[name] = {
                **entries.get(name, {}),
                'sha256': hashlib.sha256(data).hexdigest(),
                'bytes': len(data),
                'shapes': {key: list(array.shape) for key, array in arrays.items()},
            }
        text = json.dumps(manifest, indent=1)  # to be read by people: each shape on one line
        text = re.sub(r'\[[\d,\s]*\]', lambda shape: json.dumps(json.loads(shape[0])), text)
        with open(os.path.join(aside, manifest_name), 'w', encoding='utf-8') as file:
            print(text, file=file)
        for name in (*files, manifest_name):  # the manifest last
            os.replace(os.path.join(aside, name), os.path.join(folder, name))


def digest(arrays: Mapping[str, np.typing.ArrayLike]) -> str:
    """Return a SHA-256 in hexadecimal digits of float32 arrays, a dict by name."""
    sha256 = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.ascontiguousarray(array, '<f4')
        sha256.update(f'{name} {array.shape}\n'.encode())
        sha256.update(array)
    return sha256.hexdigest()


@contextlib.contextmanager
def _opening(path, cure):
    """Within the block, turn what is raised on a missing or damaged file into an InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f'{path} is missing: {cure}') from error
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}): {cure}') from error
    except Exception as error:  # json, zipfile and NumPy raise many kinds on foreign files
        if is_lack_of_memory(error):
            raise
        raise InputError(f'{path} is damaged ({first_line(error)}): {cure}') from error
