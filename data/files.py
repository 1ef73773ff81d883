"""Files of pictures: their names, listing a folder, and replacing a file at once."""

import contextlib
import os
import re
import secrets
import shutil
import warnings

from data.console import InputError, naming

IMAGE_SUFFIXES = ('.bmp', '.gif', '.jfif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
# Of pictures that are not read: their formats need other libraries, or do not hold faces.
OTHER_SUFFIXES = ('.avif', '.heic', '.heif', '.jp2', '.jxl', '.pgm', '.ppm')
HIDDEN = '.', '__MACOSX'  # how names begin that are left out
LONGEST_NAME = 40  # characters: a result named by two of them, in Chinese, fits into 255 bytes


def list_images(folder: str, recursive: bool = False) -> list[str]:
    """Return the paths of a folder's pictures, sorted by name; hidden ones are left out.

    Those in sub-folders are listed only if recursive; if not, the folder may also be one picture.
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

    def leave_out(error):
        text = f'{error.filename} cannot be read ({error.strerror}): left out.'
        warnings.warn(text, stacklevel=2)

    visited, seen = set(), []  # links can form a circle
    for current, inner, names in os.walk(folder, onerror=leave_out, followlinks=True):
        visited.add(os.path.realpath(current))
        seen += [os.path.join(current, name) for name in names if not name.startswith(HIDDEN)]
        if not recursive:
            break
        inner[:] = [name for name in inner if not name.startswith(HIDDEN)]
        inner[:] = [n for n in inner if os.path.realpath(os.path.join(current, n)) not in visited]
    paths = [path for path in seen if path.lower().endswith(IMAGE_SUFFIXES)]
    others = [path for path in seen if path.lower().endswith(OTHER_SUFFIXES)]
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


def base_name(path: str) -> str:
    """Return the name of a file without its folders, also from a Windows path."""
    return re.split(r'[/\\]', str(path))[-1]


def name_in(folder: str, path: str) -> str:
    """Return the path of a file relative to its data set, with / on every system."""
    return path[len(os.path.join(folder, '')) :].replace(os.sep, '/')


def unique_names(paths: list[str]) -> list[str]:
    """Return a name for each file, its base name without extension, cut short, no two alike.

    Of files whose names differ only in folder, extension or case, the second gets _2 and so on.
    """
    stems = (os.path.splitext(base_name(path))[0][:LONGEST_NAME] for path in paths)
    taken = set()
    return [unique_name(stem, taken) for stem in stems]


def unique_name(name: str, taken: set[str]) -> str:
    """Return a name with _2 and so on behind it if need be, and add it, case-folded, to `taken`."""
    stem, number = name, 1
    while name.casefold() in taken:
        number += 1
        name = f'{stem}_{number}'
    taken.add(name.casefold())
    return name


@contextlib.contextmanager
def replacing(path):
    """Replace a file at once: whenever the process is killed, the old or the new one is complete.

    Yields the path of a file of this call only, to write to, which then takes the place of `path`.
    After an exception it is removed, and `path` is as before; an OSError has the name of `path`.
    """
    folder, name = os.path.split(path)
    aside = os.path.join(folder, f'{name[:LONGEST_NAME]}.{secrets.token_hex(8)}.new')
    try:
        with naming(path, aside):
            yield aside
            os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(aside)
        raise


def require_space(folder: str, size: int) -> None:
    """Make a folder; raise an InputError if its disk has less than `size` bytes free."""
    os.makedirs(folder, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f'{folder} needs {size:,} bytes more, but its disk has only '
            f'{free:,} free: free the difference, or save to another folder.'
        )
