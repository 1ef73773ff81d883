"""Show the people in photos at other ages: python -m demo.photos PHOTO, or a folder of photos.

Finds the faces, and writes a strip of each as male and one as female, ages_<name>_male.png and
ages_<name>_female.png, and a table of all, photos.csv; where it is asked, also animations and whole
photos. A picture that is a face as in UTKFace is taken as it is.
"""

import csv
import os
import typing

import numpy as np

import face_aging
from data import align, console, files, flag_types, labels
from demo import likeness, portraits, strips, whole_photo

TABLE = 'photos.csv'
# Face 1 is the largest in its photo; x, y and width are of its square, in pixels; it is turned
# clockwise, by degrees; what is known of the person is given or guessed.
COLUMNS = 'file face x y width turned age age_is gender gender_is written'.split()
WHOLE_PHOTO_AGES = 5, 30, 65  # years, where none are asked for


class Writer:
    """Writes the people in photos at other ages to a folder, one photo after the other.

    Results are named by their photos, as `files.unique_names` does; of several faces in a photo
    each has its number behind the name, 1 for the largest. The folder is made for the first face.

    Attributes:
        rows: lists by COLUMNS, one for each face.
        written: set of the names of the files.
        failures: dict from the paths of photos without a face to the reasons, for
            `align.warn_of_failures`.
    """

    def __init__(
        self,
        method: likeness.AgingMethod,
        out: str,  # the folder
        genders: typing.Sequence[str] = labels.GENDER_NAMES,  # as which people are shown
        years: typing.Sequence[int] | None = None,  # None: age groups, WHOLE_PHOTO_AGES
        gif: bool = False,  # also write animations
        whole_photos: bool = False,  # also write whole photos
        everyone: bool = False,  # in these, change all faces at once
        age: float | None = None,  # own age of the people in years, if it is known
    ):
        self.method, self.out = method, out
        self.genders, self.years, self.age = genders, years, age
        self.gif, self.whole_photos, self.everyone = gif, whole_photos, everyone
        self.rows, self.failures = [], {}
        self.written, self.taken = set(), set()  # the latter: names of faces, case-folded

    def write(self, paths: list[str]):
        """Write strips, and what else is asked for, of all faces in photos."""
        with console.Progress(total=len(paths), desc='Showing', unit=' photos') as progress:
            for path, name in zip(paths, files.unique_names(paths), strict=True):
                self._write_photo(path, name, progress)
                progress.update()

    def _write_photo(self, path, name, progress):
        try:
            photo = portraits.open_photo(path)
        except console.InputError as error:
            self.failures[path] = str(error)
            return
        count = len(photo.landmarks)
        if not count:
            self.failures[path] = align.NO_FACE.format(path)
            return
        people, written = [], []
        for index in range(count):
            progress.set_postfix(face=f'{index + 1}/{count}')
            number = f'_{index + 1:0{len(str(count))}}' if count > 1 else ''
            own_name = files.unique_name(name + number, self.taken)
            portrait, names = self._write_face(photo, index, own_name)
            people.append(portrait)
            written.append(names)
        together = []
        if self.whole_photos and self.everyone:
            together = self._write_whole(people, name)
        for portrait, names in zip(people, written, strict=True):
            self._add_row(path, portrait, names + together)

    def _write_face(self, photo, index, name):
        """Write all pictures of a single face; return its Portrait and the files' names."""
        age, gender = self.age, None
        if len(photo.landmarks) == 1:
            age, gender = portraits.known(name, age)
        titles = ['input', *(self.years or labels.age_names(self.method.model.age_upper))]
        years = self.years or labels.age_centres(self.method.model.age_upper)
        portrait = portraits.portray(self.method, photo, index, name, age, gender)
        faces = portraits.show(self.method, portrait, years, self.genders)
        os.makedirs(self.out, exist_ok=True)
        written = []
        for k, shown_as in enumerate(self.genders):
            written.append(f'ages_{name}_{shown_as}.png')
            strip = [portrait.image, *faces[:, k]]
            strips.save_strip(strip, titles, os.path.join(self.out, written[-1]))
            if self.gif:
                written.append(f'ages_{name}_{shown_as}.gif')
                glide = labels.glide_years(self.method.model.age_upper)
                frames = portraits.show(self.method, portrait, glide, [shown_as])
                strips.save_gif(frames[:, 0], glide, os.path.join(self.out, written[-1]))
        if self.whole_photos and not self.everyone:
            written += self._write_whole([portrait], name)
        return portrait, written

    def _write_whole(self, people, name):
        """Write the whole photo of people with all of them changed; return the files' names."""
        photo, written = people[0].photo, []
        years = self.years or WHOLE_PHOTO_AGES
        for gender in self.genders:
            faces = [
                portraits.show(self.method, portrait, years, [gender])[:, 0] for portrait in people
            ]
            for i, year in enumerate(years):
                pixels = photo.pixels.copy()
                for portrait, own in zip(people, faces, strict=True):
                    whole_photo.change_face(pixels, portrait, own[i])
                suffix = whole_photo.SUFFIXES[photo.format]
                written.append(f'photo_{name}_{gender}_{year}.{suffix}')
                whole_photo.save(os.path.join(self.out, written[-1]), pixels, photo)
        return written

    def _add_row(self, path, portrait, written):
        """Add the table's row of a face."""
        x, y, width, angle = portraits.place_of(portrait.landmarks)
        given = {True: 'given', False: 'guessed'}
        if path.startswith(tuple('=+-@')):  # a spreadsheet would take it for a formula
            path = os.path.join(os.curdir, path)
        gender = labels.GENDER_NAMES[portrait.gender]
        row = [path, portrait.index + 1, round(x), round(y), round(width), round(np.degrees(angle))]
        row += [round(portrait.age), given[portrait.is_age_given]]
        row += [gender, given[portrait.is_gender_given], '; '.join(written)]
        self.rows.append(row)
        self.written.update(written)

    def write_table(self, path: str):
        """Write the rows with a header of COLUMNS."""
        options = {'encoding': 'utf-8', 'errors': 'surrogateescape', 'newline': ''}
        with files.replacing(path) as aside, open(aside, 'w', **options) as file:
            csv.writer(file, lineterminator='\n').writerows([COLUMNS, *self.rows])

    def summary(self) -> str:
        """Return a phrase that counts what was written."""
        animations = sum(name.endswith('.gif') for name in self.written)
        changed = sum(name.startswith('photo_') for name in self.written)
        counts = {
            'strip': len(self.written) - animations - changed,
            'animation': animations,
            'photo': changed,
        }
        written = ', '.join(_count(number, word) for word, number in counts.items() if number)
        faces = _count(len(self.rows), 'face')
        photos = _count(len({row[0] for row in self.rows}), 'photo')
        return f'{faces} in {photos}: {written} in {self.out}'


