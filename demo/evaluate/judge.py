"""Judge the age and the gender of faces: python -m demo.evaluate.judge trains the judge.

The judge is a small residual network (He et al. 2016) that sees real faces alone, never a generated
one. `demo.evaluate` asks it how old generated faces look. It learns from the faces of the data set
for which `data.labels.held_out` is false; its errors are measured on the others, by age group.
All faces of one photo are on the same side (of the bundled judge, those of one name were).
"""

import os
import typing

import keras
import numpy as np
import tensorflow as tf

import init_model
from data import console, flag_types, labels, pipeline
from demo.evaluate import judge_data, report
from demo.evaluate.judge_data import BATCH, OLDEST, SIZE

HERE = os.path.dirname(os.path.abspath(__file__))
MANIFEST, WEIGHTS = 'judge.json', 'judge.npz'
CURE = 'restore it (git checkout demo) or make it anew (python -m demo.evaluate.judge).'
WIDTHS = 32, 64, 128, 256  # channels, from half the size down to a sixteenth; 2.5 MB in float16
SHARPNESS = 2  # power of the years' probabilities before their mean: less drawn to middle ages
STEPS = 1600
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 2e-3, 0.01, 0.3
CALIBRATION = 0.1  # share of the faces that only the calibration sees
KNOTS = np.array([0.0, 50, 100])  # the network's years between which the calibration is linear
TRUST = 0.05  # weight of leaving years as they are, where the groups do not say better


def network() -> keras.Model:
    """Faces [B, SIZE, SIZE, 3] -> logits of the years from 0 to OLDEST, and of female [B, 1]."""
    face = keras.Input([SIZE, SIZE, 3])
    x = keras.ops.relu(_conv(face, WIDTHS[0], stride=2))  # 48
    for width in WIDTHS[1:]:  # 24, 12, 6
        short = _conv(x, width, size_kernel=1, stride=2)
        x = keras.ops.relu(_conv(x, width, stride=2))
        x = keras.ops.relu(short + _conv(x, width))
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(DROPOUT)(x)
    year = keras.layers.Dense(OLDEST + 1, dtype='float32', name='year')(x)
    female = keras.layers.Dense(1, dtype='float32', name='female')(x)
    return keras.Model(face, [year, female])


def _conv(x, width, size_kernel=3, stride=1):
    x = keras.layers.Conv2D(width, size_kernel, stride, padding='same', use_bias=False)(x)
    return keras.layers.BatchNormalization(momentum=0.98)(x)


class Judge(typing.NamedTuple):
    """A network that judges faces."""

    model: keras.Model
    knots: np.ndarray  # float [2, K], the network's years and the judged ages: linear in between

    def __call__(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ages in years of faces uint8 [N, S, S, C], and their probabilities of female.

        Each is judged together with its mirror image.
        """
        numbers = tf.range(OLDEST + 1, dtype=tf.float32)[:, None]

        def judge(batch):
            face = pipeline.to_float(batch)
            if face.shape[-1] == 1:
                face = tf.image.grayscale_to_rgb(face)
            face = tf.image.resize(face, [SIZE, SIZE], antialias=True)
            year, female = self.model(tf.concat([face, face[:, :, ::-1]], 0), training=False)
            year, female = tf.nn.softmax(SHARPNESS * year) @ numbers, tf.sigmoid(female)
            return tuple(tf.reduce_mean(tf.split(x[:, 0], 2), 0) for x in (year, female))

        years, female = pipeline.in_batches(judge, faces, title='Judging')
        return np.maximum(np.interp(years, *self.knots), 0), female


def load(folder: str = HERE) -> Judge:
    """Return the Judge packed in a folder; raise InputError if a file is missing or damaged."""
    arrays = init_model.load(folder, MANIFEST, [WEIGHTS], CURE)
    model = network()
    for name, variable in _named_variables(model).items():
        variable.assign(arrays[name])
    return Judge(model, arrays['knots'].astype(np.float64))


def save(judge: Judge, description: dict, folder: str = HERE):
    """Pack a Judge in float16, with a description in its manifest; both are replaced, or none."""
    arrays = {name: x.numpy() for name, x in _named_variables(judge.model).items()}
    arrays['knots'] = judge.knots
    arrays = {name: x.astype(init_model.DTYPE) for name, x in arrays.items()}
    manifest = {'format': init_model.FORMAT, **description}
    init_model.save(folder, manifest, {WEIGHTS: arrays}, MANIFEST)


def _named_variables(model):
    """Return the variables of the network by their names: 0_kernel, 1_gamma, ..."""
    return {
        f'{i}_{variable.name}': variable
        for i, layer in enumerate(layer for layer in model.layers if layer.variables)
        for variable in layer.variables
        if variable.dtype == 'float32'
    }


def train(faces: np.ndarray, years: np.ndarray, genders: np.ndarray, seed: int) -> Judge:
    """Train a judge on faces uint8 [N, S, S, 3] of known years and genders."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    groups = np.searchsorted(labels.AGE_UPPER, years)
    calibrating = rng.random(len(faces)) < CALIBRATION
    cells = np.where(calibrating, -1, groups * 2 + genders)
    order = judge_data.balanced_order(cells, STEPS * BATCH, rng)
    model, warm_up = network(), STEPS // 20
    rate = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 20, STEPS - warm_up, warmup_target=LEARNING_RATE, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, clipnorm=5)
    of_years = keras.losses.CategoricalCrossentropy(from_logits=True)
    of_genders = keras.losses.BinaryCrossentropy(from_logits=True)
    # On a CPU, XLA compiles for minutes.
    model.compile(optimizer, [of_years, of_genders], jit_compile=False)
    batches = judge_data.batches(faces, years, genders, order, seed)
    for face, targets in console.Progress(batches, 'Training', STEPS, unit=' steps'):
        model.train_on_batch(face, targets)
    judged, _ = Judge(model, np.stack([KNOTS, KNOTS]))(faces[calibrating])
    return Judge(model, calibrate(judged, years[calibrating], groups[calibrating]))


