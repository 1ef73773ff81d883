"""Change faces in their photos, at the photos' own resolution.

The change that a model makes is smooth and 128 pixels wide. It is scaled up, turned and moved to
the face's place in the photo, and added there under a soft mask: skin, hair and background keep
their sharpness, and nothing is changed outside of the face's surroundings.
"""

import itertools
import typing

import numpy as np
from PIL import Image
from scipy import ndimage

from data import console, detector, files, labels, pictures, pipeline
from demo import aging, photos

AGES = 5, 30, 65  # years, where none are asked for
# The mask: a rounded square around a crop as UTKFace's, from whose centre to each side it is 1 up
# to MASK_CORE and 0 from MASK_EDGE on, in parts of the crop's width. There hair and ears end.
MASK_CORE, MASK_EDGE = 0.42, 0.6
MASK_POWER = 4  # 2 is a circle, more is squarer
BAND = 256  # rows of a photo that are changed at a time: bounds the memory
JPEG = b'\xff\xd8\xff'  # how such a file begins
QUALITY = 95  # of JPEG, so that another loss cannot be seen


class Photo(typing.NamedTuple):
    """A photo and the faces in it.

    Attributes:
        path: of its file.
        pixels: uint8 array [H, W, 3], as people see it.
        landmarks: float array [N, 5, 2], of `detector.find_faces`.
        profile: bytes of its ICC profile, None where it has none.
    """

    path: str
    pixels: np.ndarray
    landmarks: np.ndarray
    profile: bytes | None


def open_photo(path):
    """Return the `Photo` of a file.

    Raises:
        InputError: the file cannot be read.
    """
    with pictures.open_picture(path, on_white=True) as image:
        profile = image.info.get('icc_profile')
        pixels = np.asarray(image)
    if profile and profile[16:20] != b'RGB ':  # that of a picture in CMYK or grey
        profile = None
    return Photo(path, pixels, detector.find_faces(pixels), profile)


def cut_out(photo, size, channels=3):
    """Cut the faces of a photo out as a model takes them.

    Returns:
        faces: float32 array [N, size, size, channels] in [-1, 1], their contrast stretched.
        spans: float array [N], levels of the photo that were stretched to 2.
    """
    faces, spans = [], []
    for landmarks in photo.landmarks:
        crop = Image.fromarray(detector.cut_out(photo.pixels, landmarks))
        crop = crop.convert('L' if channels == 1 else 'RGB')
        low, *_, high = sorted(np.ravel(crop.getextrema()))
        faces.append(pictures.to_face(crop, size).reshape(size, size, channels))
        spans.append(max(high - low, 1))
    return pipeline.to_float(np.stack(faces)).numpy(), np.array(spans, float)


def add_change(pixels, landmarks, change):
    """Add a change of a face to its photo, in place.

    Args:
        pixels: uint8 array [H, W, 3], the photo; writable.
        landmarks: float array [5, 2], (x, y) of the face in it, as from `detector.find_faces`.
        change: float array [S, S, C], C 1 or 3, in levels of the photo: what is to be added to the
            face as `detector.cut_out` cuts it out, scaled to [S, S].
    """
    size = len(change)
    # A photo's point z = x + iy lies at a z + b in the face.
    a, b = detector.similarity(landmarks, detector.PLACES * size)
    if abs(a) > 1:  # the face is smaller there: blurred, or it would alias
        blur = abs(a) / 2
        change = ndimage.gaussian_filter(change, (blur, blur, 0), mode='nearest')
    for axis in (0, 1):
        change = ndimage.spline_filter1d(change, axis=axis, mode='nearest')
    centre, reach = (size / 2 * (1 + 1j) - b) / a, 2 * MASK_EDGE * size / abs(a)
    low = np.clip([centre.real - reach, centre.imag - reach], 0, pixels.shape[1::-1]).astype(int)
    high = np.clip([centre.real + reach, centre.imag + reach], 0, pixels.shape[1::-1]).astype(int)
    for top in range(low[1], high[1], BAND):
        band = pixels[top : min(top + BAND, high[1]), low[0] : high[0]]
        y, x = np.ogrid[: band.shape[0], : band.shape[1]]
        z = a * ((x + low[0] + 0.5) + 1j * (y + top + 0.5)) + b  # centres of pixels
        mask = mask_at(z / size)
        inside = mask > 0
        places = [z.imag[inside] - 0.5, z.real[inside] - 0.5]
        added = [
            ndimage.map_coordinates(channel, places, mode='nearest', prefilter=False)
            for channel in np.moveaxis(change, -1, 0)
        ]
        changed = band[inside] + mask[inside, None] * np.stack(added, axis=-1)
        band[inside] = np.clip(np.round(changed), 0, 255)