def _count(number, word):
    return f'{number:,} {word}{"" if number == 1 else "s"}'


@console.one_sentence(flags=('age_shift',))
def main(argv=None):
    parser = flag_types.Parser('python -m demo.photos', __doc__)
    parser.add_argument('photos', type=flag_types.path, help='a photo, or a folder of photos')
    flag_types.add_model(parser)
    portraits.add_out(parser)
    parser.add_argument('--gif', action='store_true', help='also write animations')
    parser.add_argument(
        '--whole_photo', action='store_true', help='also write the whole photos with changed faces'
    )
    parser.add_argument(
        '--everyone', action='store_true', help='in whole photos, change all faces at once'
    )
    parser.add_argument(
        '--ages',
        help='years, such as 5,30,65; default: the age groups, and in whole photos 5, 30 and 65',
    )
    parser.add_argument(
        '--gender',
        choices=[*labels.GENDER_NAMES, 'both'],
        default='both',
        help='as which people are shown (%(default)s)',
    )
    likeness.add_arguments(parser)
    args = parser.parse_args(argv)
    years = labels.parse_ages(args.ages) if args.ages else None
    paths = files.list_images(args.photos)  # before the model is opened: a name may be mistaken
    model = face_aging.open_trained(args.savedir, args.age_groups)
    writer = Writer(
        likeness.open_aging(model, args.age_shift, args.likeness),
        portraits.result_folder(args),
        labels.GENDER_NAMES if args.gender == 'both' else [args.gender],
        years,
        args.gif,
        args.whole_photo or args.everyone,
        args.everyone,
        args.age,
    )
    writer.write(paths)
    if not writer.rows:
        raise console.InputError(align.nothing_found(args.photos, writer.failures))
    align.warn_of_failures(writer.failures)
    writer.write_table(os.path.join(writer.out, TABLE))
    console.say(f'\n\t{writer.summary()}; {TABLE} lists them.\n')


if __name__ == '__main__':
    main()
