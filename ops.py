"""What the networks, their training and the picture grids of CAAE are made of."""

import contextlib
import json
import os
import stat
import sys
import threading
import warnings

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm import tqdm

WEIGHT_STDDEV = 0.02  # of every initial weight, as in DCGAN (Radford et al. 2016, section 4)
ADAM_EPSILON = 1e-8  # TensorFlow 1's default; Keras' own is 1e-7
# Height of the maps up to which a convolution and its gradients are matrix products on a CPU; in
# bfloat16 the gradient of the weights is one up to the second.
SMALL_MAP = 4
SMALL_MAP_BFLOAT16 = 8
SECONDS_A_LINE = 30  # between two lines of progress, where the output is no terminal
LEAK = 0.2  # slope of the leaky ReLU for negative values, as in DCGAN
FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'WEBP')  # Pillow opens others by starting programs
# The largest picture that is decoded. More is a mistake or an attack, not a face.
MAX_PIXELS = 90_000_000
MAX_SIDE = 65_535  # pixels, JPEG's; a resize to a small square takes memory by the side's length
MAX_BYTES = 400_000_000  # of the file: some formats are read into memory whole
LARGE_PICTURE = 16_000_000  # pixels; above, pictures are decoded one at a time
_ONE_LARGE = threading.Lock()
# Pillow's own limit, for pictures that others open: it only warns of what has up to twice of it.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter('ignore', Image.DecompressionBombWarning)
TITLE_BAND = 1 / 6  # height of a title's band above a picture, of the picture's width
TITLE_FONT = 2 / 3  # height of the letters, of the band's: 14 pixels at 128 a face
FRAME_MS, END_FRAME_MS = 100, 800  # how long an animation shows a frame, and its first and last


class InputError(ValueError):
    """What the user gave cannot be used; the message is one sentence that says what to do."""


def plain_warnings():
    """Show warnings to a program's user: what is said, not where in the code."""
    warnings.formatwarning = lambda message, *_, **__: f'\tWarning: {message}\n'


class Stopped(KeyboardInterrupt):
    """A signal ended a training, after a step and a checkpoint.

    Attributes:
        signal: its number.
    """

    def __init__(self, number, message):
        super().__init__(message)
        self.signal = number


class UnreadableError(InputError):
    """A file cannot be read as a picture; `reason` says why, in a few words."""

    def __init__(self, image_path, reason):
        super().__init__(
            f'{image_path} cannot be read as an image ({reason}): replace or remove it.'
        )
        self.reason = reason


# ---------------------------------------------------------------------------------- networks


_draws_weights = True


@contextlib.contextmanager
def zero_weights():
    """Leave the weights of layers made within at 0: drawing those to be restored takes a while."""
    global _draws_weights
    _draws_weights = False
    try:
        yield
    finally:
        _draws_weights = True


def _initial(distribution):
    """Return what draws initial weights from a distribution of Keras', unless they stay 0."""
    return distribution(stddev=WEIGHT_STDDEV) if _draws_weights else keras.initializers.Zeros()


def conv2d(x, num_channels, size_kernel=5, stride=2, name=None):
    """Convolve a map [B, H, W, C] into [B, ceil(H / stride), ceil(W / stride), num_channels]."""
    init = _initial(keras.initializers.TruncatedNormal)
    return _Conv2D(
        num_channels, size_kernel, stride, padding='same', kernel_initializer=init, name=name
    )(x)


def deconv2d(x, num_channels, size_kernel=5, stride=2, name=None):
    """Spread a map [B, H, W, C] into [B, H * stride, W * stride, num_channels], transposed."""
    init = _initial(keras.initializers.RandomNormal)
    return _Conv2DTranspose(
        num_channels, size_kernel, stride, padding='same', kernel_initializer=init, name=name
    )(x)


# On a CPU, TensorFlow's convolutions of the smallest maps run at a tenth to two thirds of the speed
# of a matrix product of the same size, so there they are written as one.


