"""Check a data set before training on it: python -m data.check NAME.

Prints the number of faces in each age group and gender, the pictures that are skipped or odd, and
whether a training could start; if it could not, the exit status is 1.
"""

import collections
import concurrent.futures
import csv
import dataclasses
import hashlib
import os
import random

import numpy as np
from PIL import ImageChops

from data import (
    console,
    copies,
    detector,
    doubles,
    files,
    flag_types,
    labels,
    limits,
    pictures,
    pipeline,
    readers,
    tables,
)
from data.console import InputError, Progress

USUAL = 0.9  # a size that this part of the pictures has is the usual one of the data set
SMALL = 128  # pixels: faces are resized to this by default, so smaller ones are enlarged
SAMPLED = 300  # faces that the detector looks at; each takes a tenth of a second or more
CHOICE_SEED = 2017  # for choosing them
BLOCK = 2**20  # bytes read at a time
NAMED = 5  # at most this many faces of a photo are listed by name


@dataclasses.dataclass
class Picture:
    """Properties of a picture: size is (width, height), error is '' if the file can be read."""

    error: str = ''
    digest: str = ''
    size: tuple = ()
    is_grey: bool = False
    is_blank: bool = False


def look_at(path, thumbnail):
    """Decode a file completely and return its Picture; fill its thumbnail, see `doubles.room`."""
    try:
        with pictures.open_picture(path) as image:
            size, digest = image.size, hashlib.sha256()
            with open(path, 'rb') as file:
                while block := file.read(BLOCK):
                    digest.update(block)
            red, green, blue = image.split()
            is_grey = not (
                ImageChops.difference(red, green).getbbox()
                or ImageChops.difference(red, blue).getbbox()
            )
            is_blank = all(low == high for low, high in image.getextrema())
            thumbnail[:] = doubles.thumbnail(image)
    except pictures.UnreadableError as error:
        return Picture(error=error.reason)
    return Picture('', digest.hexdigest(), size, is_grey, is_blank)


def look_at_all(paths):
    """Decode pictures in parallel, with a progress bar.

    Returns:
        list of Pictures.
        uint8 array of their thumbnails, see `doubles.room`; black ones where none can be read.
    """
    thumbnails = doubles.room(len(paths))
    # Threads, since Pillow and hashlib run side by side.
    with concurrent.futures.ThreadPoolExecutor(limits.cpu_count()) as pool:
        seen = pool.map(look_at, paths, thumbnails)
        return [*Progress(seen, 'Checking', len(paths), unit=' faces')], thumbnails


def count_table(faces, age_upper=labels.AGE_UPPER):
    """Return a Markdown table with a row for each age group and a column for each gender.

    Args:
        faces: dict as in `readers.Reading`.
        age_upper: last year of each age group but the last.
    """
    names = labels.age_names(age_upper)
    counts = collections.Counter(
        (labels.age_group(age, age_upper), gender) for age, gender in faces.values()
    )
    genders = [*range(len(labels.GENDER_NAMES))]
    titles = [*labels.GENDER_NAMES]
    if any(gender is None for _, gender in counts):
        genders, titles = [*genders, None], [*titles, 'unknown']
    lines = [f'| age | {" | ".join(titles)} | all |', '|---|' + '--:|' * (len(titles) + 1)]
    rows = [[counts[group, gender] for gender in genders] for group in range(len(names))]
    rows.append([sum(column) for column in zip(*rows, strict=True)])
    for name, row in zip([*names, 'all'], rows, strict=True):
        lines.append(f'| {name} | {" | ".join(f"{n:,}" for n in [*row, sum(row)])} |')
    return '\n'.join(lines)


def find_photos(pictures, thumbnails):
    """Find pictures of the same photo, identical files and other copies.

    Args:
        pictures: list of N Pictures.
        thumbnails: uint8 array [N, ...], as from `look_at_all`.

    Returns:
        photos: int array [N], the index of the first picture of the same photo.
        contents: int array [N], the same for files of the same content.
    """
    photos = doubles.find(thumbnails)
    first = {}
    contents = np.array(
        [first.setdefault(picture.digest or i, i) for i, picture in enumerate(pictures)], int
    )
    doubles.join(photos, contents, np.arange(len(contents)))
    return photos, contents


