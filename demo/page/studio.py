"""What the page computes and shows, without the page itself: people, and their pictures."""

import base64
import io
import typing

import numpy as np
from PIL import Image

import ops
from data import console, files, labels, pictures
from demo import games, likeness, portraits, strips, whole_photo

CHILDREN = 6  # in a picture
KINDS = 'a JPEG, PNG, WebP, BMP or GIF, and export the HEIC photo of an iPhone as JPEG'
FAULT = '<p class="fault" role="alert">{}</p>'
NEEDS_TWO = FAULT.format('Choose a photo of each of the two people first.')
# A picture at an address, with a caption and a button that saves it under a name.
FIGURE = (
    '<figure><img src="{0}" alt="{1}"><figcaption>{1} '
    '<a class="do" role="button" href="#" download="{2}" '
    "onclick=\"this.href = this.closest('figure').querySelector('img').src\">Save {2}</a>"
    '</figcaption></figure>'
)
# Two pictures of the changed face, of which one fades in while the other is still seen.
AFTER = (
    '<div class="after"><img alt="" style="{0}"><img alt="" style="{0}"></div>'
    '<output class="year"></output>'
    '<label class="compare">Before <input type="range" min="0" max="100" value="0" '
    'aria-label="Before and after" '
    "oninput=\"this.closest('.photo').style.setProperty('--at', this.value + '%')\">After</label>"
)
PLAY = '<button class="play" aria-label="Play the ages">&#9654;</button>'
TILE = '<button class="tile" data-year="{0}" aria-pressed="false">{2}<span>{1}</span></button>'


class Shown(typing.NamedTuple):
    """A face that a visitor has chosen."""

    portrait: portraits.Portrait
    small: portraits.Portrait  # the same in the photo at the screen's resolution
    name: str  # what its files' names begin with


class Studio:
    """How a method shows people; from what the page's controls hold.

    A strength is (age_shift, likeness) of `AgingMethod.show`.
    """

    def __init__(self, method: likeness.AgingMethod):
        self.method, self.model = method, method.model

    def open_photo(self, data: bytes, name: str) -> Shown:
        """Return the largest face in a file's content; may raise InputError."""
        try:
            photo = portraits.open_photo(data)
        except pictures.UnreadableError as error:
            is_large = isinstance(error.__cause__, Image.DecompressionBombError)
            cure = 'a smaller one' if is_large else KINDS
            raise console.InputError(
                f'This cannot be read as a picture ({error.reason}): take {cure}.'
            ) from error
        portraits.require_face(photo, 'this picture')
        return self.choose(photo, 0, name)

    def choose(
        self, photo: portraits.Photo, index: int, name: str, age: float | None = None
    ) -> Shown:
        """Return a face of a photo; its own age, in years, is guessed where it is not given."""
        portrait = portraits.portray(self.method, photo, index, name, age)
        return Shown(portrait, portraits.reduce(portrait, whole_photo.SCREEN), name)

    def draw(self, shown, age, gender, *strength):
        """Return the picture that `show_photo` lays over the photo, at an age."""
        if shown is None:
            return None
        (face,) = self._show(shown, [age], gender, strength)
        return {'of': id(shown), 'address': _patch(shown, face), 'year': f'{age:.0f}'}

    def draw_ages(self, shown, gender, *strength):
        """Return the HTML of a timeline: such a picture for each age group."""
        if shown is None:
            return ''
        years = labels.age_centres(self.model.age_upper).astype(int)
        names = labels.age_names(self.model.age_upper)
        faces = self._show(shown, years, gender, strength)
        tiles = [
            TILE.format(year, name, f'<img src="{_patch(shown, face)}" alt="">')
            for year, name, face in zip(years, names, faces, strict=True)
        ]
        return f'<div class="timeline" data-of="{id(shown)}">{PLAY}{"".join(tiles)}</div>'

    def wait_for_ages(self):
        """Return the HTML of a timeline that is still computed."""
        tiles = [TILE.format('', name, '') for name in labels.age_names(self.model.age_upper)]
        return f'<div class="timeline busy" inert>{PLAY}{"".join(tiles)}</div>'

    def save_picture(self, shown, age, gender, *strength):
        """Return the file of the photo, at its own resolution, with the face at an age."""
        faces = self._show(shown, [age], gender, strength)
        photo = shown.portrait.photo
        pixels = whole_photo.change_photo([shown.portrait], faces)
        suffix = whole_photo.SUFFIXES[photo.format]
        return _file(shown, f'at_{age:.0f}', suffix, lambda x: whole_photo.save(x, pixels, photo))

    def save_strip(self, shown, _, gender, *strength):
        """Return the file of the strip, as demo.photos writes it."""
        years = labels.age_centres(self.model.age_upper)
        tiles = self._draw_tiles(shown, years, gender, strength)
        row = strips.draw_strip(tiles, ['input', *labels.age_names(self.model.age_upper)])
        return _file(shown, 'ages', 'png', lambda x: Image.fromarray(row).save(x, 'png'))

    def save_animation(self, shown, _, gender, *strength):
        """Return the file of the animation of the face, as demo.photos writes it."""
        years = labels.glide_years(self.model.age_upper)
        tiles = self._draw_tiles(shown, years, gender, strength)
        return _file(shown, 'ages', 'gif', lambda x: strips.save_gif(tiles[1:], years, x))

    def save_video(self, shown, _, gender, *strength):
        """Return the file of the video of the photo, as demo.photos writes it."""
        years = labels.glide_years(self.model.age_upper)
        faces = self._show(shown, years, gender, strength)
        frames = [whole_photo.change_photo([shown.small], [face]) for face in faces]
        return _file(shown, 'ages', 'mp4', lambda x: strips.save_video(frames, x))

    def _show(self, shown, years, gender, strength):
        return portraits.show(self.method, shown.portrait, years, [gender], *strength)[0]

    def _draw_tiles(self, shown, years, gender, strength):
        faces = self._show(shown, years, gender, strength)
        return whole_photo.draw_tiles(shown.portrait, faces, strength[1] > 0)

    def turn_into(self, first, second):
        """Show one person turn into another."""
        if first is None or second is None:
            return NEEDS_TWO
        people = first.portrait, second.portrait
        animation, strip = games.morph(self.model, *people)
        moving = to_address('gif', lambda file: strips.save_gif(*animation, file))
        row = picture(strips.draw_strip(*strip))
        said = FAULT.format(games.warning(*people))
        said += FIGURE.format(moving, 'One turns into the other', 'morph.gif')
        return said + FIGURE.format(row, 'All steps', 'morph.png')

    def make_children(self, first, second, seed):
        """Show children of two people; return the HTML and the seed of the next ones."""
        if first is None or second is None:
            return NEEDS_TWO, seed
        people = first.portrait, second.portrait
        rows = strips.draw_strip(*games.kids(self.model, *people, CHILDREN, seed), rows=2)
        said = FAULT.format(games.warning(*people))
        return said + FIGURE.format(picture(rows), 'Children of the two', 'kids.png'), seed + 1


