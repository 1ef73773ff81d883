"""How fast this machine trains and generates: python -m tests.benchmark [--json FILE].

Measures the machine's matrix products and the program in one run, so that the figures are fractions
of what is possible here. Medians of a few repeats; run it on a machine that does nothing else.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

import face_aging
from data import labels, pipeline
from tests import draw_faces

PRECISIONS = {'float32': tf.float32, 'mixed_bfloat16': tf.bfloat16, 'mixed_float16': tf.float16}
FIRST_STEP = """
import numpy as np, face_aging
model = face_aging.FaceAging(size_batch=4)
model.train_step(*(np.zeros(s, 'f4') for s in ((4, 128, 128, 3), (4, 10), (4, 2), (4, 50))))
"""


def seconds(function, repeats=5):
    """Return the median wall time of a call, in seconds, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def matmul_peak(dtype, size):
    """Return the speed of a matrix product of size x size, in GFLOP/s."""
    a = tf.cast(tf.random.normal([size, size]), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.cast(a @ a, tf.float32)))
    return 2 * size**3 / seconds(lambda: product().numpy()) / 1e9


def multiply_adds(network):
    """Return the multiply-adds of a forward pass of one face: of all layers, of the first one."""
    counts = []
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            places = np.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            places = np.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            places = 1
        else:
            continue
        counts.append(int(places * np.prod(layer.kernel.shape)))
    return sum(counts), counts[0]


def step_flop(model):
    """Return the floating-point operations of one face in a training step with default weights.

    A layer costs as much forward as for the gradient of its weights and for that of its input; the
    first layer of a network needs none of the latter, but where it leads back to G or E.
    """
    E, E_first = multiply_adds(model.E)
    G, _ = multiply_adds(model.G)
    D_z, D_z_first = multiply_adds(model.D_z)
    D_img, D_img_first = multiply_adds(model.D_img)
    total = 3 * E - E_first + 3 * G
    total += 2 * (3 * D_z - D_z_first)  # of z and z_prior
    total += 2 * (3 * D_img - D_img_first)  # of G and image
    total += D_img  # back from the logit of G to G, for G_img_loss
    return 2 * total


def inputs(size_batch):
    random = np.random.RandomState(0)
    image = random.uniform(-1, 1, (size_batch, 128, 128, 3)).astype(np.float32)
    age = labels.one_hot(random.randint(0, 10, size_batch), 10)
    gender = labels.one_hot(random.randint(0, 2, size_batch), 2)
    z_prior = random.uniform(-1, 1, (size_batch, 50)).astype(np.float32)
    return tuple(map(tf.constant, (image, age, gender, z_prior)))


def benchmark_training(result, precision, size_batch, repeats):
    """Add `train.<precision>` to the result; return the model."""
    keras.config.set_dtype_policy(precision)
    model, batch = face_aging.FaceAging(size_batch=size_batch), inputs(size_batch)
    step = seconds(lambda: float(model.train_step(*batch)['EG_loss']), repeats)
    gflops = step_flop(model) * size_batch / step / 1e9
    result['train'][precision] = {
        'faces_per_s': size_batch / step,
        'gflops': gflops,
        'fraction_of_peak': gflops / result['peak'][precision.removeprefix('mixed_')],
    }
    keras.config.set_dtype_policy('float32')
    return model


def benchmark_generation(result, model, repeats):
    images, gender = inputs(10)[0], labels.one_hot([0] * 10, 2)
    result['generation_ms'] = 1e3 * seconds(
        lambda: list(model.generate_ages(model.E(images), gender)), repeats
    )


