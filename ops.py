"""The parts of CAAE's networks, its optimizer, and its picture grids."""

import contextlib
import contextvars
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence

import imageio.v3 as iio
import keras
import numpy as np
import tensorflow as tf

from data import console, devices, pictures

Tensor = tf.Tensor | keras.KerasTensor
Numbers = np.ndarray | tf.Tensor | Sequence | float

WEIGHT_STDDEV = 0.02  # of initial weights, as in DCGAN (Radford et al. 2016, section 4)
ADAM_EPSILON = 1e-8  # TensorFlow 1's default; Keras' own is 1e-7
# Height of the maps up to which a convolution and its gradients are matrix products on a CPU; in
# bfloat16 the gradient of the weights is one up to the second.
SMALL_MAP = 4
SMALL_MAP_BFLOAT16 = 8
PACKAGE = 'CAAE'  # of our layers' names in a file that Keras saves
LEAK = 0.2  # slope of the leaky ReLU for negative values, as in DCGAN


# ---------------------------------------------------------------------------------- networks


# Whether layers draw initial weights; each thread has its own answer.
_draws_weights = contextvars.ContextVar('draws_weights', default=True)


@contextlib.contextmanager
def zero_weights() -> Iterator[None]:
    """Leave the weights of layers made within at 0: drawing those to be restored takes a while."""
    token = _draws_weights.set(False)
    try:
        yield
    finally:
        _draws_weights.reset(token)


def _initial(distribution):
    """Return what draws initial weights from a distribution of Keras', unless they stay 0."""
    return distribution(stddev=WEIGHT_STDDEV) if _draws_weights.get() else 'zeros'


def conv2d(
    x: Tensor, num_channels: int, size_kernel: int = 5, stride: int = 2, name: str | None = None
) -> Tensor:
    """Convolve a map [B, H, W, C] into [B, ceil(H / stride), ceil(W / stride), num_channels]."""
    init = _initial(keras.initializers.TruncatedNormal)
    return _Conv2D(num_channels, size_kernel, stride, 'same', kernel_initializer=init, name=name)(x)


def deconv2d(
    x: Tensor,
    num_channels: int,
    size_kernel: int = 5,
    stride: int = 2,
    name: str | None = None,
    dtype: str | None = None,
) -> Tensor:
    """Spread a map [B, H, W, C] into [B, H * stride, W * stride, num_channels], transposed.

    dtype is that of the computation; by default Keras' policy tells it.
    """
    init = _initial(keras.initializers.RandomNormal)
    layer = _Conv2DTranspose(
        num_channels, size_kernel, stride, 'same', kernel_initializer=init, name=name, dtype=dtype
    )
    return layer(x)


def fc(x: Tensor, num_outputs: int, name: str | None = None, dtype: str | None = None) -> Tensor:
    """Connect every input of [B, C] with every output of [B, num_outputs]."""
    init = _initial(keras.initializers.RandomNormal)
    return _Dense(num_outputs, kernel_initializer=init, name=name, dtype=dtype)(x)