def _patch(shown, face):
    """Return the address of what a face changes in its photo on the screen."""
    pixels = whole_photo.change_photo([shown.small], [face])
    part = whole_photo.surroundings(shown.small.landmarks, pixels.shape)
    return picture(pixels[part], 'jpeg')


def _file(shown, what, suffix, save):
    """Return the name and the address of a file, named after its photo."""
    (name,) = files.unique_names([shown.name])
    if len(shown.portrait.photo.landmarks) > 1:
        name += f'_{shown.portrait.index + 1}'
    return {'name': f'{name}_{what}.{suffix}', 'address': to_address(suffix, save)}


def to_address(kind: str, save: typing.Callable[[typing.BinaryIO], None]) -> str:
    """Return an address that contains the file of a picture, as `save` writes it."""
    file = io.BytesIO()
    save(file)
    return f'data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}'


def picture(pixels: np.ndarray, kind: str = 'png') -> str:
    """Return uint8 pixels [H, W, 3] as the address of a picture, 'png' or 'jpeg'.

    The latter has a tenth of the size, with a loss that can hardly be seen.
    """
    return to_address(kind, lambda file: Image.fromarray(pixels).save(file, kind, quality=90))


def show_photo(shown: Shown, is_compared: bool) -> str:
    """Return the HTML of a photo with a button around each face.

    If it is compared, there is a slider between it and the changed face.
    """
    photo = shown.small.photo
    frames, (height, width) = [], photo.pixels.shape[:2]
    for k, landmarks in enumerate(photo.landmarks):
        x, y, side, angle = portraits.place_of(landmarks)
        pressed = str(k == shown.portrait.index).lower()
        frames.append(
            f'<button class="frame" data-face="{k}" aria-pressed="{pressed}"'
            f' aria-label="Face {k + 1} of {len(photo.landmarks)}" style="left:'
            f'{x / width:.2%};top:{y / height:.2%};width:{side / width:.2%};'
            f'transform:translate(-50%,-50%) rotate({angle:.3f}rad)"></button>'
        )
    rows, columns = whole_photo.surroundings(shown.small.landmarks, photo.pixels.shape)
    place = (
        f'left:{columns.start / width:.3%};width:{(columns.stop - columns.start) / width:.3%};'
        f'top:{rows.start / height:.3%};height:{(rows.stop - rows.start) / height:.3%}'
    )
    after = AFTER.format(place) if is_compared else ''
    several = len(frames) > 1
    hint = '<p class="hint">Click another face to change it.</p>' if several else ''
    return (
        f'<div class="photo" data-of="{id(shown)}" style="--shape:{width / height:.4f}">'
        f'<img src="{picture(photo.pixels, "jpeg")}" alt="Your photo">{after}'
        f'{"".join(frames) if several else ""}</div>{hint}'
    )


def show_crop(shown: Shown) -> str:
    """Return the HTML of the face as the model takes it."""
    crop = picture(ops.image_grid(shown.portrait.image[None]))
    return (
        f'<figure class="crop"><img src="{crop}" alt="The face that the model takes">'
        '<img class="near" alt="The changed face">'
        'Left: the face as the model takes it. Right: the changed face.'
        '</figure>'
    )
