"""Photos and the people in them, as all programs of this folder take them.

A photo is decoded once and searched for faces once, and each face in it is encoded once: it becomes
a `Portrait`, of which strips, animations, whole photos, games and the page are made.
"""

import argparse
import os
import typing

import numpy as np
from PIL import Image

import ops
from data import console, detector, flag_types, labels, pictures, pipeline, readers
from demo import likeness

# How far the nose of a face seen from the front is beside the middle, in parts of the distance of
# the eyes. More, a half-profile, have 4% of UTKFace's faces.
TURNED = 0.3


class Photo(typing.NamedTuple):
    """A photo and the faces in it."""

    pixels: np.ndarray  # uint8 [H, W, 3], as people see it
    landmarks: np.ndarray  # float [N, 5, 2], (x, y) in pixels, the largest face first
    is_face: bool  # whether it is nothing but a face that lies as in UTKFace: taken as it is
    format: str  # of its file, 'JPEG', or 'PNG' for all others
    profile: bytes | None  # its ICC profile


class Portrait(typing.NamedTuple):
    """A face in a photo, and what a model makes of it."""

    photo: Photo
    index: int  # of the face in photo.landmarks
    levels: np.ndarray  # float32 [2]: the levels of its crop that the model takes as -1 and 1
    people: likeness.People  # of one: the stretched face, its code, labels and reconstruction
    age: float  # in years
    gender: int  # 0 male, 1 female
    age_is: str  # 'given', 'named', by the photo's name, or 'guessed'
    gender_is: str  # 'named' or 'guessed'

    @property
    def image(self) -> np.ndarray:
        """The face as it is in the photo, float32 [S, S, C] in [-1, 1]."""
        return with_levels(self.people.images[0], self.levels)

    @property
    def landmarks(self) -> np.ndarray:
        """Where it is in the photo, float [5, 2], (x, y) in pixels."""
        return self.photo.landmarks[self.index]


def open_photo(source: str | os.PathLike | bytes) -> Photo:
    """Decode a photo, a file or its content, and find its faces; may raise UnreadableError."""
    with pictures.open_picture(source, on_white=True) as image:
        profile = image.info.get('icc_profile')
        is_jpeg = image.format in ('JPEG', 'MPO')  # the latter with previews, as of many cameras
        pixels = np.asarray(image)
    if profile and profile[16:20] != b'RGB ':  # that of a picture in CMYK or grey
        profile = None
    height, width = pixels.shape[:2]
    is_face = height == width and bool(detector.lie_in_place([pixels])[0])
    landmarks = detector.PLACES[None] * width if is_face else detector.find_faces(pixels)
    return Photo(pixels, landmarks, is_face, 'JPEG' if is_jpeg else 'PNG', profile)


def require_face(photo: Photo, name: str):
    """Raise an InputError if a photo, called so in the message, has no face."""
    if not len(photo.landmarks):
        raise console.InputError(
            f'No face is found in {name}: take a photo in which one is seen from the front.'
        )


