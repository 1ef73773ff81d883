"""What the page computes and shows, without the page itself: people, and their pictures."""

import base64
import html
import io
import typing

import numpy as np
from PIL import Image

import ops
from data import console, labels, pictures
from demo import games, likeness, portraits, strips, whole_photo
from demo.portraits import Portrait

SHOWN_SIDE = 1024  # pixels, longer side of the photo as the page shows it
CHILDREN = 6  # in a picture
EMPTY = '<p class="empty">No photo yet.</p>'
NEEDS_TWO = '<p class="fault" role="alert">Choose a photo of each of the two people first.</p>'


class Studio:
    """How a model shows people at other ages.

    Attributes:
        method: without Codes nothing is guessed of people.
        model: the method's.
    """

    def __init__(self, method: likeness.AgingMethod):
        self.method = method
        self.model = method.model

    def open_photo(self, data: bytes) -> Portrait:
        """Return the Portrait of the largest face in a picture, the content of a file.

        Raises:
            InputError: it cannot be read, or has no face.
        """
        try:
            photo = portraits.open_photo(data)
        except pictures.UnreadableError as error:
            raise console.InputError(
                f'This cannot be read as a picture ({error.reason}): take a JPEG, PNG, WebP, BMP '
                'or GIF.'
            ) from error
        portraits.require_face(photo, 'this picture')
        return self.choose_face(photo, 0)

    def choose_face(self, photo: portraits.Photo, index: int) -> Portrait:
        """Return the Portrait of one of the faces in a photo."""
        return portraits.portray(self.method, photo, index)

    def show(
        self,
        portrait: Portrait,
        years: typing.Sequence[float],
        gender: str,
        age_shift: float,
        share: float,
    ) -> np.ndarray:
        """Return a face at N ages, float32 [N, S, S, C] in [-1, 1].

        Args: as for `portraits.show`, but for one gender, and by this strength of the method.
        """
        faces = portraits.show(self.method, portrait, years, [gender], age_shift, share)
        return faces[:, 0]

    # HTML, from what the page's controls hold; the strength is (age_shift, share) of `show`.

    def draw(self, portrait, age, gender, *strength):
        """Show the face beside itself at an age."""
        if portrait is None:
            return EMPTY
        (face,) = self.show(portrait, [age], gender, *strength)
        crop, face = (ops.image_grid(image[None]) for image in (portrait.image, face))
        return (
            '<div class="pair">'
            + show_picture(crop, 'The photo')
            + show_picture(face, f'At {age:.0f} years, as {gender}', f'age_{age:.0f}_{gender}.png')
            + '</div>'
        )

    def draw_strip(self, portrait, gender, age_shift, share):
        """Show the face at all ages."""
        if portrait is None:
            return ''
        years = labels.age_centres(self.model.age_upper)
        faces = self.show(portrait, years, gender, age_shift, share)
        titles = ['input', *labels.age_names(self.model.age_upper)]
        row = strips.draw_strip([portrait.image, *faces], titles)
        caption = f'All ages, as {gender}, age shift {age_shift:g}, likeness {share:g}'
        return show_picture(row, caption, f'ages_{gender}.png')

    def animate(self, portrait, gender, *strength):
        """Show the face getting older and younger again."""
        years = labels.glide_years(self.model.age_upper)
        faces = self.show(portrait, years, gender, *strength)
        address = to_address(animated(faces, years), 'image/gif')
        return f'<img alt="" src="{address}" data-name="ages_{gender}.gif">'

    def draw_whole(self, portrait, age, gender, *strength):
        """Show the photo, at its own resolution, with the face at an age."""
        (face,) = self.show(portrait, [age], gender, *strength)
        photo = portrait.photo
        pixels = photo.pixels.copy()
        whole_photo.change_face(pixels, portrait, face)
        options = {'JPEG': {'quality': 95}, 'PNG': {'compress_level': 1}}[photo.format]
        address = encoded(pixels, photo.format, icc_profile=photo.profile, **options)
        name = f'photo_{age:.0f}_{gender}.{whole_photo.SUFFIXES[photo.format]}'
        return f'<img alt="" src="{address}" data-name="{name}">'

    def turn_into(self, first, first_age, first_gender, second, second_age, second_gender):
        """Show one person turn into another."""
        if first is None or second is None:
            return NEEDS_TWO
        ages = first_age, second_age
        genders = [labels.GENDER_NAMES.index(gender) for gender in (first_gender, second_gender)]
        faces = games.morph(self.model, first, second, ages, genders)
        images, titles, years = games.morph_strip(first, second, faces, ages)
        row = strips.draw_strip(images, titles)
        address = to_address(animated(faces, years), 'image/gif')
        return (
            f'<img class="moving" src="{address}" alt="One turns into the other" '
            f'data-name="morph.gif">{show_picture(row, "One turns into the other", "morph.png")}'
        )

    def make_children(self, first, second, seed):
        """Show children of two people; return the HTML and the seed of the next ones."""
        if first is None or second is None:
            return NEEDS_TWO, seed
        faces = games.kids(self.model, first, second, CHILDREN, seed)
        rows = strips.draw_strip(*games.kids_strip(first, second, faces), rows=2)
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


def show_photo(portrait):
    """Return the HTML of a portrait's photo, with a button around each face."""
    photo = portrait.photo
    shown = Image.fromarray(photo.pixels)
    shown.thumbnail([SHOWN_SIDE, SHOWN_SIDE], reducing_gap=3)
    frames, (height, width) = [], photo.pixels.shape[:2]
    for k, landmarks in enumerate(photo.landmarks):
        x, y, side, angle = portraits.place_of(landmarks)
        pressed = str(k == portrait.index).lower()
        frames.append(
            f'<button class="frame" data-face="{k}" aria-pressed="{pressed}"'
            f' aria-label="Face {k + 1} of {len(photo.landmarks)}" style="left:'
            f'{x / width:.2%};top:{y / height:.2%};width:{side / width:.2%};'
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


def animated(images, titles):
    """Return the file of an animation of images [N, S, S, C] in [-1, 1], bytes."""
    file = io.BytesIO()
    strips.save_gif(images, titles, file)
    return file.getvalue()
