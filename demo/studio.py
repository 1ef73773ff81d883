"""What demo.page computes and shows, without the page: a photo, the faces in it, their pictures."""

import base64
import html
import io
import typing

import numpy as np
from PIL import Image

import ops
from data import console, detector, labels, pictures
from demo import aging, kids, likeness, morph, whole_photo

SHOWN_SIDE = 1024  # pixels, longer side of the photo as the page shows it
JPEG_START = b'\xff\xd8'  # of every JPEG file
SUFFIXES = {'JPEG': 'jpg', 'PNG': 'png'}
CHILDREN = 6  # in a picture
EMPTY = '<p class="empty">No photo yet.</p>'
NEEDS_TWO = '<p class="fault" role="alert">Choose a photo of each of the two people first.</p>'


class Guest(typing.NamedTuple):
    """A user's photo, and what is computed once for the face chosen in it.

    Attributes:
        photo: a whole_photo.Photo.
        format: of its file, 'JPEG', or 'PNG' for all others.
        chosen: index of the face.
        span: levels of the photo that are 2 in the face.
        people: the face and what the model makes of it, a likeness.People of one.
    """

    photo: whole_photo.Photo
    format: str
    chosen: int
    span: float
    people: likeness.People


class Studio:
    """A trained model, and how it shows people at other ages.

    Attributes:
        model: a FaceAging.
        method: a likeness.AgingMethod; without Codes nothing is guessed of people.
    """

    def __init__(self, model, method):
        self.model, self.method = model, method

    def open_photo(self, data):
        """Return the Guest of a picture's file, given as bytes, with its largest face chosen.

        Raises:
            console.InputError: it cannot be read, or has no face.
        """
        try:
            photo = whole_photo.open_photo(data)
        except pictures.UnreadableError as error:
            raise console.InputError(
                f'This cannot be read as a picture ({error.reason}): take a JPEG, PNG, WebP, BMP '
                'or GIF.'
            ) from error
        height, width = photo.pixels.shape[:2]
        if height == width and detector.lie_in_place([photo.pixels])[0]:  # a face as in UTKFace
            photo = photo._replace(landmarks=detector.PLACES[None] * width)
        if not len(photo.landmarks):
            raise console.InputError(
                'No face is found in this picture: take a photo in which one is seen from the '
                'front.'
            )
        return self.choose_face(photo, 'JPEG' if data.startswith(JPEG_START) else 'PNG', 0)

    def choose_face(self, photo, format, chosen):
        """Return the Guest of a photo with one of its faces chosen."""
        shape = self.model.size_image, self.model.num_input_channels
        one = photo._replace(landmarks=photo.landmarks[chosen : chosen + 1])
        faces, (span,) = whole_photo.cut_out(one, *shape)
        people = self.method.look_at(faces)
        return Guest(photo, format, chosen, span, people)

    def guess(self, guest):
        """Return the guessed age in years and gender, 0 male, 1 female; without Codes None."""
        if self.method.codes is None:
            return None
        (age,), (gender,) = guest.people.ages, guest.people.genders
        return (age + 1) / 2 @ labels.age_centres(self.model.age_upper), gender.argmax()

    def show(self, guest, years, gender, age_shift, share):
        """Return the chosen face at ages, float32 [N, S, S, C] in [-1, 1].

        Args:
            guest: a Guest.
            years: N ages.
            gender: of labels.GENDER_NAMES.
            age_shift, share: of `AgingMethod.show`, the latter its likeness.
        """
        ages = labels.age_label(np.array(years), self.model.age_upper)[:, None]
        genders = labels.one_hot([labels.GENDER_NAMES.index(gender)], 2)
        return self.method.show(guest.people, ages, genders, age_shift, share)[:, 0]

    def show_whole(self, guest, face):
        """Return a photo's pixels, uint8 [H, W, 3], with its chosen face changed into another.

        Args:
            guest: a Guest.
            face: float32 array [S, S, C] in [-1, 1].
        """
        pixels = guest.photo.pixels.copy()
        change = (face - guest.people.images[0]) / 2 * guest.span
        whole_photo.add_change(pixels, guest.photo.landmarks[guest.chosen], change)
        return pixels

    # HTML, from what the page's controls hold; the strength is (age_shift, share) of `show`.

    def draw(self, guest, age, gender, *strength):
        """Show the face beside itself at an age."""
        if guest is None:
            return EMPTY
        (face,) = self.show(guest, [age], gender, *strength)
        crop, face = (ops.image_grid(image[None]) for image in (guest.people.images[0], face))
        return (
            '<div class="pair">'
            + show_picture(crop, 'The photo')
            + show_picture(face, f'At {age:.0f} years, as {gender}', f'age_{age:.0f}_{gender}.png')
            + '</div>'
        )

    def draw_strip(self, guest, gender, age_shift, share):
        """Show the face at all ages."""
        if guest is None:
            return ''
        years = labels.age_centres(self.model.age_upper)
        faces = self.show(guest, years, gender, age_shift, share)
        titles = ['photo', *labels.age_names(self.model.age_upper)]
        row = titled_row([guest.people.images[0], *faces], titles)
        caption = f'All ages, as {gender}, age shift {age_shift:g}, likeness {share:g}'
        return show_picture(row, caption, f'ages_{gender}.png')

    def animate(self, guest, gender, *strength):
        """Show the face getting older and younger again."""
        years = labels.glide_years(self.model.age_upper)
        faces = self.show(guest, years, gender, *strength)
        address = to_address(animated(faces, years), 'image/gif')
        return f'<img alt="" src="{address}" data-name="ages_{gender}.gif">'

    def draw_whole(self, guest, age, gender, *strength):
        """Show the photo, at its own resolution, with the face at an age."""
        (face,) = self.show(guest, [age], gender, *strength)
        options = {'JPEG': {'quality': 95}, 'PNG': {'compress_level': 1}}[guest.format]
        address = encoded(
            self.show_whole(guest, face), guest.format, icc_profile=guest.photo.profile, **options
        )
        name = f'photo_{age:.0f}_{gender}.{SUFFIXES[guest.format]}'
        return f'<img alt="" src="{address}" data-name="{name}">'

    def turn_into(self, *values):
        """Show one guest turn into another; values are guest, age and gender of both."""
        if values[0] is None or values[3] is None:
            return NEEDS_TWO
        guests, ages, genders = values[0::3], values[1::3], values[2::3]
        genders = [labels.GENDER_NAMES.index(gender) for gender in genders]
        images = [guest.people.images[0] for guest in guests]
        faces = morph.morph(self.model, *images, ages, genders)
        years = [f'{age:.0f}' for age in np.linspace(*ages, len(faces))]
        row = titled_row(
            [images[0], *faces[:: morph.STRIP_STEP], images[1]],
            ['photo', *years[:: morph.STRIP_STEP], 'photo'],
        )
        address = to_address(animated(faces, years), 'image/gif')
        return (
            f'<img class="moving" src="{address}" alt="One turns into the other" '
            f'data-name="morph.gif">{show_picture(row, "One turns into the other", "morph.png")}'
        )

    def make_children(self, first, second, seed):
        """Show children of two guests; return the HTML and the seed of the next ones."""
        if first is None or second is None:
            return NEEDS_TWO, seed
        images = [guest.people.images[0] for guest in (first, second)]
        faces = kids.kids(self.model, *images, CHILDREN, seed)
        boys, girls = np.split(faces, 2)
        titles = [f'{word} {k + 1}' for word in ('boy', 'girl') for k in range(CHILDREN)]
        rows = titled_row(
            [images[0], *boys, images[1], *girls],
            ['photo', *titles[:CHILDREN], 'photo', *titles[CHILDREN:]],
            rows=2,
        )
        return show_picture(rows, 'Children of the two', 'kids.png'), seed + 1


