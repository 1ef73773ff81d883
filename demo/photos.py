"""What the games aging, morph and kids share: a trained model, and photos as its inputs."""

import os

import numpy as np
from PIL import Image

import face_aging
from data import align, console, detector, files, flag_types, labels, pictures, pipeline

SIZE_BATCH = 50  # faces encoded or generated at once


def encode(model, images):
    """Return the codes, float32 [N, num_z_channels], of images.

    Args:
        model: a FaceAging, trained.
        images: N arrays [S, S, C], uint8 or float in [-1, 1], faces that lie as in UTKFace.
    """
    # Each by itself: stacked, bytes beside floats would become floats from 0 to 255.
    return model.E(np.stack([to_float(image) for image in images])).numpy()


def to_float(image):
    """Return an image, uint8 or float in [-1, 1], as float32 in [-1, 1]."""
    return (pipeline.to_float(image).numpy() if image.dtype == np.uint8 else image).astype('f4')


def generate(model, z, ages, genders):
    """Return the faces, float32 [N, S, S, C] in [-1, 1], of codes, with a progress bar.

    Args:
        model: a FaceAging, trained.
        z: codes [N, num_z_channels].
        ages, genders: labels [N, num_categories] and [N, 2].
    """
    inputs = (np.asarray(values, np.float32) for values in (z, ages, genders))
    return in_batches('Generating', lambda *batch: model.G(list(batch)), *inputs)


def in_batches(title, network, *inputs):
    """Run a network over inputs [N, ...] with a progress bar; return its outputs [N, ...]."""
    starts = range(0, len(inputs[0]), SIZE_BATCH)
    batches = ([x[i : i + SIZE_BATCH] for x in inputs] for i in starts)
    progress = console.Progress(batches, title, len(starts), unit='batch')
    return np.concatenate([network(*batch).numpy() for batch in progress])


def add_arguments(parser):
    """Add what every game asks of the model."""
    parser.add_argument(
        '--savedir',
        type=flag_types.path,
        default='save',
        help='folder of the checkpoint and of the results; the weights in init_model stand in for '
        'a checkpoint in the default one (%(default)s)',
    )
    parser.add_argument('--age_groups', help="as main.py's")


def open_model(words):
    """Return a trained FaceAging for the words of a command line that `add_arguments` describes.

    Raises:
        InputError: there is none, or one of other age groups.
    """
    settings = {}
    if words.age_groups:
        settings['age_upper'] = labels.parse_age_upper(words.age_groups)
    model = face_aging.FaceAging(is_training=False, save_dir=words.savedir, **settings)
    model.load_trained()
    return model


def open_faces(paths, model):
    """Return the faces of photos as the model takes them, float32 [N, S, S, C] in [-1, 1].

    One that lies as in UTKFace is taken as it is, another is cut out; of several, the largest.

    Raises:
        InputError: a photo can't be read, or there is no face in it.
    """
    faces = []
    for path in paths:
        face = pictures.read_photo(path)
        if not detector.lie_in_place([face])[0]:
            crops = align.align(face)
            if not crops:
                raise console.InputError(
                    f'No face is found in {path}: take a photo in which one is seen from the front.'
                )
            face = crops[0]
        faces.append(_to_face(face, model))
    return pipeline.to_float(np.stack(faces)).numpy()


def read_faces(source, model, aligned=None, cure='align it'):
    """Read the faces to test on from a folder, or from one picture.

    Args:
        source: the folder or picture.
        model: a FaceAging.
        aligned: folder where every face in the pictures is cut out to; by default each picture is
            taken as a face, with a warning of those that do not lie as in UTKFace.
        cure: what the warning says is to be done.

    Returns:
        names: list of N different names.
        faces: uint8 array [N, S, S, C].

    Raises:
        InputError: no such folder or picture, or no readable one, or no face in it.
    """
    if aligned:
        crops = align.align_pictures(source, aligned)
        paths, faces = [*crops], np.stack([_to_face(crop, model) for crop in crops.values()])
    else:
        paths, faces = pipeline.read_folder(source, model.size_image, model.num_input_channels)
        align.warn_of_unaligned(paths, faces, cure)
    return files.unique_names(paths), faces


def _to_face(pixels, model):
    """Return pixels, uint8 [H, W, 3], as a face for a model, uint8 [S, S, C]."""
    image = Image.fromarray(pixels).convert('L' if model.num_input_channels == 1 else 'RGB')
    return pictures.to_face(image, model.size_image).reshape(model.E.input.shape[1:])


def result_path(model, *names):
    """Return the path of a result without its extension, in save_dir/test, which is made."""
    folder = os.path.join(model.save_dir, 'test')
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, '_'.join(names))
