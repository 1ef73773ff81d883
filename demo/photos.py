"""Show the people in photos at other ages: python -m demo.photos PHOTO, or a folder of photos.

Finds the faces, and writes a strip of each as male and one as female, ages_<name>_male.png and
ages_<name>_female.png, and a table of all, photos.csv; where it is asked, also animations, whole
photos and videos. A picture that is a face as in UTKFace is taken as it is.
"""

import argparse
import concurrent.futures
import csv
import itertools
import os
import typing

import numpy as np

import face_aging
from data import align, console, files, flag_types, labels, limits, pipeline, tables
from demo import likeness, portraits, strips, whole_photo

TABLE = 'photos.csv'
# Face 1 is the largest in its photo; x, y and width are of its square, in pixels; it is turned
# clockwise, by degrees; what is known of the person is given, named by the photo, or guessed.
COLUMNS = 'file face x y width turned age age_is gender gender_is written'.split()
WHOLE_PHOTO_AGES = 5, 30, 65  # years, where none are asked for
DRAWING_MEMORY = 2**30  # bytes that it takes to change and write the largest photo


class Writer:
    """Writes the people in photos at other ages, one photo after the other, as `main` is asked to.

    Results are named by their photos, as `files.unique_names` does; of several faces in a photo
    each has its number behind the name, 1 for the largest. The folder is made for the first face.
    """

    def __init__(self, method: likeness.AgingMethod, args: argparse.Namespace):
        self.method, self.args = method, args
        self.out = portraits.result_folder(args)
        self.genders = labels.GENDER_NAMES if args.gender == 'both' else [args.gender]
        # Years at which each face is shown on strips, in whole photos and in animations.
        age_upper = method.model.age_upper
        self.on_strips = tuple(args.ages or labels.age_centres(age_upper))
        self.in_photos = tuple(args.ages or WHOLE_PHOTO_AGES)
        self.glide = tuple(labels.glide_years(age_upper))
        self.titles = ['input', *(args.ages or labels.age_names(age_upper))]
        self.rows = []  # by COLUMNS, one for each face
        self.named = []  # for `portraits.say_named`
        self.failures = {}  # reasons of photos without a face, for `align.warn_of_failures`
        self.taken = set()  # names of faces, case-folded

    def write(self, photos: typing.Iterable, total: int):
        """Write strips, and what else is asked for, of all faces in photos, as `_open` returns.

        While a face is shown, threads draw the one before it.
        """
        if self.method.codes is not None and self.method.likeness:
            _ = self.method.prototypes  # computed while the first photo is opened
        fitting = limits.available_memory() // DRAWING_MEMORY
        pool = concurrent.futures.ThreadPoolExecutor(max(1, min(limits.cpu_count(), fitting)))
        before = []
        with console.Progress(total=total, desc='Showing', unit=' photos') as progress:
            try:
                for drawings in itertools.chain(self._show(photos, progress), [[]]):
                    drawn = [
                        pool.submit(draw, os.path.join(self.out, name), people, faces)
                        for name, draw, people, faces in drawings
                    ]
                    for drawing in before:
                        drawing.result()
                    before = drawn
            finally:
                pool.shutdown(cancel_futures=True)

    def _show(self, photos, progress):
        """Yield what is to be drawn of photos, lists of what `_strips` yields."""
        for path, name, photo, failure in photos:
            if failure:
                self.failures[path] = failure
            else:
                yield from self._show_photo(path, name, photo)
            progress.update()

    def _show_photo(self, path, name, photo):
        """Yield what is to be drawn of a photo, face by face, and add their rows to the table."""
        os.makedirs(self.out, exist_ok=True)
        count = len(photo.landmarks)
        people, shown, written = [], [], []
        for index in range(count):
            number = f'_{index + 1:0{len(str(count))}}' if count > 1 else ''
            own_name = files.unique_name(name + number, self.taken)
            people.append(portraits.portray(self.method, photo, index, path, self.args.age))
            faces = self._show_ages(people[-1])
            drawings = [*self._strips(people[-1], faces, own_name)]
            if self.args.everyone:
                shown.append(faces)
            else:
                drawings += self._photos(people[-1:], [faces], own_name)
            written.append([drawing[0] for drawing in drawings])
            yield drawings
        together = []
        if self.args.everyone:
            together = [*self._photos(people, shown, name)]
            yield together
        for portrait, names in zip(people, written, strict=True):
            self._add_row(path, portrait, names + [drawing[0] for drawing in together])

    def _show_ages(self, portrait):
        """Show a face at all ages that are asked for: a dict from years to [M, N, S, S, C]."""
        wanted = {self.on_strips: None}
        if self.args.whole_photo or self.args.everyone:
            wanted[self.in_photos] = None
        if self.args.gif or self.args.video:
            wanted[self.glide] = None
        years = [year for years in wanted for year in years]
        faces = portraits.show(self.method, portrait, years, self.genders)
        ends = np.cumsum([len(years) for years in wanted])
        return dict(zip(wanted, np.split(faces, ends[:-1], axis=1), strict=True))

    def _strips(self, portrait, shown, name):
        """Yield strips and animations of a face: the file's name, what draws it, whom, and how."""
        for k, gender in enumerate(self.genders):
            yield f'ages_{name}_{gender}.png', self._draw_strip, portrait, shown[self.on_strips][k]
            if self.args.gif:
                yield f'ages_{name}_{gender}.gif', self._draw_gif, portrait, shown[self.glide][k]

    def _photos(self, people, shown, name):
        """Yield whole photos and videos with people, all of them changed, as `_strips` does."""
        for k, gender in enumerate(self.genders):
            if self.args.whole_photo or self.args.everyone:
                suffix = whole_photo.SUFFIXES[people[0].photo.format]
                for i, year in enumerate(self.in_photos):
                    faces = [person[self.in_photos][k, i] for person in shown]
                    yield f'photo_{name}_{gender}_{year}.{suffix}', _draw_photo, people, faces
            if self.args.video:
                faces = [person[self.glide][k] for person in shown]
                yield f'video_{name}_{gender}.mp4', _draw_video, people, faces

    def _draw_strip(self, path, portrait, faces):
        tiles = whole_photo.draw_tiles(portrait, faces, self.method.likeness > 0)
        strips.save_strip(tiles, self.titles, path)

    def _draw_gif(self, path, portrait, faces):
        tiles = whole_photo.draw_tiles(portrait, faces, self.method.likeness > 0)
        strips.save_gif(tiles[1:], self.glide, path)

    def _add_row(self, path, portrait, written):
        """Add the table's row of a face."""
        if path.startswith(tuple('=+-@')):  # a spreadsheet would take it for a formula
            path = os.path.join(os.curdir, path)
        x, y, width, angle = portraits.place_of(portrait.landmarks)
        place = [round(x), round(y), round(width), round(np.degrees(angle))]
        gender = labels.GENDER_NAMES[portrait.gender]
        own = [round(portrait.age), portrait.age_is, gender, portrait.gender_is]
        self.rows.append([path, portrait.index + 1, *place, *own, '; '.join(written)])
        self.named += portraits.named(portrait, path)

    def write_table(self):
        """Write the rows with a header of COLUMNS."""
        options = {'encoding': 'utf-8', 'errors': 'surrogateescape', 'newline': ''}
        path = os.path.join(self.out, TABLE)
        with files.replacing(path) as aside, open(aside, 'w', **options) as file:
            csv.writer(file, lineterminator='\n').writerows([COLUMNS, *self.rows])

    def summary(self) -> str:
        """Return a phrase that counts what was written."""
        written = {name for row in self.rows for name in row[-1].split('; ')}
        photos = sum(name.startswith('photo_') for name in written)
        animations = sum(name.endswith(('.gif', '.mp4')) for name in written)
        counts = {'strip': len(written) - animations - photos}
        counts |= {'animation': animations, 'photo': photos}
        kinds = ', '.join(_count(count, kind) for kind, count in counts.items() if count)
        people = _count(len(self.rows), 'face')
        origins = _count(len({row[0] for row in self.rows}), 'photo')
        return f'{people} in {origins}: {kinds} in {self.out}'