# -------------------------------------------------------------------------------- showing


def encoded(pixels, format='PNG', **options):
    """Return uint8 pixels [H, W, 1 or 3] as the address of a picture that contains its file."""
    file = io.BytesIO()
    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    picture.save(file, format, **options)
    return to_address(file.getvalue(), f'image/{format.lower()}')


def to_address(data, kind):
    """Return the address of a file that contains it; data are bytes, kind its MIME type."""
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def show_photo(guest):
    """Return the HTML of a guest's photo, with a button around each face."""
    photo = guest.photo
    shown = Image.fromarray(photo.pixels)
    shown.thumbnail([SHOWN_SIDE, SHOWN_SIDE], reducing_gap=3)
    frames, (height, width) = [], photo.pixels.shape[:2]
    for k, face in enumerate(photo.landmarks):
        a, b = detector.similarity(face, detector.PLACES)
        centre, side, angle = (0.5 + 0.5j - b) / a, 1 / abs(a), -np.angle(a)
        frames.append(
            f'<button class="frame" data-face="{k}" aria-pressed="{str(k == guest.chosen).lower()}"'
            f' aria-label="Face {k + 1} of {len(photo.landmarks)}" style="left:'
            f'{centre.real / width:.2%};top:{centre.imag / height:.2%};width:{side / width:.2%};'
            f'transform:translate(-50%,-50%) rotate({angle:.3f}rad)"></button>'
        )
    address = encoded(np.asarray(shown), 'JPEG', quality=85)
    return f'<div class="photo"><img src="{address}" alt="Your photo">{"".join(frames)}</div>'


def show_fault(error):
    """Return the HTML of an InputError's sentence."""
    return f'<p class="fault" role="alert">{html.escape(str(error))}</p>'


def show_picture(pixels, caption, name=None):
    """Return the HTML of a picture, which the page can save as `name`."""
    name = f' data-name="{name}"' if name else ''
    return (
        f'<figure><img src="{encoded(pixels)}" alt="{caption}"{name}>'
        f'<figcaption>{caption}</figcaption></figure>'
    )


def titled_row(images, titles, rows=1):
    """Return images [N, S, S, C] in [-1, 1], each with a title, as one picture, uint8."""
    shape = rows, len(images) // rows
    return ops.image_grid(aging.titled(images, titles), (0, 255), shape)


def animated(images, titles):
    """Return the file of an animation of images [N, S, S, C] in [-1, 1], bytes."""
    file = io.BytesIO()
    aging.save_gif(images, titles, file)
    return file.getvalue()
