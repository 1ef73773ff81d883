"""How fast this machine trains and generates: python -m tests.benchmark [--json FILE] [--profile].

Measures the machine's matrix products and the program in one run: the figures are fractions of what
is possible here, on a GPU if TensorFlow sees one. Medians of a few repeats, for an idle machine.
"""

import argparse
import functools
import json
import os
import pathlib
import platform
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
from PIL import Image
from tqdm import tqdm

import face_aging
from data import labels, pipeline
from init_model import loop
from tests import draw_faces

tf.get_logger().setLevel('ERROR')  # it takes the graphs of profile's layers for a mistake
PRECISIONS = {'float32': tf.float32, 'mixed_bfloat16': tf.bfloat16, 'mixed_float16': tf.float16}
PATIENCE = 60  # seconds of repeats
CPU_FLAGS = 'avx2', 'avx512f', 'avx512_bf16', 'amx_bf16'  # those that decide about the speed
SLOWEST = 12  # layers printed
MAIN = pathlib.Path(face_aging.__file__).with_name('main.py')
FIRST_STEP = """
import sys
from data import pipeline
import numpy as np, face_aging
model = face_aging.FaceAging(size_batch=4)
if sys.argv[1:]:
    pipeline.load_data_set(sys.argv[1], 4, cache=sys.argv[2])
model.train_step(*(np.zeros(s, 'f4') for s in ((4, 128, 128, 3), (4, 10), (4, 2), (4, 50))))
"""


def seconds(function, repeats=5):
    """Return the median wall time of a call, in seconds, after one that is not counted."""
    function()
    times = []
    while len(times) < repeats and sum(times) < PATIENCE:
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def process_seconds(*words):
    """Return the wall time of a Python process, in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - started


def matmul_peak(dtype, size):
    """Return the speed of a matrix product of size x size, in GFLOP/s."""
    a = tf.cast(tf.random.normal([size, size]), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.cast(a @ a, tf.float32)))
    return 2 * size**3 / seconds(lambda: product().numpy()) / 1e9


def cpu():
    """Return the processor's name and those of CPU_FLAGS that it has."""
    path = pathlib.Path('/proc/cpuinfo')  # Linux
    lines = path.read_text().splitlines() if path.exists() else []
    fields = {name.strip(): value.split() for name, _, value in (x.partition(':') for x in lines)}
    name = ' '.join(fields.get('model name', [platform.machine()]))
    return {'model': name, 'flags': [f for f in CPU_FLAGS if f in fields.get('flags', ())]}


def layer_multiply_adds(network):
    """Yield the layers with products, in order, and their multiply-adds for one face, forward."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            places = np.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            places = np.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            places = 1
        else:
            continue
        yield layer, int(places * np.prod(layer.kernel.shape))


def multiply_adds(network):
    """Return the multiply-adds of a forward pass of one face: of all layers, of the first one."""
    counts = [count for _, count in layer_multiply_adds(network)]
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


def benchmark_training(result, precision, sizes, repeats, size_matrix, is_profiled):
    """Add `peak.<type>`, `train.<precision>.<size>` and `layers.<precision>`; return the model."""
    keras.config.set_dtype_policy(precision)
    model = face_aging.FaceAging(size_batch=sizes[-1])
    keras.config.set_dtype_policy('float32')
    dtype, steps = PRECISIONS[precision], {}
    peaks = [matmul_peak(dtype, size_matrix)]
    for size in sizes:
        step = functools.partial(model.train_step, *inputs(size))
        steps[size] = seconds(lambda step=step: float(step()['EG_loss']), repeats)
        peaks.append(matmul_peak(dtype, size_matrix))  # the machine's speed may change meanwhile
    result['peak'][dtype.name] = peak = max(peaks)
    result['train'][precision] = {
        size: {
            'faces_per_s': size / step,
            'gflops': gflops,
            'fraction_of_peak': gflops / peak,
        }
        for size, step in steps.items()
        for gflops in [step_flop(model) * size / step / 1e9]
    }
    if is_profiled:
        result['layers'][precision] = profile(model, sizes[-1], repeats, peak)
    return model


def profile(model, size_batch, repeats, peak):
    """Return the time of each layer, forward pass and gradients, in a step; slowest first.

    Each is measured alone; a step runs the discriminators twice: on z and z_prior, G and the image.
    """
    rows = []
    for network in (model.E, model.G, model.D_z, model.D_img):
        passes = 2 if network in (model.D_z, model.D_img) else 1
        for i, (layer, count) in enumerate(layer_multiply_adds(network)):
            x = tf.random.normal([size_batch, *layer.input.shape[1:]], dtype=layer.compute_dtype)
            # The first layer of a network needs no gradient of its input, but G's, for E.
            has_dx = i > 0 or network is model.G

            def run(x, layer=layer, has_dx=has_dx):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = layer(x)
                sources = layer.trainable_variables + [x] * has_dx
                return [tf.reshape(g, [-1])[0] for g in tape.gradient(y, sources, y)]

            call = functools.partial(tf.function(run), x)
            s = passes * seconds(lambda call=call: list(map(float, call())), repeats)
            gflops = 2e-9 * passes * size_batch * count * (2 + has_dx) / s
            rows.append({'layer': layer.name, 'ms': 1e3 * s, 'fraction_of_peak': gflops / peak})
    return sorted(rows, key=lambda row: -row['ms'])


def benchmark_generation(result, repeats, size_matrix):
    """Add the time of a test grid, and of the program's test of ten faces."""
    model = face_aging.FaceAging(is_training=False)
    images, gender = inputs(10)[0], labels.one_hot([0] * 10, 2)
    grid = seconds(lambda: model.generate_ages(model.encode(images), gender), repeats)
    flop = 2 * (10 * multiply_adds(model.E)[0] + 100 * multiply_adds(model.G)[0])
    fraction = flop / grid / 1e9 / matmul_peak(tf.float32, size_matrix)
    result['generation'] = {'ms': 1e3 * grid, 'fraction_of_peak': fraction}
    with tempfile.TemporaryDirectory() as folder:
        draw_faces.draw_data_set(folder + '/faces', 10)
        model.save_dir = folder
        model.save_checkpoint()
        words = ['--is_train', 'False', '--testdir', folder + '/faces', '--savedir', folder]
        result['test_s'] = statistics.median(process_seconds(MAIN, *words) for _ in range(repeats))