def _open(named):
    """Open a photo, given by its path and a name: return both, the Photo, and why it is of no use.

    The last one is a sentence, or '' where there are faces.
    """
    path, name = named
    try:
        photo = portraits.open_photo(path)
    except console.InputError as error:
        return path, name, None, str(error)
    return path, name, photo, '' if len(photo.landmarks) else align.NO_FACE.format(path)


def _draw_photo(path, people, faces):
    pixels = whole_photo.change_photo(people, faces)
    with files.replacing(path) as aside:
        whole_photo.save(aside, pixels, people[0].photo)


def _draw_video(path, people, faces):
    small = [portraits.reduce(person, whole_photo.SCREEN) for person in people]
    frames = [whole_photo.change_photo(small, shown) for shown in zip(*faces, strict=True)]
    with files.replacing(path) as aside, open(aside, 'wb') as file:
        strips.save_video(frames, file)


def _count(number, word):
    return f'{number:,} {word}{"" if number == 1 else "s"}'


@console.one_sentence(flags=('age_shift',))
def main(argv=None):
    parser = flag_types.Parser('python -m demo.photos', __doc__)
    parser.add_argument('photos', type=flag_types.path, help='a photo, or a folder of photos')
    flag_types.add_model(parser)
    portraits.add_out(parser)
    parser.add_argument('--gif', action='store_true', help='also write animations')
    parser.add_argument('--whole_photo', action='store_true', help='also write whole photos')
    parser.add_argument('--everyone', action='store_true', help='the same, all faces in one')
    parser.add_argument('--video', action='store_true', help='also write videos of whole photos')
    parser.add_argument('--ages', help='years, such as 5,30,65; default: the age groups')
    parser.add_argument(
        '--gender',
        choices=[*labels.GENDER_NAMES, 'both'],
        default='both',
        help='as which people are shown (%(default)s)',
    )
    parser.add_argument(
        '--age',
        type=flag_types.number(0, tables.OLDEST),
        help='own age of the people; default: read from names, or guessed',
    )
    likeness.add_strength(parser)
    args = parser.parse_args(argv)
    args.ages = labels.parse_ages(args.ages) if args.ages else None
    if args.video:
        strips.require_encoder()
    paths = files.list_images(args.photos)  # before the model is opened: a name may be mistaken
    # The first photo is opened while the model is.
    photos = pipeline.one_ahead(_open, zip(paths, files.unique_names(paths), strict=True))
    model = face_aging.open_trained(args.savedir, args.age_groups)
    writer = Writer(likeness.open_aging(model, args.age_shift, args.likeness), args)
    writer.write(photos, len(paths))
    if not writer.rows:
        raise console.InputError(align.nothing_found(args.photos, writer.failures))
    align.warn_of_failures(writer.failures)
    writer.write_table()
    portraits.say_named(writer.named)
    console.say(f'\n\t{writer.summary()}; {TABLE} lists them.\n')


if __name__ == '__main__':
    main()
