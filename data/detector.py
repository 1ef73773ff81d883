"""Find faces in pictures, and cut them out as they lie in UTKFace."""

import functools
import importlib.resources

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

CROP_SIZE = 200  # pixels, height and width of a crop, as in UTKFace
# Where landmarks lie in UTKFace, (x, y) in parts of width and height: the left eye (the picture's
# left), the right one, the nose, the corners of the mouth. Medians of 1,829 faces, found by
# find_faces with mtcnn 1.0 in 1,846 random pictures.
PLACES = np.array([(0.296, 0.29), (0.69, 0.29), (0.49, 0.523), (0.317, 0.691), (0.666, 0.692)])
NEAR = 0.05  # of the width: the mean distance up to which landmarks count as in place
LIKELY = 0.9  # least probability of a face; less counts as none
CERTAIN = 0.999  # from this probability on, the picture is upright and not turned further
LONGEST_SIDE = 1024  # pixels: larger pictures are reduced before detection
SMALLEST_FACE = 20  # pixels, the smallest face that the detector finds
ONET = 48  # pixels, height and width of the input of the detector's last network
STAGES = {'PNet': None, 'RNet': 24, 'ONet': ONET}  # that of each; the first takes any picture


def find_faces(pixels):
    """Find the faces in a picture [H, W, 3], uint8; if none is upright, those turned by quarters.

    Returns float array [N, 5, 2], (x, y) in pixels of each face's landmarks; the largest first.
    """
    shrink = max(1, max(pixels.shape[:2]) / LONGEST_SIDE)
    height, width = (round(length / shrink) for length in pixels.shape[:2])
    if min(height, width) < SMALLEST_FACE:
        return np.empty([0, 5, 2])
    reduced = np.asarray(Image.fromarray(pixels).resize([width, height], reducing_gap=3))
    best = -1
    for quarters in (0, 1, 3, 2):  # to the left
        found, scores = _find_upright(np.rot90(reduced, quarters))
        if max(scores, default=0) > best:
            turns, faces, best = quarters, found, max(scores, default=0)
        if turns == 0 and best >= CERTAIN:
            break
    for turn in range(turns, 0, -1):
        x, y = np.moveaxis(faces, -1, 0)
        faces = np.stack([(width if turn % 2 else height) - y, x], axis=-1)
    faces = faces * [pixels.shape[1] / width, pixels.shape[0] / height]
    return faces[np.argsort([abs(similarity(face, PLACES)[0]) for face in faces])]


def _find_upright(pixels):
    """Return landmarks [N, 5, 2] in pixels, and probabilities [N] of at least LIKELY."""
    images = (tf.cast(pixels[None], tf.float32) - 127.5) / 128
    found = None
    try:
        for name in STAGES:
            with tf.device('CPU:0'):
                found = _stage(name)(
                    bboxes_batch=found, images_normalized=images, images_oshapes=[pixels.shape]
                )
    except tf.errors.InvalidArgumentError:  # of a stage that was left without candidates
        found = []
    if not len(found):
        return np.empty([0, 5, 2]), np.empty(0)
    candidates = found[:, 6:].reshape(-1, 2, 5).swapaxes(1, 2)
    # The detector's last network errs less on faces that are cut out upright.
    places, scores = locate([cut_out(pixels, face, 2 * ONET) for face in candidates])
    likely, faces = scores >= LIKELY, []
    for face, place in zip(candidates[likely], places[likely], strict=True):
        a, b = similarity(face, PLACES)
        z = (place @ [1, 1j] - b) / a
        faces.append(np.stack([z.real, z.imag], axis=-1))
    return np.array(faces).reshape(-1, 5, 2), scores[likely]


def locate(faces):
    """Find the landmarks of N faces that fill their pictures, uint8 arrays [H, W, 3].

    Returns float arrays, (x, y) of landmarks in parts of width and height, [N, 5, 2], and the
    probabilities of a face, [N].
    """
    inputs = [Image.fromarray(face).resize([ONET, ONET], Image.Resampling.BOX) for face in faces]
    inputs = (np.stack(inputs).astype(np.float32) - 127.5) / 128
    with tf.device('CPU:0'):
        _, places, scores = _stage('ONet').model(inputs)
    return places.numpy().reshape(-1, 2, 5).swapaxes(1, 2), scores.numpy()[:, 1]


def lie_in_place(faces):
    """Return whether N faces, as `locate` takes them, lie as in UTKFace, within NEAR: bool [N]."""
    places, scores = locate(faces)
    moved = []
    for place in places:
        a, b = similarity(PLACES, place)
        moved.append(np.abs(a * (PLACES @ [1, 1j]) + b - PLACES @ [1, 1j]).mean())
    return (scores >= LIKELY) & (np.array(moved) <= NEAR)


def similarity(points, places):
    """Return the rotation, scale and shift that best map points to places (Umeyama 1991).

    Both are float arrays [N, 2] of (x, y). Returns complex a, b: the map from z = x + iy to
    a z + b with the least squared error.
    """
    z, w = points @ [1, 1j], places @ [1, 1j]
    centred = z - z.mean()
    a = np.vdot(centred, w) / np.vdot(centred, centred)
    return a, w.mean() - a * z.mean()


def cut_out(pixels, landmarks, size=CROP_SIZE):
    """Cut a face out so that its landmarks come as close as possible to their places in UTKFace.

    Takes pixels, uint8 [H, W, 3], and landmarks [5, 2], (x, y) in pixels; returns uint8
    [size, size, 3], black outside the picture.
    """
    a, b = similarity(landmarks, PLACES * size)
    corners = (np.array([0, size, size * 1j, size + size * 1j]) - b) / a
    shrink = max(1, 1 / abs(a))  # pixels of the picture for one of the crop
    reach = 2 * shrink  # pixels that the filters need around the crop
    low = np.floor([corners.real.min() - reach, corners.imag.min() - reach])
    high = np.ceil([corners.real.max() + reach, corners.imag.max() + reach])
    low, high = (np.clip(side, 0, pixels.shape[1::-1]).astype(int) for side in (low, high))
    part = Image.fromarray(pixels[low[1] : high[1], low[0] : high[0]])
    reduced = np.maximum(1, np.round((high - low) / shrink)).astype(int)
    part = part.resize(reduced, Image.Resampling.LANCZOS, reducing_gap=3)
    x, y = reduced / (high - low)
    c, origin = 1 / a, -b / a - complex(*low)
    rows = [c.real * x, -c.imag * x, origin.real * x, c.imag * y, c.real * y, origin.imag * y]
    crop = part.transform(
        (size, size), Image.Transform.AFFINE, rows, resample=Image.Resampling.BICUBIC
    )
    return np.asarray(crop)


@functools.cache
def _stage(name):
    """Return a stage of the detector; its network computes in float32 under any policy of Keras."""
    from mtcnn import stages  # here, since the import is slow

    # mtcnn would look for a bare name in the working directory first.
    weights = importlib.resources.files('mtcnn.assets.weights') / f'{name.lower()}.lz4'
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy('float32')
    try:
        with tf.device('CPU:0'):
            stage = getattr(stages, f'Stage{name}')(weights=str(weights))
    finally:
        keras.config.set_dtype_policy(policy)
    # Compiled it takes a third of the time.
    signature = [tf.TensorSpec([None, STAGES[name], STAGES[name], 3])]
    stage._model = tf.function(stage.model, signature, autograph=False)
    return stage
