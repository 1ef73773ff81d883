"""What the games aging, morph and kids share: a trained model, and photos as its inputs."""

import os

import numpy as np
from PIL import Image

import face_aging
from data import align, console, detector, labels, pictures, pipeline

SIZE_BATCH = 50  # faces encoded or generated at once


def encode(model, images):
    """Return the codes, float32 [N, num_z_channels], of images.

    Args:
        model: a FaceAging, trained.
        images: N arrays [S, S, C], uint8 or float in [-1, 1], faces that lie as in UTKFace.
    """
    # Each by itself: stacked, bytes beside floats would become floats from 0 to 255.
    floats = [pipeline.to_float(x) if x.dtype == np.uint8 else x for x in images]
    return model.E(np.stack(floats).astype(np.float32)).numpy()


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
        default='save',
        help='folder of the checkpoint, else init_model is taken, and of the results (%(default)s)',
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
        image = Image.fromarray(face).convert('L' if model.num_input_channels == 1 else 'RGB')
        faces.append(pictures.to_face(image, model.size_image))
    faces = np.stack(faces).reshape(len(faces), *model.E.input.shape[1:])
    return pipeline.to_float(faces).numpy()


def result_path(model, *names):
    """Return the path of a result without its extension, in save_dir/test, which is made."""
    folder = os.path.join(model.save_dir, 'test')
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, '_'.join(names))