@keras.saving.register_keras_serializable(PACKAGE, 'Conv2D')
class _Conv2D(keras.layers.Conv2D):
    def call(self, inputs):
        height = inputs.shape[1]
        is_small = not height % 2 and _is_small(self, height // 2)
        return _affine(self, _conv_by_products if is_small else self.convolution_op, inputs)


@keras.saving.register_keras_serializable(PACKAGE, 'Conv2DTranspose')
class _Conv2DTranspose(keras.layers.Conv2DTranspose):
    def call(self, inputs):
        is_small = _is_small(self, inputs.shape[1])
        return _affine(self, _deconv_by_products if is_small else self._deconv, inputs)

    def _deconv(self, x, kernel):
        return keras.ops.conv_transpose(x, kernel, list(self.strides), self.padding)


@keras.saving.register_keras_serializable(PACKAGE, 'Dense')
class _Dense(keras.layers.Dense):
    def call(self, inputs):
        return _affine(self, tf.matmul, inputs)


def _affine(layer, product, x):
    """Return product(x, kernel) + bias of a layer, in the dtype that it computes in."""
    kernel = tf.convert_to_tensor(layer.kernel)
    bias = tf.convert_to_tensor(layer.bias)
    if layer.compute_dtype == 'float32':
        return tf.nn.bias_add(product(x, kernel), bias)
    if not devices.emulates(layer.compute_dtype):
        return _add_bias(product(x, kernel), bias)
    # As the processors do that have such a dtype: round the operands and the result, not the sums.
    # TensorFlow's own emulation rounds these too, and takes ten times as long.
    y = product(tf.cast(x, tf.float32), tf.cast(kernel, tf.float32))
    return _add_bias(tf.cast(y, layer.compute_dtype), bias)


@tf.custom_gradient
def _add_bias(y, bias):
    """Add a bias [C] to y [B, ..., C], both of 16 bits.

    The gradient of TensorFlow's own BiasAdd is added up in 16 bits on a CPU: in bfloat16 a sum of
    ones ends at 256.
    """
    return tf.nn.bias_add(y, bias), lambda dy: (dy, tf.cast(_sum_channels(dy), bias.dtype))


def _sum_channels(x):
    """Sum x [B, ..., C], of 16 bits, over all axes but the last: float32 [C]."""
    count = 1
    if len(x.shape) == 4 and not devices.emulates(x.dtype.name):
        # The means of small windows leave a sixteenth of the numbers to be converted.
        window = [math.gcd(size, 4) for size in x.shape[1:3]]
        count = math.prod(window)
        x = tf.nn.avg_pool2d(x, window, window, 'VALID')
    return count * tf.reduce_sum(tf.cast(x, tf.float32), range(len(x.shape) - 1))


# On a CPU, TensorFlow's convolutions of the smallest maps run at a tenth to two thirds of the speed
# of a matrix product of the same size, so there they are written as one.


@tf.custom_gradient
def _conv_by_products(x, w):
    return _conv(x, w), lambda dy: (_conv_dx(dy, w), _conv_dw(x, dy))


@tf.custom_gradient
def _deconv_by_products(y, w):
    return _conv_dx(y, w), lambda dx: (_conv(dx, w), _conv_dw(dx, y))


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


@keras.saving.register_keras_serializable(PACKAGE, 'BatchNorm')
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


def batch_norm(x: Tensor, name: str | None = None) -> Tensor:
    """Normalise each channel by the batch's statistics while training; offset beta, no scale.

    The moving statistics stay where they are, at 0 and 1: the original never used a discriminator
    outside training. Where a batch is spread over devices, each normalises its share.
    """
    return _BatchNorm(epsilon=0.001, scale=False, dtype='float32', name=name)(x)


def fork(x: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Return x `count` times, for as many uses, whose gradients are added in this order.

    TensorFlow adds three or more gradients of one tensor in the order in which their buffers
    become free, so that the last bits of a sum vary from step to step.
    """

    @tf.custom_gradient
    def copies(x):
        return [tf.identity(x) for _ in range(count)], lambda *dy: tf.reduce_sum(tf.stack(dy), 0)

    return copies(x)


def lrelu(x: Tensor) -> Tensor:
    """max(x, LEAK * x)."""
    return keras.ops.leaky_relu(x, LEAK)


def concat_label(x: Tensor, label: Tensor, duplicate: int = 1) -> Tensor:
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
        step = tf.cast(self.iterations + 1, tf.float32)
        shared = {  # made once: a graph is traced in proportion to its parts
            'beta1_power': tf.pow(self.beta_1, step),
            'beta2_power': tf.pow(self.beta_2, step),
            'lr': learning_rate,
            'beta1': tf.constant(self.beta_1),
            'beta2': tf.constant(self.beta_2),
            'epsilon': tf.constant(self.epsilon),
        }
        for gradient, variable in zip(gradients, variables, strict=True):
            index = self._get_variable_index(variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                grad=gradient,
                **shared,
            )


def adam(name: str) -> keras.optimizers.Optimizer:
    """Adam as the original's; where the layers compute in float16, it scales its loss."""
    optimizer = _Adam(epsilon=ADAM_EPSILON, name=name)
    if keras.config.dtype_policy().compute_dtype == 'float16':
        return keras.optimizers.LossScaleOptimizer(optimizer, name=f'{name}_scale')
    return optimizer


def require_finite(values: Mapping[str, Numbers], when: str, checkpoints: Sequence[str]) -> None:
    """Raise a FloatingPointError that names the first of the values that is not finite, and when.

    It names the last of the checkpoints, too: one can go on from it.
    """
    for name, value in values.items():
        if not np.isfinite(value).all():
            what = 'not finite everywhere' if np.ndim(value) else value
            origin = f' from the last checkpoint, {checkpoints[-1]},' if checkpoints else ''
            raise FloatingPointError(
                f'{name} is {what} {when}: start again{origin} with a smaller learning rate, or, '
                'after 16 bits, in float32.'
            )


# ---------------------------------------------------------------------------------- pictures


def load_image(
    image_path: str | os.PathLike,
    image_size: int = 64,
    image_value_range: tuple[float, float] = (-1, 1),
    is_gray: bool = False,
) -> np.ndarray:
    """Read a picture as `pictures.read_face` does, scaled linearly to `image_value_range`.

    Returns a float32 array [S, S], or [S, S, 3] in colour, S = image_size.
    """
    low, high = image_value_range
    face = pictures.read_face(image_path, image_size, is_gray)
    return face.astype(np.float32) * (high - low) / 255 + low


def image_grid(
    batch_images: Numbers,
    image_value_range: tuple[float, float] = (-1, 1),
    size_frame: tuple[int, int] | None = None,
) -> np.ndarray:
    """Lay images [N, H, W, C], or [rows, columns, H, W, C], out in rows, from the top left.

    image_value_range holds the values of black and white; size_frame, (rows, columns), is by
    default as near to a square as N allows. Returns uint8 [rows * H, columns * W, C]; places
    without an image are black.
    """
    low, high = image_value_range
    pixels = np.asarray(batch_images, np.float32) - low
    pixels *= 255 / (high - low)  # in place: a page of faces is large
    pixels = pixels.round(out=pixels).clip(0, 255, out=pixels).astype(np.uint8)
    if pixels.ndim == 5:
        size_frame, pixels = pixels.shape[:2], pixels.reshape(-1, *pixels.shape[2:])
    count, height, width, channels = pixels.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows, columns = size_frame or (-(-count // columns), columns)
    frame = np.zeros([rows * columns, height, width, channels], np.uint8)
    frame[:count] = pixels
    frame = frame.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return frame.reshape(rows * height, columns * width, channels)


def save_batch_images(
    batch_images: Numbers,
    save_path: str | os.PathLike,
    image_value_range: tuple[float, float] = (-1, 1),
    size_frame: tuple[int, int] | None = None,
) -> np.ndarray:
    """Write images [N, H, W, C] as one picture, laid out as by `image_grid`; return its pixels."""
    grid = image_grid(batch_images, image_value_range, size_frame)
    picture = grid.squeeze(-1) if grid.shape[-1] == 1 else grid
    # Made in memory: with a file on a full disk, imageio prints a traceback of its own.
    # The usual compression level, 6, takes six times as long and saves a seventh of the size; to
    # look for what repeats takes up to half as long again and saves nothing, in faces.
    suffix = os.path.splitext(save_path)[1]
    how = {'compress_level': 1, 'compress_type': zlib.Z_HUFFMAN_ONLY}
    data = iio.imwrite('<bytes>', picture, extension=suffix, plugin='pillow', **how)
    with console.naming(save_path), open(save_path, 'wb') as file:
        file.write(data)
    return grid