def calibrate(judged: np.ndarray, years: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the knots of a Judge from years that it judged, true years and age groups, all [N].

    Least squares: the means of the age groups come as near to the true ones as a line with one bend
    allows. More bends would follow the chance in a hundred faces.
    """
    shares = np.stack([np.interp(judged, KNOTS, knot) for knot in np.eye(len(KNOTS))], axis=1)
    members = [groups == i for i in np.unique(groups)]
    shares = np.array([shares[chosen].mean(axis=0) for chosen in members])
    means = np.array([years[chosen].mean() for chosen in members])
    normal = shares.T @ shares + TRUST * np.eye(len(KNOTS))
    return np.stack([KNOTS, KNOTS + np.linalg.solve(normal, shares.T @ (means - shares @ KNOTS))])


def errors(judge: Judge, faces: np.ndarray, years: np.ndarray, genders: np.ndarray) -> list[dict]:
    """Return the errors of a judge on faces of known years and genders [N], of all and by age."""
    judged, female = judge(faces)
    groups = np.searchsorted(labels.AGE_UPPER, years)
    members = [('all', groups >= 0)]
    members += [(name, groups == i) for i, name in enumerate(labels.age_names())]
    return [
        {
            'group': name,
            'faces': int(chosen.sum()),
            'mean_age': round(float(years[chosen].mean()), 1),
            'judged_age': round(float(judged[chosen].mean()), 1),
            'mean_error': round(float(abs(judged - years)[chosen].mean()), 1),
            'gender': round(float(((female >= 0.5) == genders)[chosen].mean()), 3),
        }
        for name, chosen in members
        if chosen.any()
    ]


@console.one_sentence()
def main(argv=None):
    parser = flag_types.Parser('python -m demo.evaluate.judge', __doc__)
    flag_types.add_data_set(parser)
    seed = flag_types.integer(0, 2**32 - 1)
    parser.add_argument('--seed', type=seed, default=1, help='of the weights (%(default)s)')
    text = 'folder for the files; default: demo/evaluate'
    parser.add_argument('--out', type=flag_types.path, default=HERE, help=text)
    args = parser.parse_args(argv)
    folder = os.path.join(args.datadir, args.dataset)
    faces, years, genders, held = judge_data.read_faces(folder, args.labels)
    judge = train(faces[~held], years[~held], genders[~held], args.seed)
    rows = errors(judge, faces[held], years[held], genders[held])
    learnt = int(np.count_nonzero(~held))
    description = {
        'epochs': round(STEPS * BATCH / learnt),
        'steps': STEPS,
        'batch_size': BATCH,
        'seed': args.seed,
        'dataset': args.dataset,
        'faces': learnt,
        'held_out': rows,
    }
    save(judge, description, args.out)
    print(f'\n{report.judge(rows)}\n\nWrote {WEIGHTS} and {MANIFEST} to {args.out}')


if __name__ == '__main__':
    main()