def findings(reading, pictures):
    """Return a dict from each finding about a data set to the names of the pictures it concerns.

    Args:
        reading: `readers.Reading` with names in place of paths.
        pictures: dict from names to Pictures.
    """
    found = collections.defaultdict(list)
    for name, reason in reading.skipped.items():
        found[f'skipped: {reason}'].append(name)
    for name, reason in reading.odd.items():
        found[f'used, though odd: {reason}'].append(name)
    sizes = collections.Counter(picture.size for picture in pictures.values() if picture.size)
    usual, count = sizes.most_common(1)[0] if sizes else ((), 0)
    has_usual = count >= USUAL * sizes.total()
    for name, picture in pictures.items():
        size = '{} x {}'.format(*picture.size) if picture.size else ''
        if picture.error:
            found['unreadable'].append(f'{name} ({picture.error})')
            continue
        if has_usual and picture.size != usual:
            title = 'of another size than the usual {} x {}'.format(*usual)
            found[title].append(f'{name} ({size})')
        if picture.size[0] != picture.size[1]:
            found['not square: will be squeezed'].append(f'{name} ({size})')
        if min(picture.size) < SMALL:
            found[f'smaller than {SMALL} pixels'].append(f'{name} ({size})')
        if picture.is_blank:
            found['of one colour all over'].append(name)
        elif picture.is_grey:
            found['greyscale'].append(name)
    return dict(found)


def describe(found, most=pipeline.LISTED):
    """Return the text on `findings`, a paragraph for each, with at most `most` names, or all."""
    paragraphs = []
    for title, names in found.items():
        lines = [f'{len(names):,} {title}', *(f'    {name}' for name in names[:most])]
        if most and len(names) > most:
            lines.append(f'    ... and {len(names) - most:,} more')
        paragraphs.append('\n'.join(lines))
    return '\n\n'.join(paragraphs)


def check_alignment(paths):
    """Find eyes, nose and mouth in random faces by the detector.

    Returns:
        a text on how well they lie where UTKFace has them.

    Raises:
        InputError: the detector is not installed.
    """
    places = []
    chosen = sorted(random.Random(CHOICE_SEED).sample(paths, min(SAMPLED, len(paths))))
    for path in Progress(chosen, 'Detecting', unit=' faces'):
        pixels = pictures.read_photo(path)
        faces = detector.find_faces(pixels)
        if len(faces):
            places.append(faces[0] / pixels.shape[1::-1])
    words = f'In {len(places)} of {len(chosen)} faces, drawn by chance, a detector found a face'
    if not places:
        return f'{words}: cut them out, level, as those of UTKFace.'
    wanted = detector.PLACES
    distances = np.linalg.norm(np.array(places) - wanted, axis=-1)  # [faces, landmarks]
    lines = [f'{words}.', '', '| | median | in UTKFace | within 5% |', '|---|---|---|--:|']
    for name, at, place, distance in zip(
        detector.LANDMARKS, np.median(places, axis=0), wanted, distances.T, strict=True
    ):
        spots = ' | '.join('{:.2f}, {:.2f}'.format(*spot) for spot in (at, place))
        lines.append(
            f'| {name.replace("_", " ")} | {spots} | {(distance <= detector.NEAR).mean():.0%} |'
        )
    share = (distances.mean(axis=1) <= detector.NEAR).mean()
    lines += ['', f'{share:.0%} lie as in UTKFace, within 5% of the width on average.']
    if np.linalg.norm(np.median(places, axis=0) - wanted, axis=-1).max() > detector.NEAR:
        lines.append('Most do not: align them, or the model learns to move faces, not to age them.')
    return '\n'.join(lines)


def write_labels(folder, faces):
    """Write labels.csv, from a dict from paths to labels; rename an older one labels.old.csv."""
    table = os.path.join(folder, tables.LABELS_CSV)
    with files.replacing(table) as aside:
        with open(aside, 'x', encoding='utf-8', newline='') as file:  # not through a link
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(['file', 'age', 'gender'])
            for path, (age, gender) in faces.items():
                name = files.name_in(folder, path)
                if name.startswith(tuple('=+-@')):  # a spreadsheet would take it for a formula
                    name = './' + name
                writer.writerow([name, age, labels.GENDER_NAMES[gender]])
        if os.path.exists(table):
            os.replace(table, _old_table(folder))