def cut_out(photo: Photo, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a face as a model takes it, and the levels of the photo that are -1 and 1 there.

    float32 [size, size, 3] in [-1, 1], with its contrast stretched, and float32 [2].
    """
    crop = photo.pixels
    if not photo.is_face:
        crop = detector.cut_out(photo.pixels, photo.landmarks[index])
    face = pictures.to_face(Image.fromarray(crop), size)
    low, high = crop.min(), crop.max()
    return pipeline.to_float(face).numpy(), np.float32([low, max(high, low + 1.0)])


def with_levels(faces: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Undo the stretch of contrast of faces [..., S, S, C], by levels of a Portrait, [..., 2]."""
    low, high = np.moveaxis(levels / 127.5 - 1, -1, 0)[..., None, None, None]
    return low + (faces + 1) / 2 * (high - low)


def is_frontal(portrait: Portrait) -> bool:
    """Whether a face looks to the front, by the nose between the eyes and the mouth's corners."""
    (places,), _ = detector.locate([ops.image_grid(portrait.people.images)])
    left_eye, right_eye, nose, *mouth = places[:, 0]
    left, right = (left_eye + mouth[0]) / 2, (right_eye + mouth[1]) / 2
    return abs(nose - (left + right) / 2) <= TURNED * (right - left)


def place_of(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Return where a face's square is in its photo: x, y of its centre and its width, in pixels,
    and by how many radians it is turned clockwise.
    """
    a, b = detector.similarity(landmarks, detector.PLACES)
    centre = (0.5 + 0.5j - b) / a
    return centre.real, centre.imag, 1 / abs(a), -np.angle(a)


def portray(
    method: likeness.AgingMethod,
    photo: Photo,
    index: int = 0,
    name: str = '',
    age: float | None = None,
) -> Portrait:
    """Return the Portrait of a face in a photo; its age and gender are guessed where not given.

    The photo's name gives them if it is as UTKFace's, 23_0_me, and there is no other face; an age
    in years counts in place of the name's.
    """
    model = method.model
    face, levels = cut_out(photo, index, model.size_image)
    known = readers.parse_name(name) if len(photo.landmarks) == 1 else None
    named_age, gender = known or (None, None)
    own_age = named_age if age is None else age
    people = method.look_at(face[None], own_age, gender)
    guessed_age = (people.ages[0] + 1) / 2 @ labels.age_centres(model.age_upper)
    told = 'named' if known else 'guessed'
    return Portrait(
        photo,
        index,
        levels,
        people,
        age=float(guessed_age) if own_age is None else own_age,
        gender=int(people.genders[0].argmax()),
        age_is=told if age is None else 'given',
        gender_is=told,
    )


def reduce(portrait: Portrait, side: int) -> Portrait:
    """Return a Portrait in a photo whose longer side has at most `side` pixels."""
    photo = portrait.photo
    small = Image.fromarray(photo.pixels)
    small.thumbnail([side, side], Image.Resampling.LANCZOS, reducing_gap=3)
    landmarks = photo.landmarks * small.size / photo.pixels.shape[1::-1]
    photo = photo._replace(pixels=np.asarray(small), landmarks=landmarks)
    return portrait._replace(photo=photo)


def show(
    method: likeness.AgingMethod,
    portrait: Portrait,
    years: typing.Sequence[float],
    genders: typing.Sequence[str],
    age_shift: float | None = None,
    strength: float | None = None,
) -> np.ndarray:
    """Show a person as M genders at N ages, with the photo's contrast.

    Returns float32 [M, N, S, S, C] in [-1, 1].

    The age shift and the strength, the likeness, are by default those of the method.
    """
    ages = labels.age_label(np.array(years), method.model.age_upper)
    shown_as = labels.one_hot([labels.GENDER_NAMES.index(name) for name in genders], 2)
    targets = ages[:, None], shown_as[:, None, None]
    faces = method.show(portrait.people, *targets, age_shift, strength)[:, :, 0]
    return with_levels(faces, portrait.levels)


def named(portrait: Portrait, path: str) -> list[str]:
    """Return what the photo's name told, such as ['23_0_me.jpg: 23 years old, male'], or []."""
    if portrait.gender_is != 'named':
        return []
    return [f'{path}: {portrait.age:.0f} years old, {labels.GENDER_NAMES[portrait.gender]}']


def say_named(told: list[str]):
    """Say whose ages and genders came from names, by texts as of `named`."""
    if told:
        console.say(
            f'\n\tNames told who is in {len(told):,} of the photos, such as {told[0]}. Rename '
            'photos whose names mean something else.'
        )


def add_out(parser: argparse.ArgumentParser):
    """Add where a program writes its results, see `result_folder`."""
    parser.add_argument('--out', type=flag_types.path, help='folder of the results (SAVEDIR/test)')


def result_folder(args: argparse.Namespace) -> str:
    """Return the folder of the results by the arguments of `add_out`."""
    return args.out or os.path.join(args.savedir, 'test')
