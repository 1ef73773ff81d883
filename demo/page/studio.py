"""What the page computes and shows, without the page itself: people, and their pictures."""

import base64
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
KINDS = 'a JPEG, PNG, WebP, BMP or GIF, and export the HEIC photo of an iPhone as JPEG'
EMPTY = '<p class="empty">No photo yet.</p>'
FAULT = '<p class="fault" role="alert">{}</p>'
NEEDS_TWO = FAULT.format('Choose a photo of each of the two people first.')
# A button that saves the picture above it under a name.
SAVE = (
    '<a class="do" role="button" href="#" download="{0}" '
    "onclick=\"this.href = this.closest('figure').querySelector('img').src\">Save {0}</a>"
)


class Studio:
    """How a method shows people; HTML, from what the page's controls hold.

    A strength is (age_shift, likeness) of `AgingMethod.show`.
    """

    def __init__(self, method: likeness.AgingMethod):
        self.method, self.model = method, method.model

    def open_photo(self, data: bytes) -> Portrait:
        """Return the Portrait of the largest face in a file's content; may raise InputError."""
        try:
            photo = portraits.open_photo(data)
        except pictures.UnreadableError as error:
            is_large = isinstance(error.__cause__, Image.DecompressionBombError)
            cure = 'a smaller one' if is_large else KINDS
            raise console.InputError(
                f'This cannot be read as a picture ({error.reason}): take {cure}.'
            ) from error
        portraits.require_face(photo, 'this picture')
        return portraits.portray(self.method, photo)

    def draw(self, portrait, age, gender, *strength):
        """Show the face beside itself at an age."""
        if portrait is None:
            return EMPTY
        (face,) = portraits.show(self.method, portrait, [age], gender, *strength)
        crop, face = (ops.image_grid(image[None]) for image in (portrait.image, face))
        name = f'age_{age:.0f}_{gender}.png'
        aged = show_picture(png(face), f'At {age:.0f} years, as {gender}', name)
        return f'<div class="pair">{show_picture(png(crop), "The photo")}{aged}</div>'

    def draw_strip(self, portrait, gender, age_shift, share):
        """Show the face at all ages."""
        if portrait is None:
            return ''
        years = labels.age_centres(self.model.age_upper)
        faces = portraits.show(self.method, portrait, years, gender, age_shift, share)
        titles = ['input', *labels.age_names(self.model.age_upper)]
        row = strips.draw_strip([portrait.image, *faces], titles)
        caption = f'All ages, as {gender}, age shift {age_shift:g}, likeness {share:g}'
        return show_picture(png(row), caption, f'ages_{gender}.png')

    def animate(self, portrait, gender, *strength):
        """Show the face getting older and younger again."""
        if portrait is None:
            return EMPTY
        years = labels.glide_years(self.model.age_upper)
        faces = portraits.show(self.method, portrait, years, gender, *strength)
        picture = to_address('gif', lambda file: strips.save_gif(faces, years, file))
        return show_picture(picture, f'As {gender}', f'ages_{gender}.gif')

    def draw_whole(self, portrait, age, gender, *strength):
        """Show the photo, at its own resolution, with the face at an age."""
        if portrait is None:
            return EMPTY
        (face,) = portraits.show(self.method, portrait, [age], gender, *strength)
        photo = portrait.photo
        pixels = photo.pixels.copy()
        whole_photo.change_face(pixels, portrait, face)
        picture = to_address(photo.format, lambda file: whole_photo.save(file, pixels, photo))
        name = f'photo_{age:.0f}_{gender}.{whole_photo.SUFFIXES[photo.format]}'
        return show_picture(picture, f'At {age:.0f} years', name)

    def turn_into(self, first, second):
        """Show one person turn into another."""
        if first is None or second is None:
            return NEEDS_TWO
        said = FAULT.format(games.warning(first, second))
        faces, years = games.morph(self.model, first, second)
        row = strips.draw_strip(*games.morph_strip(first, second, faces, years))
        moving = to_address('gif', lambda file: strips.save_gif(faces, years, file))
        said += show_picture(moving, 'One turns into the other', 'morph.gif')
        return said + show_picture(png(row), 'All steps', 'morph.png')

    def make_children(self, first, second, seed):
        """Show children of two people; return the HTML and the seed of the next ones."""
        if first is None or second is None:
            return NEEDS_TWO, seed
        faces = games.kids(self.model, first, second, CHILDREN, seed)
        rows = strips.draw_strip(*games.kids_strip(first, second, faces), rows=2)
        said = FAULT.format(games.warning(first, second))
        return said + show_picture(png(rows), 'Children of the two', 'kids.png'), seed + 1


def to_address(kind: str, save: typing.Callable[[typing.BinaryIO], None]) -> str:
    """Return an address that contains the file of a picture, as `save` writes it."""
    file = io.BytesIO()
    save(file)
    return f'data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}'


def png(pixels: np.ndarray) -> str:
    """Return uint8 pixels [H, W, 3] as the address of a picture."""
    picture = Image.fromarray(pixels)
    return to_address('png', lambda file: picture.save(file, 'png'))


def show_photo(portrait: Portrait) -> str:
    """Return the HTML of a portrait's photo, with a button around each face."""
    photo = portrait.photo
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
    picture = Image.fromarray(photo.pixels)
    picture.thumbnail([SHOWN_SIDE, SHOWN_SIDE], reducing_gap=3)
    address = to_address('jpeg', lambda file: picture.save(file, 'jpeg', quality=85))
    return f'<div class="photo"><img src="{address}" alt="Your photo">{"".join(frames)}</div>'


def show_picture(address: str, caption: str, name: str | None = None) -> str:
    """Return the HTML of a picture, with a button to save it as `name`."""
    button = SAVE.format(name) if name else ''
    return (
        f'<figure><img src="{address}" alt="{caption}">'
        f'<figcaption>{caption} {button}</figcaption></figure>'
    )
