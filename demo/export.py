"""Write a trained model for other programs: python -m demo.export --format onnx DEST.

DEST becomes a folder with a README.md and one network, from a face, an age and a gender to a face,
by the method of the strips; with --age_shift 0 --likeness 0 by the paper's. What is written is
opened as the README does it, by the format's own runtime, and compared with this program on three
faces. DEST is there only if both agree.
"""

import inspect
import os
import pathlib
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf

import face_aging
import ops
from data import console, files, flag_types, labels
from demo import likeness

FACES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'faces')
COMPARED = 3  # faces of that folder
# The largest difference of pixels, in [-1, 1], taken for rounding; of the bundled weights 2e-6.
TOLERANCE = 1e-4


# Each opens a file: a function from image, age and gender to faces. READMEs have them as they are.


def open_saved_model(path):
    import tensorflow as tf

    served = tf.saved_model.load(path).signatures['serving_default']
    return lambda **x: served(**{k: tf.constant(v) for k, v in x.items()})['output_0'].numpy()


def open_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path).get_signature_runner()
    return lambda **x: runner(**x)['output_0']


def open_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda **x: session.run(None, x)[0]


FORMATS = {
    'saved_model': ('caae', open_saved_model),
    'litert': ('caae.tflite', open_litert),
    'onnx': ('caae.onnx', open_onnx),
}
README = """\
# A model of faces and their ages (CAAE)

`{file}` was written by `python -m demo.export`. On {compared} faces its pixels, in [-1, 1],
differed by {difference:.1g} at most from those of the model that it comes from.

It takes image, age and gender, and gives an image. All numbers are float32, and N, the number of
faces, is free. With age shift {age_shift:g} and likeness {likeness:g} it is made: with 0 and 0 by
the paper's method, else the change is laid over the photo, whose age and gender are guessed.

- **image**: [N, {size}, {size}, 3], RGB. The face fills it as in UTKFace: eyes level at 0.29 of
  the height, mouth at 0.69. Stretch the contrast, so that the darkest value is -1 and the brightest
  1; what is made is stretched alike.
- **age**: [N, {groups}], 1 at the face's age group and -1 elsewhere; for an age between the central
  years of two groups both are in between, and their sum stays 0. The groups, in years: {names}.
- **gender**: [N, 2], (1, -1) for male and (-1, 1) for female.

```python
import numpy as np
from PIL import Image

{open}
pixels = np.asarray(Image.open('face.jpg').convert('RGB').resize([{size}, {size}]), np.float32)
low, high = pixels.min(), pixels.max()
image = (pixels[None] - low) * 2 / (high - low) - 1
age, gender = -np.ones([1, {groups}], 'f4'), np.array([[1, -1]], 'f4')  # male
age[:, {old}] = 1  # {old_name}
face = {opener}('{file}')(image=image, age=age, gender=gender)
pixels = low + (face[0] + 1) / 2 * (high - low)  # the photo's own contrast
Image.fromarray(np.uint8(pixels + 0.5)).save('older.png')
```

A face that this shows is a likely one for its age among the pictures learned from, not a forecast.
Show nobody without their consent. Weights that were trained on UTKFace are for non-commercial
research only.
"""


def export(method: likeness.AgingMethod, dest: str, format: str) -> float:
    """Write a model to a new folder, dest, in one of FORMATS, with a README.

    Returns the largest difference of its pixels from the model's; raises an InputError, and leaves
    no dest, where a package is missing or what was written does not compute what the model does.
    """
    if os.path.lexists(dest):
        raise console.InputError(f'{dest} is there already: name a new folder.')
    model, (name, opener) = method.model, FORMATS[format]
    network = method.network(_with_keras_layers(model.E), _with_keras_layers(model.G))
    paths = files.list_images(FACES)[:COMPARED]
    inputs = {
        'image': np.stack([ops.load_image(path, model.size_image) for path in paths]),
        # The youngest, one between two age groups, and the oldest; one of both genders.
        'age': labels.age_label([0, 25, 90], model.age_upper),
        'gender': labels.one_hot([0, 1, 0], 2),
    }
    expected = method.show(method.look_at(inputs['image']), inputs['age'], inputs['gender'])
    parent = os.path.dirname(os.path.abspath(dest))
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix='.export') as aside:
        folder = pathlib.Path(aside, 'new')
        folder.mkdir()
        console.say(f'Writing {name} ...')
        try:
            _write(network, str(folder / name), format)
            output = opener(str(folder / name))(**inputs)
        except ModuleNotFoundError as error:
            raise console.InputError(
                f'{format} needs the package {error.name}: pip install -r demo/requirements.txt.'
            ) from error
        difference = float(np.abs(output - expected).max())
        if not difference <= TOLERANCE:  # nor NaN
            raise console.InputError(
                f'{name} differs by {difference:.2g} from the model, in [-1, 1]: nothing is '
                'written; export another format.'
            )
        (folder / 'README.md').write_text(_readme(method, format, difference), encoding='utf-8')
        folder.rename(dest)
    return difference


def _with_keras_layers(network):
    """Return a copy of a network with Keras' own layers.

    Ours compute some maps as matrix products, for the speed of a training; LiteRT cannot run these.
    """

    def copy(layer):
        kind = next(kind for kind in type(layer).mro() if kind.__module__.startswith('keras.'))
        return kind.from_config(layer.get_config())

    copied = keras.models.clone_model(network, clone_function=copy)
    copied.set_weights(network.get_weights())
    return copied


def _write(network, path, format):
    """Write a Keras model in a format; its batches may be of any size."""
    if format == 'saved_model':
        # As network.export() does, but for its second copy of each variable.
        archive = keras.export.ExportArchive()
        signature = [tf.TensorSpec(node.shape, tf.float32, node.name) for node in network.inputs]
        archive.add_endpoint('serve', lambda *inputs: network([*inputs]), signature)
        archive.write_out(path, verbose=False)
        return
    network(network.inputs)  # Keras' converter to onnx wants a network that was called
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # of NumPy, in Keras' converter to onnx
        network.export(path, format=format, verbose=False)


def _readme(method, format, difference):
    model, (name, opener) = method.model, FORMATS[format]
    age_names = labels.age_names(model.age_upper)
    return README.format(
        file=name,
        compared=COMPARED,
        difference=difference,
        age_shift=method.age_shift,
        likeness=method.likeness,
        open=inspect.getsource(opener),
        opener=opener.__name__,
        size=model.size_image,
        groups=len(age_names),
        names=', '.join(age_names),
        old=len(age_names) - 2,
        old_name=age_names[-2],
    )


@console.one_sentence()
def main(argv=None):
    parser = flag_types.Parser('python -m demo.export', __doc__)
    parser.add_argument('dest', type=flag_types.path, help='folder to be made')
    parser.add_argument('--format', choices=[*FORMATS], required=True)
    flag_types.add_model(parser)
    likeness.add_strength(parser)
    args = parser.parse_args(argv)
    model = face_aging.open_trained(args.savedir, args.age_groups)
    method = likeness.open_aging(model, args.age_shift, args.likeness)
    difference = export(method, args.dest, args.format)
    name, _ = FORMATS[args.format]
    console.say(f'Wrote {args.dest}/{name}, within {difference:.1g} of the model.')


if __name__ == '__main__':
    main()