def benchmark_input(result, size_batch, repeats):
    with tempfile.TemporaryDirectory() as folder:
        draw_faces.draw_data_set(folder, 500)
        paths, ages, genders = labels.list_faces(folder)
        cold = seconds(lambda: pipeline.decode_faces(paths), 1)
        faces = np.repeat(pipeline.decode_faces(paths), 10, axis=0)
    ages, genders = (
        labels.one_hot(np.repeat(ages, 10), 10),
        labels.one_hot(np.repeat(genders, 10), 2),
    )
    order = np.random.RandomState(0).permutation(len(faces))

    def epoch():
        for _ in pipeline.batches(faces, ages, genders, order, size_batch):
            pass

    cached = seconds(epoch, repeats)
    result['input'] = {
        'cold_faces_per_s': len(paths) / cold,
        'cached_faces_per_s': len(faces) // size_batch * size_batch / cached,
    }


def benchmark_summaries(result, model, size_batch, repeats):
    outputs = model.forward(*inputs(size_batch))
    loss = face_aging.losses(inputs(size_batch)[0], outputs)
    z_prior = inputs(size_batch)[3]
    with (
        tempfile.TemporaryDirectory() as folder,
        tf.summary.create_file_writer(folder).as_default(),
    ):
        cost = seconds(lambda: face_aging._summarize(loss, outputs, z_prior, 2e-4, 1), repeats)
    step = size_batch / result['train']['float32']['faces_per_s']
    result['summaries'] = {'ms': 1e3 * cost, 'fraction_of_step': cost / step}


def benchmark_start(result):
    started = time.perf_counter()
    subprocess.run([sys.executable, '-c', FIRST_STEP], check=True, capture_output=True)
    result['start_to_first_step_s'] = time.perf_counter() - started


def table(result):
    """Return the result as lines of text."""
    lines = [f'matrix product  {name:9} {g:9.0f} GFLOP/s' for name, g in result['peak'].items()]
    lines += [
        f'training step   {name:15} {t["faces_per_s"]:8.1f} faces/s {t["gflops"]:8.1f} GFLOP/s '
        f'{t["fraction_of_peak"]:5.2f} of the peak'
        for name, t in result['train'].items()
    ]
    lines += [
        f'generation      10 faces at 10 ages {result["generation_ms"]:8.0f} ms',
        f'input           cold {result["input"]["cold_faces_per_s"]:8.0f} faces/s, '
        f'cached {result["input"]["cached_faces_per_s"]:8.0f} faces/s',
        f'summaries       {result["summaries"]["ms"]:8.1f} ms, '
        f'{result["summaries"]["fraction_of_step"]:.2%} of a step',
        f'start           {result["start_to_first_step_s"]:8.1f} s until the first step',
        f'peak memory     {result["peak_memory_mib"]:8.0f} MiB',
    ]
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', metavar='FILE', help='write the figures there too')
    parser.add_argument('--batch_size', type=int, default=100, help='faces per training step')
    parser.add_argument('--repeats', type=int, default=5, help='of which the median counts')
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=list(PRECISIONS),
        default=['float32'],
        help='float32 is always measured; a processor without bfloat16 takes minutes a step in it',
    )
    args = parser.parse_args()
    on_gpu = bool(tf.config.list_physical_devices('GPU'))
    precisions = ['float32', *(name for name in args.precision if name != 'float32')]
    result = {'batch_size': args.batch_size, 'peak': {}, 'train': {}}
    with tqdm(total=len(precisions) * 2 + 4, unit='part', dynamic_ncols=True) as progress:

        def part(title, function, *arguments):
            progress.set_description(title)
            value = function(*arguments)
            progress.update()
            return value

        for precision in precisions:
            dtype, size = PRECISIONS[precision], 8192 if on_gpu else 2048
            result['peak'][dtype.name] = part(f'peak {dtype.name}', matmul_peak, dtype, size)
        for precision in precisions[::-1]:  # float32 last: its model is used on
            model = part(
                precision, benchmark_training, result, precision, args.batch_size, args.repeats
            )
        part('generation', benchmark_generation, result, model, args.repeats)
        part('input', benchmark_input, result, args.batch_size, args.repeats)
        part('summaries', benchmark_summaries, result, model, args.batch_size, args.repeats)
        part('start', benchmark_start, result)
    result['peak_memory_mib'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(table(result))
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump(result, file, indent=1)


if __name__ == '__main__':
    main()