def _old_table(folder):
    return os.path.join(folder, 'labels.old.csv')


def check(folder, args):
    """Print the findings about a data set.

    Args:
        folder: of the data set.
        args: the arguments of `main`.

    Raises:
        InputError: a training could not start; the message says what to do.
    """
    if args.csv and os.path.exists(_old_table(folder)):
        raise InputError(f'{_old_table(folder)} is in the way of --csv True: move it elsewhere.')
    age_upper = labels.parse_age_upper(args.age_groups)
    reader, reading = readers.read(folder, args.labels)
    faces = reading.faces
    total = len(faces) + len(reading.skipped)
    print(f'{folder}: {total:,} images, {len(faces):,} with a label, read as {reader}.\n')
    pictures, thumbnails = look_at_all(list(faces))
    photos, contents = find_photos(pictures, thumbnails)
    groups, known = doubles.groups(photos), [*faces.values()]
    short = {path: files.name_in(folder, path) for path in (*faces, *reading.skipped)}
    named = readers.Reading(
        skipped={short[path]: reason for path, reason in reading.skipped.items()},
        odd={short[path]: reason for path, reason in reading.odd.items()},
    )
    names = [short[path] for path in faces]
    found = findings(named, dict(zip(names, pictures, strict=True)))
    agree = [len({known[i] for i in copy}) == 1 for copy in groups]
    lines = copies.lines(groups, contents, names, None if args.full else NAMED)
    for title, same in (('the same labels', True), ('different labels', False)):
        if same in agree:
            found[f'photos more than once, with {title} (= the same file, ~ the same photo)'] = [
                line for line, is_same in zip(lines, agree, strict=True) if is_same == same
            ]
    print('\n'.join(['', count_table(faces, age_upper), '', *reading.notes]))
    print(describe(found, None if args.full else pipeline.LISTED) or 'Nothing is odd.')
    if groups:
        print('\n' + copies.describe(groups, contents, known, age_upper))
    labels.require_labels(folder, reader, reading)
    readable = [path for path, picture in zip(faces, pictures, strict=True) if not picture.error]
    if args.faces:
        print('\n' + check_alignment(readable))
    if args.csv:
        clean = copies.choose_clean(faces, readable, groups)
        write_labels(folder, clean)
        print(f'\nWrote {len(clean):,} faces to {os.path.join(folder, tables.LABELS_CSV)}.')
        readable = faces = clean
    if len(faces) - len(readable) > pipeline.MOST_UNREADABLE * len(faces):
        raise InputError(
            f'Training could not start, {len(faces) - len(readable)} of {len(faces)} images are '
            'unreadable: replace or remove them, or leave them out with --csv True.'
        )
    labels.require_batches(folder, len(readable), args.batch_size)
    batches = len(readable) // args.batch_size - 1
    print(
        f'\nTraining could start: {len(readable):,} faces, {args.batch_size} of them samples, '
        f'{batches:,} batches of {args.batch_size}.'
    )


@console.one_sentence(flags=('batch_size',))
def main(argv=None):
    parser = flag_types.Parser('python -m data.check', __doc__)
    flag_types.add_data_set(parser, first=True)
    flag_types.add_age_groups(parser)
    parser.add_argument(
        '--batch_size',
        type=flag_types.integer(1, flag_types.MOST),
        default=100,
        help='faces per training step (%(default)s)',
    )
    flag = {'type': flag_types.boolean, 'default': False, 'metavar': 'True|False'}
    parser.add_argument(
        '--faces', **flag, help=f'look with a detector how well up to {SAMPLED} faces are aligned'
    )
    parser.add_argument(
        '--csv',
        **flag,
        help='write labels.csv without unreadable images, with one face of each photo',
    )
    parser.add_argument('--full', **flag, help='list all names, not only the first')
    args = parser.parse_args(argv)
    check(os.path.join(args.datadir, args.dataset), args)


if __name__ == '__main__':
    main()
