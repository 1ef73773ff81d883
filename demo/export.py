"""Write a trained model for other programs: python -m demo.export --format onnx DEST.

DEST becomes a folder with a README.md and one network, from a face, an age and a gender to a face,
by the method of the strips; with --age_shift 0 --likeness 0 by the paper's; with --parts True with
E and G apart instead. What is written is opened again by the format's own runtime and compared with
this program on three faces. DEST is there only if both agree.
"""

import os
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf

import face_aging
import ops
from data import console, flag_types, labels
from data.console import InputError
from demo import likeness
from demo.likeness import AgingMethod

FACES = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'faces')
COMPARED = 3  # faces of that folder
# The largest difference of two pixels, in [-1, 1], that counts as rounding. For the bundled
# weights it was at most 2e-6 in every format, also in float16, as which they are stored.
TOLERANCE = 1e-4
TOLERANCE_FLOAT16 = 2e-2
SUFFIXES = {'saved_model': '', 'litert': '.tflite', 'onnx': '.onnx'}  # of the formats' files


def export(
    method: AgingMethod,
    dest: str,
    format: str,
    parts: bool = False,
    float16: bool = False,
) -> dict[str, float]:
    """Write a model to a new folder, with a README.

    Args:
        method: of its model.
        dest: folder, which is not there yet.
        format: of SUFFIXES.
        parts: write E and G apart, in place of one network.
        float16: store the weights in half the space; litert only.

    Returns:
        dict from the files' names to the largest difference of their outputs from the model's.

    Raises:
        InputError: dest is there, float16 with another format, a package is missing, or what was
            written does not compute what the model does. dest is not there then.
    """
    if os.path.lexists(dest):
        raise InputError(f'{dest} is there already: name a new folder.')
    if float16 and format != 'litert':
        raise InputError(f'float16 is for litert, not for {format}: leave it out.')
    networks, inputs, expected = _networks(method, parts), *_examples(method)
    parent = os.path.dirname(os.path.abspath(dest))
    os.makedirs(parent, exist_ok=True)
    differences = {}
    with tempfile.TemporaryDirectory(dir=parent, prefix='.export') as aside:
        for name, network in networks.items():
            path = os.path.join(aside, 'new', name + SUFFIXES[format])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            console.say(f'Writing {os.path.basename(path)} ...')
            try:
                _write(network, path, format, float16)
                run = _open(path, format)
            except ModuleNotFoundError as error:
                raise InputError(
                    f'{format} needs the package {error.name}: '
                    'pip install -r demo/requirements.txt.'
                ) from error
            output = run(**{node.name: inputs[node.name] for node in network.inputs})
            difference = float(np.abs(output - expected[name]).max())
            if not difference <= (TOLERANCE_FLOAT16 if float16 else TOLERANCE):  # nor NaN
                raise InputError(
                    f'{name} as {format} differs by {difference:.2g} from the model, in [-1, 1]: '
                    'nothing is written; export another format.'
                )
            differences[os.path.basename(path)] = difference
        with open(os.path.join(aside, 'new', 'README.md'), 'w', encoding='utf-8') as file:
            file.write(_readme(method, format, differences))
        os.rename(os.path.join(aside, 'new'), dest)
    return differences


def _networks(method, parts):
    """Return what is written, a dict from names to Keras models with named inputs.

    Their convolutions are Keras' own: ops computes some as matrix products, for the speed of a
    training, and LiteRT cannot run these.
    """
    E, G = _plain(method.model.E), _plain(method.model.G)
    image = keras.Input(E.input.shape[1:], name='image')
    z, age, gender = (
        keras.Input(node.shape[1:], name=name)
        for node, name in zip(G.inputs, ('z', 'age', 'gender'), strict=True)
    )
    if parts:
        return {
            'E': keras.Model(image, E(image), name='E'),
            'G': keras.Model([z, age, gender], G([z, age, gender]), name='G'),
        }
    if not _is_papers(method):
        return {'caae': method.network(E, G)}
    face = G([E(image), age, gender])
    return {'caae': keras.Model([image, age, gender], face, name='caae')}