class _Conv2D(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        height = inputs.shape[1]
        if height % 2 or not _is_small(self, height // 2):
            return super().convolution_op(inputs, kernel)

        @tf.custom_gradient
        def conv(x, w):
            return _conv(x, w), lambda dy: (_conv_dx(dy, w), _conv_dw(x, dy))

        return conv(inputs, tf.convert_to_tensor(kernel))


class _Conv2DTranspose(keras.layers.Conv2DTranspose):
    def call(self, inputs):
        if not _is_small(self, inputs.shape[1]):
            return super().call(inputs)

        @tf.custom_gradient
        def deconv(y, w):
            return _conv_dx(y, w), lambda dx: (_conv(dx, w), _conv_dw(dx, y))

        return deconv(inputs, tf.convert_to_tensor(self.kernel)) + self.bias


def _is_small(layer, size_map):
    """Whether a layer, of which the smaller map is given, is one of those written as products."""
    limit = SMALL_MAP_BFLOAT16 if layer.compute_dtype == 'bfloat16' else SMALL_MAP
    return (
        size_map <= limit
        and layer.kernel_size == (5, 5)
        and layer.strides == (2, 2)
        and not tf.config.list_physical_devices('GPU')
    )


def _conv(x, w):
    """x [B, 2H, 2W, I], w [5, 5, I, O] -> y [B, H, W, O]."""
    if x.shape[1] > 2 * SMALL_MAP:
        return tf.nn.conv2d(x, w, 2, 'SAME')
    y = tf.matmul(_patches(x), tf.reshape(w, [-1, w.shape[-1]]))
    return tf.reshape(y, [-1, x.shape[1] // 2, x.shape[2] // 2, w.shape[-1]])


def _conv_dw(x, dy):
    """The gradient of `_conv` with respect to w: every patch of x times its dy."""
    dw = tf.matmul(_patches(x), tf.reshape(dy, [-1, dy.shape[-1]]), transpose_a=True)
    return tf.reshape(dw, [5, 5, x.shape[-1], dy.shape[-1]])


def _patches(x):
    """x [B, 2H, 2W, I] -> [B * H * W, 5 * 5 * I], what each place of `_conv` sees."""
    patches = tf.image.extract_patches(x, [1, 5, 5, 1], [1, 2, 2, 1], [1, 1, 1, 1], 'SAME')
    return tf.reshape(patches, [-1, patches.shape[-1]])


def _conv_dx(dy, w):
    """The gradient of `_conv` with respect to x: every dy spread by w over its patch, summed."""
    height, width, inputs = dy.shape[1], dy.shape[2], w.shape[2]
    if height > SMALL_MAP:
        size_x = [tf.shape(dy)[0], 2 * height, 2 * width, inputs]
        return tf.nn.conv2d_transpose(dy, w, size_x, 2, 'SAME')
    patches = tf.matmul(
        tf.reshape(dy, [-1, dy.shape[-1]]), tf.reshape(w, [-1, w.shape[-1]]), transpose_b=True
    )
    # Tap k of place p lands on x at 2p + k - 1 = 2(p + m - 1) + a, where k + 1 = 2m + a.
    patches = tf.reshape(patches, [-1, height, width, 5, 5, inputs])
    patches = tf.pad(patches, [[0, 0], [0, 0], [0, 0], [1, 0], [1, 0], [0, 0]])
    patches = tf.reshape(patches, [-1, height, width, 3, 2, 3, 2, inputs])  # B, H, W, m, a, n, b, I
    rows = _sum_shifted(tf.transpose(patches, [3, 1, 5, 2, 0, 4, 6, 7]))  # H, n, W, B, a, b, I
    x = _sum_shifted(tf.transpose(rows, [1, 2, 3, 0, 4, 5, 6]))  # W, B, H, a, b, I
    return tf.reshape(tf.transpose(x, [1, 2, 3, 0, 4, 5]), [-1, 2 * height, 2 * width, inputs])


def _sum_shifted(x):
    """Sum x [3, N, ...] to y [N, ...]: y[i] = x[0, i + 1] + x[1, i] + x[2, i - 1], 0 beyond."""
    count, rest = x.shape[1], tf.shape(x)[2:]
    # Rows of N + 3 that are read as rows of N + 2 move by one place each.
    x = tf.pad(x, [[0, 0], [0, 3], *[[0, 0]] * (len(x.shape) - 2)])
    x = tf.reshape(x, tf.concat([[3 * (count + 3)], rest], 0))[: 3 * (count + 2)]
    x = tf.reshape(x, tf.concat([[3, count + 2], rest], 0))
    return tf.reduce_sum(x, 0)[1 : count + 1]


def fc(x, num_outputs, name=None):
    """Connect every input of [B, C] with every output of [B, num_outputs]."""
    init = _initial(keras.initializers.RandomNormal)
    return keras.layers.Dense(num_outputs, kernel_initializer=init, name=name)(x)


class _BatchNorm(keras.layers.BatchNormalization):
    """Keras' layer without its moving averages, which the original never updated.

    A single operation: of its parts the gradient would be a sum of three, see `fork`.
    """

    def call(self, inputs, training=False):
        if not training:
            return super().call(inputs, training=False)
        x = inputs if len(inputs.shape) == 4 else inputs[:, None, None, :]
        # Near the mean, where rounding errors of the sums are small (250 times for flat faces).
        x -= tf.stop_gradient(tf.reduce_mean(x[:1], [0, 1, 2]))
        y = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.ones_like(self.beta),
            offset=self.beta,
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        ).y
        return tf.reshape(y, tf.shape(inputs))


def batch_norm(x, name=None):
    """Normalise each channel by the batch's statistics while training; offset beta, no scale.

    The moving statistics stay where they are, at 0 and 1: the original never used a discriminator
    outside training. Where a batch is spread over devices, each normalises its share.
    """
    return _BatchNorm(epsilon=0.001, scale=False, dtype='float32', name=name)(x)


def fork(x, count):
    """Return x `count` times, for as many uses, whose gradients are added in this order.

    TensorFlow adds three or more gradients of one tensor in the order in which their buffers
    become free, so that the last bits of a sum vary from step to step.
    """

    @tf.custom_gradient
    def copies(x):
        return [tf.identity(x) for _ in range(count)], lambda *dy: tf.reduce_sum(tf.stack(dy), 0)

    return copies(x)


def tanh(x):
    """tanh, in float32 whatever the layers compute in."""
    return keras.ops.tanh(keras.ops.cast(x, 'float32'))


def logit(x, name=None):
    """Connect every input of [B, C] with a logit [B, 1], float32."""
    return keras.ops.cast(fc(x, 1, name=name), 'float32')


def lrelu(x):
    """max(x, LEAK * x)."""
    return keras.ops.leaky_relu(x, LEAK)


def flatten(x):
    """[B, ...] -> [B, product of the rest], rows first (NHWC)."""
    return keras.layers.Flatten()(x)


def concat_label(x, label, duplicate=1):
    """Append a label [B, L], tiled `duplicate` times, to the channels of [B, C] or [B, H, W, C]."""
    label = keras.ops.tile(label, [1, duplicate])
    if len(x.shape) == 4:  # the same label at every place of the map
        height, width = x.shape[1:3]
        label = keras.ops.tile(label[:, None, None, :], [1, height, width, 1])
    return keras.ops.concatenate([x, label], axis=-1)


# ---------------------------------------------------------------------------------- training


class _Adam(keras.optimizers.Adam):
    """Adam by TensorFlow's one kernel for it, the original's, in place of Keras' dozen.

    It takes gradients that are the mean over all replicas; each replica updates its own copy.
    """

    def _backend_update_step(self, gradients, variables, learning_rate):
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def adam(name):
    """Adam as the original's; where the layers compute in float16, it scales its loss."""
    optimizer = _Adam(epsilon=ADAM_EPSILON, name=name)
    if keras.config.dtype_policy().compute_dtype == 'float16':
        return keras.optimizers.LossScaleOptimizer(optimizer, name=f'{name}_scale')
    return optimizer


def allow_growth():
    """Take a GPU's memory as it is needed, not all at once; the original does so, too.

    To be called before anything is computed; later it changes nothing.
    """
    for gpu in tf.config.list_physical_devices('GPU'):
        with contextlib.suppress(RuntimeError, ValueError):  # in use, or divided by the caller
            tf.config.experimental.set_memory_growth(gpu, True)


def distribution():
    """Return the tf.distribute.Strategy for what training may use.

    With TF_CONFIG set all machines that it names, with more than one GPU all of them, else the
    one device that TensorFlow takes by default. To be called before anything is computed.

    Raises:
        InputError: TF_CONFIG does not say which machines there are and which one this is.
    """
    text = os.environ.get('TF_CONFIG')
    if text:
        try:
            config = json.loads(text)
            task, cluster = config['task'], config['cluster']
            cluster[task['type']][int(task['index'])]
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, TypeError, KeyError, IndexError, tf.errors.OpError) as error:
            reason = repr(error).splitlines()[0]
            raise InputError(
                f'TF_CONFIG does not describe machines with this one among them ({reason}): set it '
                'as README, "How fast", shows, or unset it to train on this machine alone.'
            ) from error
    if len(tf.config.list_physical_devices('GPU')) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy):
    """Whether this process writes files: of several machines' only the first one does."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type == 'chief':
        return True
    return resolver.task_id == 0 and 'chief' not in resolver.cluster_spec().jobs


def share(strategy, value):
    """Spread an array [B, ...] over the replicas, in order."""
    size = len(value) // strategy.num_replicas_in_sync

    def of_replica(context):
        first = context.replica_id_in_sync_group * size
        return tf.convert_to_tensor(value[first : first + size])

    return strategy.experimental_distribute_values_from_function(of_replica)


def on_any_worker(strategy, flag):
    """Whether a flag is set on any of the workers, all of which ask at the same step."""
    if strategy.cluster_resolver is None:
        return bool(flag)
    return _sum_over_replicas(strategy, float(bool(flag))) > 0


def meet_workers(strategy, step):
    """Wait for all workers; raise an InputError if they are not at the same step."""
    total, square = (_sum_over_replicas(strategy, value) for value in (step, step**2))
    if total**2 != square * strategy.num_replicas_in_sync:
        raise InputError(
            'The workers found different checkpoints: give all of them the same --savedir, on a '
            'disk that they share.'
        )


def _sum_over_replicas(strategy, value):
    """Return the sum of what each replica has for a value, a float."""
    values = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(np.array(value, float))  # not Python's, which TensorFlow would keep
    )
    return float(strategy.reduce('SUM', values, axis=None))


def require_finite(values, when, checkpoints):
    """Raise a FloatingPointError that names the first of some values that is not finite.

    Args:
        values: dict from names to numbers or arrays.
        when: of them, in words.
        checkpoints: names of those to go on from, oldest first.
    """
    for name, value in values.items():
        if not np.isfinite(value).all():
            what = 'not finite everywhere' if np.ndim(value) else value
            origin = f' from the last checkpoint, {checkpoints[-1]},' if checkpoints else ''
            raise FloatingPointError(
                f'{name} is {what} {when}: start again{origin} with a smaller --learning_rate, or '
                'with --precision float32.'
            )


def say(text, file=None):
    """Print a line, on standard output by default; from when nobody reads it any more, none.

    So a training saves its step when Ctrl-C ends a `tee` behind it, too.
    """
    file = file or sys.stdout
    try:
        print(text, file=file, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


class Progress(tqdm):
    """tqdm's bar on standard error; where that is no terminal, a plain line now and then."""

    line = (
        '{desc}: {percentage:.0f}%, {n_fmt}/{total_fmt}, {elapsed} gone, {remaining} left{postfix}'
    )
    shown = None

    def __init__(self, *args, **settings):
        self.is_plain = not sys.stderr.isatty()
        if self.is_plain:
            settings = {'mininterval': SECONDS_A_LINE, 'bar_format': self.line, **settings}
        super().__init__(*args, dynamic_ncols=True, **settings)

    def display(self, msg=None, pos=None):
        if not self.is_plain:
            return super().display(msg, pos)
        if msg is None and self.n != self.shown:
            say(self, sys.stderr)
            self.shown = self.n
        return False  # nothing is there to be cleared

    def close(self):
        if self.is_plain and not self.disable:
            self.refresh()
            self.leave = False  # no empty line after it
        super().close()


# ---------------------------------------------------------------------------------- pictures


@contextlib.contextmanager
def open_picture(image_path, is_gray=False, as_seen=False):
    """Decode a picture; while a large one is in use, no other is decoded.

    Args:
        image_path: a file of any of FORMATS, whatever its name; of an animation, the first frame.
        is_gray: True for luminance, False for RGB. Transparency is dropped. Grey of 16 bits is
            stretched over the 8, so that the darkest becomes 0 and the brightest 255.
        as_seen: turn it as its EXIF data say, and show transparency white.

    Yields:
        PIL image of mode L or RGB.

    Raises:
        UnreadableError: the file is missing, damaged, no picture or too large.
    """
    mode = 'L' if is_gray else 'RGB'
    with contextlib.ExitStack() as stack:
        try:
            if not stat.S_ISREG(os.stat(image_path).st_mode):  # a pipe would be waited for
                raise ValueError('no file')
            if os.path.getsize(image_path) > MAX_BYTES:
                raise ValueError(f'more than {MAX_BYTES:,} bytes')
            with Image.open(image_path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                    raise Image.DecompressionBombError
                if width * height > LARGE_PICTURE:
                    stack.enter_context(_ONE_LARGE)
                image.load()
            if as_seen:
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith('I'):
                image = _from_16_bits(image)
            if as_seen and image.has_transparency_data:
                image = image.convert('RGBA')
                image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
            if image.mode != mode:
                image = image.convert(mode)
        except Exception as error:  # Pillow's decoders raise almost anything on damaged data
            raise UnreadableError(image_path, _reason(error)) from error
        yield image


def _reason(error):
    """Return in a few words why a picture cannot be read."""
    if isinstance(error, Image.UnidentifiedImageError):
        return 'no picture of a known format'
    if isinstance(error, Image.DecompressionBombError):
        return f'more than {MAX_PIXELS:,} pixels, or than {MAX_SIDE:,} on a side'
    text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return text.splitlines()[0]


def _from_16_bits(image):
    """Stretch grey of 16 bits over 8; Pillow's own conversion makes white of all above 255."""
    pixels = np.asarray(image)
    low, high = int(pixels.min()), int(pixels.max())
    return Image.fromarray(_stretch(np.arange(low, high + 1), low, high)[pixels - low])


def _stretch(values, low, high):
    """Scale values so that those from low to high become 0 to 255, rounding half up; uint8."""
    span = max(high - low, 1)
    return (((values - low) * 510 + span) // (2 * span)).clip(0, 255).astype(np.uint8)


def read_face(image_path, image_size=128, is_gray=False):
    """Read a picture as the original did, in 8 bits.

    Its values are stretched so that the darkest becomes 0 and the brightest 255 (a side effect
    of `scipy.misc.imresize` that the published weights were trained on), then it is resized
    with antialiasing, without regard to its aspect ratio.

    Args:
        image_path, is_gray: as `open_picture` takes them.
        image_size: S, the height and width of the result.

    Returns:
        uint8 array [S, S], or [S, S, 3] in colour.

    Raises:
        UnreadableError: as `open_picture`.
    """
    with open_picture(image_path, is_gray) as image:
        return to_face(image, image_size)


def to_face(image, image_size=128):
    """Stretch and resize a PIL image of mode L or RGB as `read_face` does; return the array."""
    extrema = np.ravel(image.getextrema()).tolist()
    table = _stretch(np.arange(256), min(extrema), max(extrema)).tolist()
    image = image.point(table * len(image.getbands()))
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BILINEAR))


def load_image(image_path, image_size=64, image_value_range=(-1, 1), is_gray=False):
    """Read a picture as `read_face` does, scaled linearly to `image_value_range`.

    Returns:
        float32 array [S, S], or [S, S, 3] in colour, S = image_size.

    Raises:
        UnreadableError: as `open_picture`.
    """
    low, high = image_value_range
    return read_face(image_path, image_size, is_gray).astype(np.float32) * (high - low) / 255 + low


def image_grid(batch_images, image_value_range=(-1, 1), size_frame=None):
    """Lay images out in rows, from the top left.

    Args:
        batch_images: array [N, H, W, C] within image_value_range.
        image_value_range: (value of black, value of white).
        size_frame: (rows, columns); by default as near to a square as N allows.

    Returns:
        uint8 array [rows * H, columns * W, C]; places without an image are black.
    """
    low, high = image_value_range
    pixels = (np.asarray(batch_images, np.float32) - low) * (255 / (high - low))
    pixels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    count, height, width, channels = pixels.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows, columns = size_frame or (-(-count // columns), columns)
    frame = np.zeros([rows * columns, height, width, channels], np.uint8)
    frame[:count] = pixels
    frame = frame.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return frame.reshape(rows * height, columns * width, channels)


def save_batch_images(batch_images, save_path, image_value_range=(-1, 1), size_frame=None):
    """Write images [N, H, W, C] as one picture, laid out as by `image_grid`; return its pixels."""
    grid = image_grid(batch_images, image_value_range, size_frame)
    picture = Image.fromarray(grid.squeeze(-1) if grid.shape[-1] == 1 else grid)
    # Of png the usual level, 6, takes six times as long for a seventh less.
    picture.save(save_path, compress_level=1)
    return grid


def titled(images, titles, image_value_range=(-1, 1)):
    """Put a title above each image, black on white.

    Args:
        images: array [N, H, W, C] within image_value_range.
        titles: N strings or numbers.
        image_value_range: (value of black, value of white).

    Returns:
        uint8 array [N, H + TITLE_BAND * W, W, C].
    """
    images = np.asarray(images)
    pixels = image_grid(images, image_value_range, size_frame=(len(images), 1))
    pixels = pixels.reshape(images.shape)
    width = pixels.shape[2]
    height = round(width * TITLE_BAND)
    font = ImageFont.load_default(height * TITLE_FONT)
    bands = []
    for title in titles:
        band = Image.new('L', (width, height), 'white')
        ImageDraw.Draw(band).text((width / 2, height / 2), str(title), 'black', font, anchor='mm')
        bands.append(np.asarray(band))
    bands = np.repeat(np.stack(bands)[..., None], pixels.shape[3], axis=3)
    return np.concatenate([bands, pixels], axis=1)


def save_strip(images, titles, save_path):
    """Write images [N, H, W, C] in [-1, 1] as one row, each `titled`; return its pixels."""
    return save_batch_images(titled(images, titles), save_path, (0, 255), (1, len(images)))


def save_gif(images, titles, save_path):
    """Write images [N, H, W, C] in [-1, 1], each `titled`, as an endless animation, to and fro."""
    frames = titled(images, titles)
    frames = frames.squeeze(-1) if frames.shape[-1] == 1 else frames
    # The colours that fit all frames best, which a quarter of the pixels shows as well; with others
    # bright skin falls into patches. They need no mixing, which would flicker and take half as much
    # space again.
    palette = Image.fromarray(np.concatenate(frames[:, ::2, ::2])).convert('RGB')
    palette = palette.quantize(256, kmeans=1)
    frames = [
        Image.fromarray(frame).convert('RGB').quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    durations = [FRAME_MS] * len(frames)
    durations[0] = durations[-1] = END_FRAME_MS
    frames, durations = frames + frames[-2:0:-1], durations + durations[-2:0:-1]
    frames[0].save(
        save_path, 'GIF', save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
