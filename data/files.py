"""Files of pictures: their names, listing a folder, and replacing a file at once."""

import contextlib
import os
import re
import zlib

from data.console import InputError

IMAGE_SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.webp')
LONGEST_NAME = 40  # characters: two names of Chinese ones fit into a file's 255 bytes


def list_images(folder, recursive=False):
    """Return the paths of a folder's pictures, sorted by name; hidden ones are left out.

    Args:
        folder: path, where sub-folders don't count also of one picture.
        recursive: whether pictures in sub-folders count.

    Raises:
        InputError: no such folder or picture, or none in it.
    """
    if os.path.isfile(folder):
        if recursive:
            raise InputError(f'{folder} is a file: name the folder of the pictures.')
        return [folder]
    if not os.path.isdir(folder):
        raise InputError(
            f'There is no folder {folder}: put the images there (README, "Data sets").'
            if recursive
            else f'There is no folder or picture {folder}: name one that is there.'
        )
    folders, visited, paths = [folder], {os.path.realpath(folder)}, []
    while folders:
        inner = []
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.startswith(('.', '__MACOSX')):
                    continue
                if recursive and entry.is_dir():
                    inner.append(entry.path)
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    paths.append(entry.path)
        for path in inner:
            if (real := os.path.realpath(path)) not in visited:  # a link may lead back
                visited.add(real)
                folders.append(path)
    if not paths:
        raise InputError(
            f'No images in {folder}: put {", ".join(s[1:] for s in IMAGE_SUFFIXES)} files there '
            '(README, "Data sets").'
        )
    return sorted(paths, key=lambda path: path.replace(os.sep, '/'))


def base_name(path):
    """Return the name of a file without its folders; Windows' paths too."""
    return re.split(r'[/\\]', str(path))[-1]


def name_in(folder, path):
    """Return the path of a file within its data set, with / on every system."""
    return path[len(os.path.join(folder, '')) :].replace(os.sep, '/')


def unique_names(paths):
    """Return a name for each file, its base name without extension, no two alike.

    Of files whose names differ in folder, extension or capitals only, the second gets _2 and so on.
    Names are cut to LONGEST_NAME characters.
    """
    names, taken = [], set()
    for path in paths:
        stem = name = os.path.splitext(base_name(path))[0][:LONGEST_NAME]
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f'{stem}_{number}'
        taken.add(name.casefold())
        names.append(name)
    return names


def path_aside(path):
    """Return the path in the same folder where a file is written before it replaces `path`.

    It is short enough for every file system however long the name is, and it is no picture's name.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f'{name[:LONGEST_NAME]}.{zlib.crc32(os.fsencode(name)):08x}.new')


@contextlib.contextmanager
def replacing(path):
    """Write a file that is complete, or not there, whenever the process is killed.

    Yields:
        the path to write to. The file there takes the place of `path`, unless an exception is
        raised: then it is removed, and `path` stays as it is.
    """
    aside = path_aside(path)
    with contextlib.suppress(FileNotFoundError):  # by a killed process, or a link to elsewhere
        os.remove(aside)
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(aside)
        raise
