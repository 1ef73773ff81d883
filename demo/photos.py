"""Show the people in photos at other ages: python -m demo.photos PHOTO, or a folder of photos.

Finds the faces, and writes a strip of each as male and one as female, ages_<name>_male.png and
ages_<name>_female.png, and a table of all, photos.csv; where it is asked, also animations, whole
photos and videos. A picture that is a face as in UTKFace is taken as it is.
"""

import argparse
import csv
import os

import numpy as np

import face_aging
from data import align, console, files, flag_types, labels, tables
from demo import likeness, portraits, strips, whole_photo

TABLE = 'photos.csv'
# Face 1 is the largest in its photo; x, y and width are of its square, in pixels; it is turned
# clockwise, by degrees; what is known of the person is given, named by the photo, or guessed.
COLUMNS = 'file face x y width turned age age_is gender gender_is written'.split()
WHOLE_PHOTO_AGES = 5, 30, 65  # years, where none are asked for


class Writer:
    """Writes the people in photos at other ages, one photo after the other, as `main` is asked to.

    Results are named by their photos, as `files.unique_names` does; of several faces in a photo
    each has its number behind the name, 1 for the largest. The folder is made for the first face.
    """

    def __init__(self, method: likeness.AgingMethod, args: argparse.Namespace):
        self.method, self.args = method, args
        self.out = portraits.result_folder(args)
        self.genders = labels.GENDER_NAMES if args.gender == 'both' else [args.gender]
        self.rows = []  # by COLUMNS, one for each face
        self.named = []  # for `portraits.say_named`
        self.failures = {}  # reasons of photos without a face, for `align.warn_of_failures`
        self.taken = set()  # names of faces, case-folded

    def write(self, paths: list[str]):
        """Write strips, and what else is asked for, of all faces in photos."""
        named = [*zip(paths, files.unique_names(paths), strict=True)]
        for path, name in console.Progress(named, 'Showing', unit=' photos'):
            self._write_photo(path, name)

    def _write_photo(self, path, name):
        try:
            photo = portraits.open_photo(path)
        except console.InputError as error:
            self.failures[path] = str(error)
            return
        count = len(photo.landmarks)
        if not count:
            self.failures[path] = align.NO_FACE.format(path)
            return
        os.makedirs(self.out, exist_ok=True)
        people, written = [], []
        for index in range(count):
            number = f'_{index + 1:0{len(str(count))}}' if count > 1 else ''
            own_name = files.unique_name(name + number, self.taken)
            portrait = portraits.portray(self.method, photo, index, path, self.args.age)
            people.append(portrait)
            written.append(self._write_strips(portrait, own_name))
            if not self.args.everyone:
                written[-1] += self._write_whole([portrait], own_name)
        together = self._write_whole(people, name) if self.args.everyone else []
        for portrait, names in zip(people, written, strict=True):
            self._add_row(path, portrait, names + together)

    def _write_strips(self, portrait, name):
        """Write the strips and animations of a face; return the files' names."""
        age_upper = self.method.model.age_upper
        years = self.args.ages or labels.age_centres(age_upper)
        titles = ['input', *(self.args.ages or labels.age_names(age_upper))]
        glide = labels.glide_years(age_upper)
        written = []
        for gender in self.genders:
            tiles = whole_photo.show_tiles(self.method, portrait, years, gender)
            written.append(f'ages_{name}_{gender}.png')
            strips.save_strip(tiles, titles, os.path.join(self.out, written[-1]))
            if self.args.gif:
                tiles = whole_photo.show_tiles(self.method, portrait, glide, gender)
                written.append(f'ages_{name}_{gender}.gif')
                strips.save_gif(tiles[1:], glide, os.path.join(self.out, written[-1]))
        return written

    def _write_whole(self, people, name):
        """Write whole photos and videos of people, all of them changed; return the files' names."""
        written = []
        years = self.args.ages or WHOLE_PHOTO_AGES
        glide = labels.glide_years(self.method.model.age_upper)
        for gender in self.genders:
            if self.args.whole_photo or self.args.everyone:
                changed = whole_photo.change_photo(people, self._show(people, years, gender))
                for year, pixels in zip(years, changed, strict=True):
                    suffix = whole_photo.SUFFIXES[people[0].photo.format]
                    written.append(f'photo_{name}_{gender}_{year}.{suffix}')
                    with files.replacing(os.path.join(self.out, written[-1])) as aside:
                        whole_photo.save(aside, pixels, people[0].photo)
            if self.args.video:
                small = [portraits.reduce(person, whole_photo.SCREEN) for person in people]
                frames = whole_photo.change_photo(small, self._show(people, glide, gender))
                written.append(f'video_{name}_{gender}.mp4')
                with (
                    files.replacing(os.path.join(self.out, written[-1])) as aside,
                    open(aside, 'wb') as file,
                ):
                    strips.save_video([*frames], file)
        return written

    def _show(self, people, years, gender):
        return [portraits.show(self.method, person, years, gender) for person in people]

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
        photos = [name for name in written if name.startswith('photo_')]
        animations = [name for name in written if name.endswith(('.gif', '.mp4'))]
        counts = [_count(len(written) - len(animations) - len(photos), 'strip')]
        counts += [_count(len(animations), 'animation')] if animations else []
        counts += [_count(len(photos), 'photo')] if photos else []
        people = _count(len(self.rows), 'face')
        origins = _count(len({row[0] for row in self.rows}), 'photo')
        return f'{people} in {origins}: {", ".join(counts)} in {self.out}'


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
    model = face_aging.open_trained(args.savedir, args.age_groups)
    writer = Writer(likeness.open_aging(model, args.age_shift, args.likeness), args)
    writer.write(paths)
    if not writer.rows:
        raise console.InputError(align.nothing_found(args.photos, writer.failures))
    align.warn_of_failures(writer.failures)
    writer.write_table()
    portraits.say_named(writer.named)
    console.say(f'\n\t{writer.summary()}; {TABLE} lists them.\n')


if __name__ == '__main__':
    main()