def _is_papers(method):
    return not method.age_shift and not method.likeness


def _plain(network):
    """Return a copy of a network with Keras' own layers."""

    def copy(layer):
        for kind in (keras.layers.Conv2D, keras.layers.Conv2DTranspose):
            if isinstance(layer, kind):
                return kind.from_config(layer.get_config())
        return type(layer).from_config(layer.get_config())

    copied = keras.models.clone_model(network, clone_function=copy)
    copied.set_weights(network.get_weights())
    return copied


def _examples(method):
    """Return inputs by name, and what the model makes of them by the name of the network."""
    model = method.model
    names = sorted(os.listdir(FACES))[:COMPARED]
    is_gray = model.num_input_channels == 1
    images = [
        ops.load_image(os.path.join(FACES, name), model.size_image, is_gray=is_gray)
        for name in names
    ]
    image = np.stack(images).reshape(COMPARED, *model.E.input.shape[1:])
    z = model.E(image).numpy()
    # The youngest, one between two age groups, and the oldest; one of both genders.
    age = labels.age_label([0, 25, 90], model.age_upper)
    gender = labels.one_hot([0, 1, 0], 2)
    face = model.G([tf.constant(value) for value in (z, age, gender)]).numpy()
    inputs = {'image': image, 'z': z, 'age': age, 'gender': gender}
    shown = face if _is_papers(method) else method.show(method.look_at(image), age, gender)
    return inputs, {'E': z, 'G': face, 'caae': shown}


def _write(network, path, format, float16):
    """Write a Keras model in a format; its batches may be of any size."""
    if format == 'saved_model':
        # As network.export() does, but for its second copy of each variable.
        archive = keras.export.ExportArchive()
        signature = [tf.TensorSpec(node.shape, tf.float32, node.name) for node in network.inputs]
        serve = network if len(signature) == 1 else lambda *inputs: network([*inputs])
        archive.add_endpoint('serve', serve, signature)
        archive.write_out(path, verbose=False)
        return
    network(network.inputs)  # Keras' converter to onnx wants a network that was called
    options = {}
    if float16:
        options['optimizations'] = [tf.lite.Optimize.DEFAULT]
        options['target_spec'] = {'supported_types': [tf.float16]}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # of NumPy, in Keras' converter to onnx
        network.export(path, format=format, verbose=False, **options)


def _open(path, format):
    """Open a file by its own runtime; return a function from inputs by name to the output."""
    if format == 'saved_model':
        served = tf.saved_model.load(path).signatures['serving_default']

        def run(**inputs):
            (output,) = served(**{name: tf.constant(x) for name, x in inputs.items()}).values()
            return output.numpy()

    elif format == 'litert':
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(path).get_signature_runner()

        def run(**inputs):
            (output,) = runner(**inputs).values()
            return output

    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])

        def run(**inputs):
            (output,) = session.run(None, inputs)
            return output

    return run