def mask_at(places):
    """Return which part of a change is added at places of a face, from 1 at its core to 0.

    Args:
        places: complex array, x + iy in parts of the crop's width and height.
    """
    x, y = np.abs(places.real - 0.5), np.abs(places.imag - 0.5)
    radius = (x**MASK_POWER + y**MASK_POWER) ** (1 / MASK_POWER)
    fade = np.clip((MASK_EDGE - radius) / (MASK_EDGE - MASK_CORE), 0, 1)
    return fade * fade * (3 - 2 * fade)


def save(path, pixels, profile):
    """Write pixels as a JPEG or PNG file, as the suffix of its path says."""
    with files.replacing(path) as aside:
        format = 'JPEG' if path.endswith('.jpg') else 'PNG'
        Image.fromarray(pixels).save(aside, format, quality=QUALITY, icc_profile=profile)


def is_jpeg(path):
    """Whether a file is a JPEG, by its first bytes."""
    with open(path, 'rb') as file:
        return file.read(len(JPEG)) == JPEG


def write(model, source, method, genders, ages, everyone=False, own_age=None):
    """Write photos in which a face has other ages, photo_<name>_<gender>_<years>.jpg or .png.

    A photo in JPEG is written as such, others as PNG, to save_dir/test. Several faces in a photo
    are counted by k, the largest first: photo_<name>_<k>_<gender>_<years>.

    Args:
        model: a FaceAging, trained.
        source: folder of the photos, or one photo. Those without a face are left out.
        method: a likeness.AgingMethod.
        genders: those of labels.GENDER_NAMES that the faces are shown as.
        ages: years, one photo for each.
        everyone: change all faces of a photo in one file.
        own_age: of the people, if it is known.

    Returns:
        paths of the photos.

    Raises:
        InputError: no such folder or photo.
    """
    sources, paths = files.list_images(source), []
    labelled = labels.age_label(ages, model.age_upper)[:, None]
    for path, name in zip(
        console.Progress(sources, 'Changing', unit=' photos'),
        files.unique_names(sources),
        strict=True,
    ):
        try:
            photo = open_photo(path)
        except console.InputError:  # `align` has warned of it
            continue
        if not len(photo.landmarks):
            continue
        faces, spans = cut_out(photo, model.size_image, model.num_input_channels)
        own = aging.known(name, own_age) if len(faces) == 1 else (own_age, None)
        people = method.look_at(faces, *own)
        several = len(faces) > 1 and not everyone
        groups = [[k] for k in range(len(faces))] if several else [[*range(len(faces))]]
        for gender in genders:
            label = labels.one_hot([labels.GENDER_NAMES.index(gender)], 2)
            shown = method.show(people, labelled, label)
            changes = (shown - faces) * spans[:, None, None, None] / 2
            for (i, years), group in itertools.product(enumerate(ages), groups):
                pixels = photo.pixels.copy()
                for k in group:
                    add_change(pixels, photo.landmarks[k], changes[i, k])
                number = [f'{group[0] + 1:0{len(str(len(faces)))}}'] if several else []
                result = photos.result_path(model, 'photo', name, *number, gender, str(years))
                result += '.jpg' if is_jpeg(path) else '.png'
                save(result, pixels, photo.profile)
                paths.append(result)
    return paths