def benchmark_photos(result, repeats):
    """Add the time of demo.photos with a photo of 12 megapixels and two made-up faces."""
    photo = Image.new('RGB', (4000, 3000), 'tan')
    for i, path in enumerate(sorted(MAIN.parent.glob('demo/faces/*'))[:2]):
        face = Image.open(path).convert('RGB').resize((900, 900))
        photo.paste(face, (500 + 1800 * i, 1000))
    with tempfile.TemporaryDirectory() as folder:
        photo.save(folder + '/photo.jpg')
        words = ['-m', 'demo.photos', folder + '/photo.jpg', '--whole_photo', '--out', folder]
        result['photos_s'] = statistics.median(process_seconds(*words) for _ in range(repeats))


def benchmark_input(result, size_batch, repeats):
    with tempfile.TemporaryDirectory() as folder:
        draw_faces.draw_data_set(folder, 500)
        paths, ages, genders = labels.list_faces(folder)
        cold = seconds(lambda: pipeline.decode_faces(paths), 1)
        kept = seconds(lambda: pipeline.decode_faces(paths, cache=folder + '/kept'), repeats)
        faces = np.repeat(pipeline.decode_faces(paths)[0], 10, axis=0)
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
        'kept_faces_per_s': len(paths) / kept,
        'cached_faces_per_s': len(faces) // size_batch * size_batch / cached,
    }


def benchmark_summaries(result, model, size_batch, repeats):
    """Add what a point of the summaries and the progress bar costs, as a fraction of a step."""
    outputs = model.forward(*inputs(size_batch))
    loss = face_aging.losses(inputs(size_batch)[0], outputs)
    del outputs['G']
    outputs['z_prior'] = inputs(size_batch)[3]
    summarize, one = tf.function(loop.write_point), tf.constant(1, tf.int64)

    def report(progress):
        summarize(one, loss, outputs, tf.constant(2e-4))
        values = {name: float(value) for name, value in loss.items()}
        progress.set_postfix_str(loop.SHOWN.format(**values))
        progress.update()

    with (
        tempfile.TemporaryDirectory() as folder,
        tf.summary.create_file_writer(folder).as_default(),
        open(os.devnull, 'w') as nowhere,
        tqdm(file=nowhere) as progress,
    ):
        cost = seconds(lambda: report(progress), 10 * repeats)
    step = size_batch / max(train[size_batch]['faces_per_s'] for train in result['train'].values())
    result['summaries'] = {'ms': 1e3 * cost, 'fraction_of_step': cost / step}