# Python that opens the files of a format: one network, and a call of it by the names of its inputs.
_OPEN = {
    'saved_model': """\
import tensorflow as tf

def network(path):
    served = tf.saved_model.load(path).signatures['serving_default']
    return lambda **x: served(**{k: tf.constant(v) for k, v in x.items()})['output_0'].numpy()
""",
    'litert': """\
from ai_edge_litert.interpreter import Interpreter

def network(path):
    runner = Interpreter(path).get_signature_runner()
    return lambda **x: runner(**x)['output_0']
""",
    'onnx': """\
import onnxruntime

def network(path):
    session = onnxruntime.InferenceSession(path)
    return lambda **x: session.run(None, x)[0]
""",
}
_README = """\
# A model of faces and their ages (CAAE)

Written by `python -m demo.export`; checked against the model that it comes from.

| file | input | output | largest difference |
|---|---|---|--:|
{rows}

All numbers are float32, and N, the number of faces, is free.

- **image**: [N, {size}, {size}, {channels}], {colours}, from -1 (black) to 1 (white). The
  face fills it as in UTKFace: eyes level at 0.29 of the height, mouth at 0.69. Stretch the
  contrast, so that the darkest value is -1 and the brightest 1.
- **age**: [N, {groups}], 1 at the face's age group and -1 elsewhere; for an age between the central
  years of two groups both are in between, and their sum stays 0. The groups, in years: {names}.
- **gender**: [N, 2], (1, -1) for male and (-1, 1) for female.
- **z**: [N, {codes}], the code of a face, from -1 to 1.
- The output is an image as the input is, or z.{strength}

```python
import numpy as np
from PIL import Image

{open}
pixels = np.asarray(Image.open('face.jpg').convert('{mode}').resize([{size}, {size}]), np.float32)
low, high = pixels.min(), pixels.max()
image = ((pixels - low) * 2 / (high - low) - 1).reshape(1, {size}, {size}, {channels})
age, gender = -np.ones([1, {groups}], 'f4'), np.array([[1, -1]], 'f4')  # male
age[:, {old}] = 1  # {old_name}
{call}
pixels = np.uint8((face[0].squeeze() + 1) * 127.5 + 0.5)
Image.fromarray(pixels).save('older.png')
```

A face that this shows is a likely one for its age among the pictures learned from, not a forecast.
Show nobody without their consent. Weights that were trained on UTKFace are for non-commercial
research only.
"""
_INPUTS = {'caae': 'image, age, gender', 'E': 'image', 'G': 'z, age, gender'}


def _readme(method, format, differences):
    """Return the text that goes with the files, given by their differences."""
    model = method.model
    rows, suffix = [], SUFFIXES[format]
    for file, difference in differences.items():
        name = file.removesuffix(suffix)
        output = 'z' if name == 'E' else 'image'
        rows.append(f'| `{file}` | {_INPUTS[name]} | {output} | {difference:.1g} |')
    if f'caae{suffix}' in differences:
        call = f"face = network('caae{suffix}')(image=image, age=age, gender=gender)"
    else:
        call = (
            f"z = network('E{suffix}')(image=image)\n"
            f"face = network('G{suffix}')(z=z, age=age, gender=gender)"
        )
    names = labels.age_names(model.age_upper)
    is_gray = model.num_input_channels == 1
    strength = ''
    if f'caae{suffix}' in differences and not _is_papers(method):
        strength = (
            '\n- The photo stays, and only the change is laid over it (age shift '
            f'{method.age_shift:g}, likeness {method.likeness:g}). Own age and gender are guessed.'
        )
    return _README.format(
        strength=strength,
        rows='\n'.join(rows),
        open=_OPEN[format],
        call=call,
        size=model.size_image,
        channels=model.num_input_channels,
        colours='luminance' if is_gray else 'red, green and blue',
        mode='L' if is_gray else 'RGB',
        groups=len(names),
        names=', '.join(names),
        old=len(names) - 2,
        old_name=names[-2],
        codes=model.num_z_channels,
    )


@console.one_sentence()
def main(argv=None):
    parser = flag_types.Parser('python -m demo.export', __doc__)
    parser.add_argument('dest', type=flag_types.path, help='folder to be made')
    parser.add_argument('--format', choices=[*SUFFIXES], required=True)
    flag = {'type': flag_types.boolean, 'default': False, 'metavar': 'True|False'}
    parser.add_argument('--parts', **flag, help='write E and G apart (%(default)s)')
    parser.add_argument(
        '--float16', **flag, help='store weights in float16, with litert (%(default)s)'
    )
    flag_types.add_model(parser)
    likeness.add_strength(parser)
    args = parser.parse_args(argv)
    model = face_aging.open_trained(args.savedir, args.age_groups)
    method = likeness.open_aging(model, args.age_shift, args.likeness)
    differences = export(method, args.dest, args.format, args.parts, args.float16)
    for name, difference in differences.items():
        console.say(f'Wrote {args.dest}/{name}, within {difference:.1g} of the model.')


if __name__ == '__main__':
    main()
