"""The devices and machines of a training: choosing them, sharing batches, agreeing on steps."""

import contextlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from data.console import InputError, say

# TensorFlow's errors where a worker does not answer.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)

BFLOAT16 = {'avx512_bf16', 'amx_bf16', 'bf16'}  # processors with one of these compute in it


def allow_growth() -> None:
    """Let TensorFlow take a GPU's memory as it is needed, like the original, if not yet in use."""
    for gpu in tf.config.list_physical_devices('GPU'):
        with contextlib.suppress(RuntimeError, ValueError):  # in use, or divided by the caller
            tf.config.experimental.set_memory_growth(gpu, True)


def choose_strategy() -> tf.distribute.Strategy:
    """Choose how a training is spread over devices.

    It uses all machines that TF_CONFIG names, if it is set; else all GPUs, if there are several;
    else TensorFlow's default device. To be called before anything is computed.
    """
    precision = keras.config.dtype_policy().compute_dtype
    if emulates(precision):
        warnings.warn(
            f'This processor emulates {precision} by float32, which is faster alone: take float32.',
            stacklevel=2,
        )
    text = os.environ.get('TF_CONFIG')
    if not text:
        if len(tf.config.list_physical_devices('GPU')) > 1:
            return tf.distribute.MirroredStrategy()
        return tf.distribute.get_strategy()
    try:
        config = json.loads(text)
        task, cluster = config['task'], config['cluster']
        say(f'\tWaiting for the other workers, as {cluster[task["type"]][int(task["index"])]} ...')
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (ValueError, TypeError, AttributeError, LookupError, tf.errors.OpError) as error:
        reason = repr(error).splitlines()[0]
        raise InputError(
            f'TF_CONFIG does not describe machines with this one among them ({reason}): set it as '
            'tests/README.md, "Several machines", shows, or unset it to train on this machine '
            'alone.'
        ) from error


@contextlib.contextmanager
def lost_workers(strategy: tf.distribute.Strategy, folder: str) -> Iterator[None]:
    """Within the block, raise an InputError where another worker is lost that saves to folder."""
    try:
        yield
    except tf.errors.OpError as error:
        if strategy.cluster_resolver is None or not isinstance(error, LOST):
            raise
        reason = error.message.splitlines()[0]
        raise InputError(
            f'Another worker has ended, or the network ({reason}): start all workers again, and '
            f'they go on from the newest checkpoint in {folder}.'
        ) from error


def emulates(precision: str) -> bool:
    """Whether the processor has no instructions for a dtype; a GPU computes in each of them."""
    if precision == 'float32' or tf.config.list_physical_devices('GPU'):
        return False
    known = _processor_flags()
    return precision == 'float16' or (bool(known) and not known & BFLOAT16)


def _processor_flags():
    """Return the set of the processor's abilities, named as in Linux; empty where unknown."""
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            line = re.search(r'^(?:flags|Features)\s*:(.*)', file.read(), re.MULTILINE)
    except OSError:
        return set()
    return {*line[1].split()} if line else set()


def require_equal_shares(strategy: tf.distribute.Strategy, size_batch: int) -> None:
    """Raise an InputError if a batch cannot be divided equally among the devices, two faces each.

    Batch norm subtracts the mean of a device's faces; of one face nothing is left.
    """
    count = strategy.num_replicas_in_sync
    more = max(-(-size_batch // count), 2) * count
    if size_batch < more:
        raise InputError(
            f'A batch of {size_batch} does not give every device ({count} here) the same number of '
            f'faces, two or more for batch norm: take {more}, or another multiple of {count}.',
            batch_size=more,
        )


def share(strategy: tf.distribute.Strategy, value: np.ndarray) -> tf.distribute.DistributedValues:
    """Spread an array [B, ...] over the replicas, in order."""
    size = len(value) // strategy.num_replicas_in_sync

    def of_replica(context):
        first = context.replica_id_in_sync_group * size
        return tf.convert_to_tensor(value[first : first + size])

    return strategy.experimental_distribute_values_from_function(of_replica)


def on_each(strategy: tf.distribute.Strategy, step: Callable) -> Callable:
    """Compile a training step, so that each device does its part of it.

    It is a function from a device's share of a batch to two dicts: losses, which are the same on
    each, see `mean`, and outputs, of which those of this process's devices follow one another.
    """

    @tf.function(autograph=False)
    def compiled(*batch):
        losses, outputs = strategy.run(step, batch)
        local = strategy.experimental_local_results
        losses = {name: local(values)[0] for name, values in losses.items()}
        return losses, {name: tf.concat(local(values), 0) for name, values in outputs.items()}

    return compiled


def mean(values):
    """Return the mean of each of some nested tensors over the devices, in a step of `on_each`."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)


def on_any_worker(strategy: tf.distribute.Strategy, flag: object) -> bool:
    """Whether a flag is set on any worker; all workers must call this at the same step."""
    if strategy.cluster_resolver is None:
        return bool(flag)
    return _sum_over_replicas(strategy, float(bool(flag))) > 0


def meet_workers(strategy: tf.distribute.Strategy, step: int) -> None:
    """Wait for all workers; raise an InputError if they are not at the same step."""
    total, square = (_sum_over_replicas(strategy, value) for value in (step, step**2))
    if total**2 != square * strategy.num_replicas_in_sync:
        raise InputError(
            'The workers found different checkpoints: give all of them the same folder to save to, '
            'on a disk that they share.'
        )


def _sum_over_replicas(strategy, value):
    # NumPy's: TensorFlow caches a tensor per Python number.
    values = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(np.array(value, float))
    )
    return float(strategy.reduce('SUM', values, axis=None))