def benchmark_start(result, repeats):
    """Add the start to the first step: without data, with 500 faces, and from their cache."""
    with tempfile.TemporaryDirectory() as folder:
        draw_faces.draw_data_set(folder + '/faces', 500)
        words = '-c', FIRST_STEP, folder + '/faces', folder + '/kept'
        result['start_s'] = {
            'no data': statistics.median(process_seconds(*words[:2]) for _ in range(repeats)),
            '500 faces': process_seconds(*words),
            'their cache': statistics.median(process_seconds(*words) for _ in range(repeats)),
        }


def table(result):
    """Return the result as lines of text."""
    lines = [f'processor       {result["cpu"]["model"]}, {" ".join(result["cpu"]["flags"])}']
    lines += [f'matrix product  {name:9} {g:9.0f} GFLOP/s' for name, g in result['peak'].items()]
    lines += [
        f'training step   {name:15} batch {size:4} {t["faces_per_s"]:8.1f} faces/s '
        f'{t["gflops"]:8.1f} GFLOP/s {t["fraction_of_peak"]:5.2f} of the peak'
        for name, train in result['train'].items()
        for size, t in train.items()
    ]
    for name, rows in result['layers'].items():
        lines.append(f'slowest layers, {name}')
        lines += [
            f'   {t["layer"]:12} {t["ms"]:8.1f} ms a step {t["fraction_of_peak"]:5.2f} of the peak'
            for t in rows[:SLOWEST]
        ]
    lines += [
        f'generation      10 faces at 10 ages {result["generation"]["ms"]:8.0f} ms '
        f'{result["generation"]["fraction_of_peak"]:5.2f} of the peak',
        f'photos          12 megapixels, two faces {result["photos_s"]:7.1f} s',
        f'test            10 faces, both grids {result["test_s"]:7.1f} s',
        f'input           cold {result["input"]["cold_faces_per_s"]:8.0f} faces/s, '
        f'kept in a folder {result["input"]["kept_faces_per_s"]:8.0f} faces/s, '
        f'cached {result["input"]["cached_faces_per_s"]:8.0f} faces/s',
        f'summaries       {result["summaries"]["ms"]:8.1f} ms, '
        f'{result["summaries"]["fraction_of_step"]:.2%} of the fastest step',
        'first step      '
        + ', '.join(f'{what} {s:.1f} s' for what, s in result['start_s'].items()),
        'peak memory     '
        + ', '.join(f'{part} {mib:.0f} MiB' for part, mib in result['peak_memory_mib'].items()),
    ]
    if 'peak_gpu_memory_mib' in result:
        lines.append(f'   on the GPU   {result["peak_gpu_memory_mib"]:8.0f} MiB')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', metavar='FILE', help='write the figures there too')
    parser.add_argument(
        '--batch_size', type=int, nargs='+', default=[25, 100], help='faces per training step'
    )
    parser.add_argument('--profile', action='store_true', help='also measure the layers alone')
    parser.add_argument('--repeats', type=int, default=5, help='of which the median counts')
    on_gpu = bool(tf.config.list_physical_devices('GPU'))
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=list(PRECISIONS),
        default=list(PRECISIONS)[: 3 if on_gpu else 2],
        help='float32 is always measured',
    )
    args = parser.parse_args()
    precisions = ['float32', *(name for name in args.precision if name != 'float32')]
    sizes, largest = sorted(args.batch_size), max(args.batch_size)
    result = {'cpu': cpu(), 'batch_sizes': sizes, 'peak': {}, 'train': {}, 'layers': {}}
    result['peak_memory_mib'] = {}
    with tqdm(total=len(precisions) + 5, unit='part', dynamic_ncols=True) as progress:

        def part(title, function, *arguments):
            progress.set_description(title)
            value = function(result, *arguments)
            # The highest so far, of this process or of one that it started.
            peaks = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            result['peak_memory_mib'][title] = max(peak.ru_maxrss for peak in peaks) / 1024
            progress.update()
            return value

        size_matrix = 8192 if on_gpu else 2048
        # While nothing else is in memory:
        part('generation', benchmark_generation, args.repeats, size_matrix)
        part('photos', benchmark_photos, args.repeats)
        for precision in precisions[::-1]:  # float32 last: its model is used on
            how = precision, sizes, args.repeats, size_matrix, args.profile
            model = part(precision, benchmark_training, *how)
        part('input', benchmark_input, largest, args.repeats)
        part('summaries', benchmark_summaries, model, largest, args.repeats)
        part('start', benchmark_start, args.repeats)
    if on_gpu:
        peak = tf.config.experimental.get_memory_info('GPU:0')['peak']
        result['peak_gpu_memory_mib'] = peak / 2**20
    print(table(result))
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as file:
            json.dump(result, file, indent=1)


if __name__ == '__main__':
    main()
