"""Decoded faces that a folder keeps for the next training, verified before they are used.

Two files each: the pixels, and JSON with their SHA-256 and what else is known. Both are named by a
digest of the pictures' names, sizes and times, so that other or changed pictures are decoded anew.
"""

import hashlib
import itertools
import json
import math
import os
import warnings
from collections.abc import Callable

import numpy as np

from data import files
from data.console import Progress, first_line

FORMAT = 1  # of what is kept; another number wherever faces are decoded otherwise
AT_ONCE = 2**26  # bytes that are read at once to verify the file


class Folder:
    """The place of a data set's decoded faces in a folder: uint8 arrays of these shapes."""

    def __init__(self, folder: str, paths: list[str], *shapes: tuple[int, ...]):
        root = os.path.commonpath([os.path.dirname(path) for path in paths])
        sha256 = hashlib.sha256(repr((FORMAT, shapes)).encode())
        for path in paths:
            stat = os.stat(path)
            entry = os.path.relpath(path, root), stat.st_size, stat.st_mtime_ns
            sha256.update(repr(entry).encode())
        self._pixels = os.path.join(folder, f'{sha256.hexdigest()[:32]}.faces')
        self._known = os.path.splitext(self._pixels)[0] + '.json'
        self._shapes = shapes

    def read(self) -> tuple[list[np.ndarray], dict] | None:
        """Return the arrays, and the dict that was written with them; None if there are none.

        They are mapped into memory, not copied: trainings that use them at once share it.
        """
        try:
            with open(self._known, encoding='utf-8') as file:
                sha256, known = json.load(file)
            arrays = self._map(self._pixels, 'r')
            if _sha256(arrays) == sha256:
                return arrays, known
            reason = 'it is damaged'
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            reason = first_line(error)
        warnings.warn(f'{self._pixels} is not used ({reason}): decoding again.', stacklevel=3)
        return None

    def write(self, decode: Callable) -> tuple[list[np.ndarray], dict]:
        """Let decode(*arrays) fill the arrays and return a dict for JSON; return what `read` does.

        An InputError or OSError says that the folder, which is made, cannot hold them.
        """
        size = sum(math.prod(shape) for shape in self._shapes)
        files.require_space(os.path.dirname(self._pixels), size)
        with files.replacing(self._pixels) as aside:
            with open(aside, 'wb') as file:
                file.truncate(size)
            arrays = self._map(aside, 'r+')
            known = decode(*arrays)
            for array in arrays:
                array.flush()
            with files.replacing(self._known) as path, open(path, 'w', encoding='utf-8') as file:
                json.dump([_sha256(arrays), known], file)
        return self._map(self._pixels, 'r'), known

    def _map(self, path, mode):
        starts = itertools.accumulate([0, *map(math.prod, self._shapes)])
        return [
            np.memmap(path, np.uint8, mode, start, shape)
            for start, shape in zip(starts, self._shapes, strict=False)
        ]


def _sha256(arrays):
    """Return the SHA-256 of arrays in hexadecimal digits, with a progress bar if they are large."""
    sha256 = hashlib.sha256()
    parts = [
        memoryview(array.reshape(-1))[start : start + AT_ONCE]
        for array in arrays
        for start in range(0, array.size, AT_ONCE)
    ]
    for part in Progress(parts, 'Verifying', unit=' parts', disable=len(parts) < 4):
        sha256.update(part)
    return sha256.hexdigest()
