"""Photos and the people in them, as all programs of this folder take them.

A photo is decoded once and searched for faces once, and each face in it is encoded once: it becomes
a `Portrait`, of which strips, animations, whole photos, games and the page are made. Here is also
what these programs ask about the model and the results.
"""

import argparse
import os
import typing

import numpy as np
from PIL import Image

from data import console, detector, flag_types, labels, pictures, pipeline, readers
from demo import likeness

JPEG_START = b'\xff\xd8\xff'  # of every JPEG file


class Photo(typing.NamedTuple):
    """A photo and the faces in it.

    Attributes:
        pixels: uint8 array [H, W, 3], as people see it.
        landmarks: float array [N, 5, 2], (x, y) in pixels of detector.LANDMARKS of each face, the
            largest face first.
        is_face: whether it is nothing but a face that lies as in UTKFace: taken as it is.
        format: of its file, 'JPEG', or 'PNG' for all others.
        profile: bytes of its ICC profile, None where it has none.
    """

    pixels: np.ndarray
    landmarks: np.ndarray
    is_face: bool
    format: str
    profile: bytes | None


class Portrait(typing.NamedTuple):
    """A face in a photo, and what a model makes of it.

    Attributes:
        name: of its results.
        photo: the Photo.
        index: of the face in photo.landmarks.
        span: levels of the photo that are 2 in the face, whose contrast is stretched.
        people: a likeness.People of one: the face, its code, labels and reconstruction.
        age, gender: in years, and 0 male, 1 female.
        is_age_given, is_gender_given: whether they were given, and not guessed.
    """

    name: str
    photo: Photo
    index: int
    span: float
    people: likeness.People
    age: float
    gender: int
    is_age_given: bool
    is_gender_given: bool

    @property
    def image(self) -> np.ndarray:
        """The face, float32 [S, S, C] in [-1, 1]."""
        return self.people.images[0]

    @property
    def landmarks(self) -> np.ndarray:
        """Where it is in the photo, float [5, 2], (x, y) in pixels."""
        return self.photo.landmarks[self.index]


# --------------------------------------------------------------------------------- photos


def open_photo(source: str | os.PathLike | bytes) -> Photo:
    """Decode a photo, a file or its content, and find the faces in it.

    Raises:
        UnreadableError: it cannot be read.
    """
    with pictures.open_picture(source, on_white=True) as image:
        profile = image.info.get('icc_profile')
        pixels = np.asarray(image)
    if profile and profile[16:20] != b'RGB ':  # that of a picture in CMYK or grey
        profile = None
    height, width = pixels.shape[:2]
    is_face = height == width and bool(detector.lie_in_place([pixels])[0])
    landmarks = detector.PLACES[None] * width if is_face else detector.find_faces(pixels)
    return Photo(pixels, landmarks, is_face, 'JPEG' if _is_jpeg(source) else 'PNG', profile)


def _is_jpeg(source):
    if isinstance(source, bytes):
        return source.startswith(JPEG_START)
    with open(source, 'rb') as file:
        return file.read(len(JPEG_START)) == JPEG_START


def require_face(photo: Photo, name: str):
    """Raise an InputError if a photo, called so in the message, has no face."""
    if not len(photo.landmarks):
        raise console.InputError(
            f'No face is found in {name}: take a photo in which one is seen from the front.'
        )


def cut_out(photo: Photo, index: int, size: int, channels: int = 3) -> tuple[np.ndarray, float]:
    """Cut a face out of its photo as a model takes it, with stretched contrast.

    Returns:
        face: float32 array [size, size, channels] in [-1, 1].
        span: levels of the photo that were stretched to 2.
    """
    crop = photo.pixels
    if not photo.is_face:
        crop = detector.cut_out(photo.pixels, photo.landmarks[index])
    crop = Image.fromarray(crop).convert('L' if channels == 1 else 'RGB')
    low, *_, high = sorted(np.ravel(crop.getextrema()).tolist())
    face = pictures.to_face(crop, size).reshape(size, size, channels)
    return pipeline.to_float(face).numpy(), float(max(high - low, 1))


def place_of(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Return where a face's square is in its photo: x, y of its centre and its width, in pixels,
    and by how many radians it is turned clockwise.
    """
    a, b = detector.similarity(landmarks, detector.PLACES)
    centre = (0.5 + 0.5j - b) / a
    return centre.real, centre.imag, 1 / abs(a), -np.angle(a)


# ------------------------------------------------------------------------------ portraits


def portray(
    method: likeness.AgingMethod,
    photo: Photo,
    index: int = 0,
    name: str = '',
    age: float | None = None,
    gender: int | None = None,
) -> Portrait:
    """Return the Portrait of a face in a photo.

    Args:
        method: its Codes serve to guess what is not given.
        photo, index: the face.
        name: of its results.
        age, gender: of the person, in years and 0 male, 1 female, where they are known.
    """
    face, span = cut_out(photo, index, method.model.size_image, method.model.num_input_channels)
    people = method.look_at(face[None], age, gender)
    guessed_age = (people.ages[0] + 1) / 2 @ labels.age_centres(method.model.age_upper)
    return Portrait(
        name=name,
        photo=photo,
        index=index,
        span=span,
        people=people,
        age=float(guessed_age) if age is None else age,
        gender=int(people.genders[0].argmax()) if gender is None else gender,
        is_age_given=age is not None,
        is_gender_given=gender is not None,
    )


def known(name: str, age: float | None = None) -> tuple[float | None, int | None]:
    """Return the age and gender that the name of a photo tells, None for the unknown.

    Args:
        name: such as UTKFace's, 23_0_me, of a man of 23.
        age: counts in place of the name's.
    """
    own_age, gender = readers.parse_name(name) or (None, None)
    return own_age if age is None else age, gender


def show(
    method: likeness.AgingMethod,
    portrait: Portrait,
    years: typing.Sequence[float],
    genders: typing.Sequence[str],
    age_shift: float | None = None,
    strength: float | None = None,
) -> np.ndarray:
    """Show a person at ages.

    Args:
        portrait: the person.
        years: N ages.
        genders: G of labels.GENDER_NAMES, as which the person is shown.
        age_shift, strength: the latter the likeness; by default those of the method.

    Returns:
        float32 array [N, G, S, S, C] in [-1, 1].
    """
    ages = labels.age_label(np.array(years), method.model.age_upper)[:, None]
    shown_as = labels.one_hot([labels.GENDER_NAMES.index(gender) for gender in genders], 2)
    return method.show(portrait.people, ages, shown_as, age_shift, strength)


# ------------------------------------------------------------------------------- programs


def add_out(parser: argparse.ArgumentParser):
    """Add where a program writes its results, see `result_folder`."""
    parser.add_argument('--out', type=flag_types.path, help='folder of the results (SAVEDIR/test)')


def result_folder(args: argparse.Namespace) -> str:
    """Return the folder of the results by the arguments of `add_out`."""
    return args.out or os.path.join(args.savedir, 'test')
