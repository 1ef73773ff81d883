"""Files of pictures: their names, listing a folder, and replacing a file at once."""

import contextlib
import os
import re
import shutil
import warnings
import zlib

from data.console import InputError, naming

IMAGE_SUFFIXES = ('.bmp', '.gif', '.jfif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
# Of pictures that are not read: their formats need other libraries, or do not hold faces.
OTHER_SUFFIXES = ('.avif', '.heic', '.heif', '.jp2', '.jxl', '.pgm', '.ppm')
LONGEST_NAME = 40  # characters: a result named by two of them, in Chinese, fits into 255 bytes


def list_images(folder, recursive=False):
    """Return the paths of a folder's pictures, sorted by name; hidden ones are left out.

    A warning counts the pictures in formats that are not read, another one names each sub-folder
    that cannot be read.

    Args:
        folder: its path, or, unless recursive, the path of one picture.
        recursive: whether pictures in sub-folders are listed too.

    Raises:
        InputError: there is no such folder or picture, or no picture in the folder.
    """
    if os.path.isfile(folder):
        if recursive:
            raise InputError(f'{folder} is a file: name the folder of the pictures.')
        return [folder]
    if not os.path.isdir(folder):
        raise InputError(
            f'There is no folder {folder}: put the images there (data/README.md).'
            if recursive
            else f'There is no folder or picture {folder}: name one that is there.'
        )
    folders, visited, paths, others = [folder], {os.path.realpath(folder)}, [], []
    while folders:
        current, inner = folders.pop(), []
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.name.startswith(('.', '__MACOSX')):
                        continue
                    if recursive and _is_folder(entry):
                        inner.append(entry.path)
                    elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                        paths.append(entry.path)
                    elif entry.name.lower().endswith(OTHER_SUFFIXES):
                        others.append(entry.path)
        except OSError as error:
            if current == folder:
                raise
            warnings.warn(f'{current} cannot be read ({error.strerror}): left out.', stacklevel=1)
        for path in inner:
            if (real := os.path.realpath(path)) not in visited:  # links can form a circle
                visited.add(real)
                folders.append(path)
    if others:  # warned of here, so that Python shows it once however often the folder is listed
        warnings.warn(
            f'{len(others)} pictures in {folder} are of formats that are not read, such as '
            f'{min(others)}: save them as JPEG or PNG.',
            stacklevel=1,
        )
    if not paths:
        raise InputError(
            f'No images in {folder}: put {", ".join(s[1:] for s in IMAGE_SUFFIXES)} files there'
            + (' (data/README.md).' if recursive else '.')
        )
    return sorted(paths, key=lambda path: path.replace(os.sep, '/'))


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def base_name(path):
    """Return the name of a file without its folders, also from a Windows path."""
    return re.split(r'[/\\]', str(path))[-1]


def name_in(folder, path):
    """Return the path of a file relative to its data set, with / on every system."""
    return path[len(os.path.join(folder, '')) :].replace(os.sep, '/')


def unique_names(paths):
    """Return a name for each file, its base name without extension, no two alike.

    Of files whose names differ only in folder, extension or case, the second gets _2 and so on.
    Names are cut to LONGEST_NAME characters.
    """
    taken = set()
    stems = (os.path.splitext(base_name(path))[0][:LONGEST_NAME] for path in paths)
    return [unique_name(stem, taken) for stem in stems]


def unique_name(name, taken):
    """Return a name that is not taken, with _2 and so on behind it if need be; it is taken then.

    Args:
        taken: set of names, case-folded; the name is added to it.
    """
    stem, number = name, 1
    while name.casefold() in taken:
        number += 1
        name = f'{stem}_{number}'
    taken.add(name.casefold())
    return name


def path_aside(path):
    """Return the path in the same folder where a file is written before it replaces `path`.

    However long the name is, it fits into a file's 255 bytes; no list of pictures has it.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f'{name[:LONGEST_NAME]}.{zlib.crc32(os.fsencode(name)):08x}.new')


@contextlib.contextmanager
def replacing(path):
    """Replace a file at once: whenever the process is killed, the old or the new one is complete.

    Yields:
        path_aside(path), to write to. That file then takes the place of `path`. After an exception
        it is removed instead, and `path` is as before; an OSError has the name of `path`, such as
        that of a full disk.
    """
    aside = path_aside(path)
    with contextlib.suppress(FileNotFoundError):  # left by a killed process, or a stranger's link
        os.remove(aside)
    try:
        with naming(path, aside):
            yield aside
            os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(aside)
        raise


def require_space(folder, size):
    """Make a folder; raise an InputError if its disk has less than `size` bytes free."""
    os.makedirs(folder, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f'{folder} needs {size:,} bytes more, but its disk has only '
            f'{free:,} free: free the difference, or save to another folder.'
        )
