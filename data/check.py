"""Check a data set before training on it: python -m data.check NAME.

Prints the number of faces in each age group and gender, the pictures that are skipped or odd, and
whether a training could start; if it could not, the exit status is 1.
"""

import argparse
import collections
import csv
import os

import numpy as np

from data import doubles, files, flag_types, labels, pipeline, readers, tables
from data.console import InputError, one_sentence

SMALL = 128  # pixels: faces are resized to this by default, so smaller ones are enlarged
UNREADABLE = 'unreadable'
OLD_TABLE = 'labels.old.csv'  # labels.csv, once a new one is written


def look_at(width, height):
    """Return what is wrong with a picture of this size: {finding: detail}."""
    is_wrong = {
        'not square: will be squeezed': width != height,
        f'smaller than {SMALL} pixels': min(width, height) < SMALL,
    }
    return {title: f'{width} x {height}' for title, found in is_wrong.items() if found}


def look_at_all(paths):
    """Look at pictures in parallel; return what is wrong with each, and uint8 thumbnails."""
    thumbnails, seen = doubles.room(len(paths)), dict.fromkeys(paths)

    def look(index, image):
        thumbnails[index] = doubles.thumbnail(image)
        seen[paths[index]] = look_at(*image.size)

    failures = pipeline.open_all(paths, look, title='Checking')
    seen |= {paths[index]: {UNREADABLE: reason} for index, reason in failures.items()}
    return seen, thumbnails


def count_table(faces, age_upper):
    """Return a Markdown table with a row for each age group and a column for each gender."""
    names, genders = [*labels.age_names(age_upper), 'all'], [*labels.GENDER_NAMES, 'unknown']
    counts = np.zeros([len(names), len(genders)], int)
    for age, gender in faces.values():
        counts[[labels.age_group(age, age_upper), -1], 2 if gender is None else gender] += 1
    genders = genders if counts[-1, -1] else genders[:-1]
    lines = [f'| age | {" | ".join(genders)} | all |', '|---|' + '--:|' * (len(genders) + 1)]
    for name, row in zip(names, counts, strict=True):
        cells = [*row[: len(genders)], row.sum()]
        lines.append(f'| {name} | {" | ".join(f"{n:,}" for n in cells)} |')
    return '\n'.join(lines)


def describe(found, most):
    """Return a paragraph for each finding, with at most `most` of its names."""
    paragraphs = [
        [f'{len(names):,} {title}', *pipeline.first_of(names, most)]
        for title, names in found.items()
    ]
    return '\n\n'.join('\n    '.join(lines) for lines in paragraphs)


def choose_clean(faces, readable, copies):
    """Return the readable faces, of each photo one, a dict from paths to labels.

    The first face of a photo gets the median of its ages, in whole years, and the gender of most;
    a photo with as many of both genders is left out.
    """
    clean = {path: faces[path] for path in readable}
    for copy in copies:
        ages, genders = zip(*(faces[path] for path in copy), strict=True)
        women, men = genders.count(1), genders.count(0)
        clean[copy[0]] = int(np.median(ages)), int(women > men)
        for path in copy[1:] if women != men else copy:
            del clean[path]
    return clean


def write_labels(folder, faces):
    """Write labels.csv, from a dict from paths to labels; rename an older one labels.old.csv."""
    table = os.path.join(folder, tables.LABELS_CSV)
    with files.replacing(table) as aside:
        with open(aside, 'x', encoding='utf-8', newline='') as file:  # not through a link
            writer = csv.writer(file, lineterminator='\r\n')  # both are then quoted in names
            writer.writerow(['file', 'age', 'gender'])
            for path, (age, gender) in faces.items():
                name = files.name_in(folder, path)
                if name.startswith(tuple('=+-@')):  # a spreadsheet would take it for a formula
                    name = './' + name
                writer.writerow([name, age, labels.GENDER_NAMES[gender]])
        if os.path.exists(table):
            os.replace(table, os.path.join(folder, OLD_TABLE))


def check(folder: str, args: argparse.Namespace) -> None:
    """Print the findings about a data set, or raise an InputError if a training could not start."""
    old = os.path.join(folder, OLD_TABLE)
    if args.csv and os.path.exists(old):
        raise InputError(f'{old} is in the way of --csv True: move it elsewhere.')
    age_upper = labels.parse_age_upper(args.age_groups)
    reader, reading = readers.read(folder, args.labels)
    faces, paths = reading.faces, [*reading.faces]
    total = len(faces) + len(reading.skipped)
    print(f'{folder}: {total:,} images, {len(faces):,} with a label, read as {reader}.\n')
    seen, thumbnails = look_at_all(paths)
    copies = [[paths[i] for i in group] for group in doubles.groups(doubles.find(thumbnails))]

    found = collections.defaultdict(list)
    for path, reason in reading.skipped.items():
        found[f'skipped: {reason}'].append(files.name_in(folder, path))
    for path, wrong in seen.items():
        for title, detail in wrong.items():
            found[title].append(f'{files.name_in(folder, path)} ({detail})')
    for copy in copies:
        same = 'the same labels' if len({faces[path] for path in copy}) == 1 else 'different labels'
        line = ' = '.join(files.name_in(folder, path) for path in copy)
        found[f'photos more than once, with {same}'].append(line)
    print('', count_table(faces, age_upper), '', sep='\n')
    print(describe(found, total if args.full else pipeline.LISTED) or 'Nothing is odd.')

    labels.require_labels(folder, reading)
    readable = [path for path, wrong in seen.items() if UNREADABLE not in wrong]
    if args.csv:
        readable = faces = choose_clean(faces, readable, copies)
        write_labels(folder, faces)
        print(f'\nWrote {len(faces):,} faces to {os.path.join(folder, tables.LABELS_CSV)}.')
    lost = len(faces) - len(readable)
    if lost > pipeline.MOST_UNREADABLE * len(faces):
        raise InputError(
            f'Training could not start, {lost} of {len(faces)} images are unreadable: replace or '
            'remove them, or leave them out with --csv True.'
        )
    size = args.batch_size
    labels.require_batches(folder, len(readable), size)
    print(
        f'\nTraining could start: {len(readable):,} faces, {size} of them samples, '
        f'{len(readable) // size - 1:,} batches of {size}.'
    )


@one_sentence(flags=('batch_size',))
def main(argv: list[str] | None = None) -> None:
    parser = flag_types.Parser('python -m data.check', __doc__)
    flag_types.add_data_set(parser, first=True)
    flag_types.add_age_groups(parser)
    number, text = flag_types.integer(1, flag_types.MOST), 'faces per training step (%(default)s)'
    parser.add_argument('--batch_size', type=number, default=100, help=text)
    flag = {'type': flag_types.boolean, 'default': False, 'metavar': 'True|False'}
    text = 'write labels.csv without unreadable images, with one face of each photo'
    parser.add_argument('--csv', **flag, help=text)
    parser.add_argument('--full', **flag, help='list all names, not only the first')
    args = parser.parse_args(argv)
    check(os.path.join(args.datadir, args.dataset), args)


if __name__ == '__main__':
    main()
