"""The loop of a training: its epochs, what it reports and writes, when it saves and stops."""

import math
import os
import re
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import ops
from data import devices, pipeline
from data.console import Progress
from init_model import checkpoints, savedir

SAVE_EVERY = 5  # epochs between two checkpoints
FETCH_EVERY = 0.5  # seconds; fetch losses at most this often: each fetch stalls the GPU
# How the losses of a step are shown, in the original's order.
SHOWN = (
    'EG_err {EG_loss:.4f} TV {tv_loss:.4f} / '
    'Ez {E_z_loss:.4f} Dz {D_z_loss_z:.4f} Dzp {D_z_loss_prior:.4f} / '
    'Gi {G_img_loss:.4f} Di {D_img_loss_input:.4f} DiG {D_img_loss_G:.4f}'
)
LOSSES = tuple(re.findall(r'{(\w+):', SHOWN))  # their names, in that order
RATE = 'EG_learning_rate'
FINISHED = (
    '\n\tThis training is finished, {} epochs are done. To go on, ask for more epochs; to start '
    'over, save to another folder.'
)


class TrainingLoop:
    """Trains a model epoch by epoch; reports and saves its run, and stops it at a signal.

    Args:
        model: a FaceAging; `run` is its state.
        data: (faces, ages, genders), as `pipeline.batches` takes them.
        num_epochs: to be trained in all.
        schedule: function from the number of steps taken to the learning rate.
        enable_shuffle: whether to shuffle the faces before each epoch.
    """

    def __init__(
        self, model, data: tuple, num_epochs: int, schedule: Callable, enable_shuffle: bool
    ):
        self._model = model
        self._run = model.run
        self._data = data
        self._num_epochs = num_epochs
        self._schedule = schedule
        self._enable_shuffle = enable_shuffle
        self._count = model.run.order.num_batches  # of an epoch
        faces, ages, genders = data
        shown, images = pipeline.take(faces, model.run.order.samples)
        self._samples = pipeline.to_float(images), ages[shown], genders[shown]
        self._write_point = tf.function(write_point, autograph=False)
        self._pending = []  # steps whose losses a GPU may still be computing

    def run(self) -> None:
        """Train until `num_epochs` are done in all.

        Raises:
            InputError: the disk has no room, or the faces can no longer be read.
            FloatingPointError: a loss or a weight is not finite.
            Stopped: on a signal, after the step and a checkpoint.
        """
        model = self._model
        variables = model.named_variables.values()
        savedir.say_and_log(
            f'\n\tTraining from epoch {self._run.epoch + 1} to {self._num_epochs}: '
            f'{len(self._data[0])} faces, {self._count} batches of {model.size_batch}, '
            f'{sum(math.prod(v.shape) for v in variables):,} parameters, {model.precision}, on '
            + ', '.join(device.name for device in tf.config.list_logical_devices())
        )
        size = checkpoints.size_of(model.saved_variables())
        summary = savedir.open_summary(model.save_dir, self._run, size, model.is_chief)
        with summary, savedir.signals() as self._received:
            while self._run.epoch < self._num_epochs:
                self._train_epoch()
                self._end_epoch()

    def _train_epoch(self):
        """Train on the batches that are left in this epoch."""
        model, run = self._model, self._run
        faces, ages, genders = self._data
        order = run.order.rest_of_epoch(self._enable_shuffle, run.epoch)
        batches = pipeline.distributed_batches(
            model.strategy, faces, ages, genders, order, model.size_batch
        )
        if not run.order.done:
            run.totals.clear()
        title = f'Epoch {run.epoch + 1}/{self._num_epochs}'
        self._bar = Progress(batches, title, self._count, initial=run.order.done, unit='batch')
        self._fetched = time.monotonic()
        with self._bar as bar, pipeline.own_errors(faces):
            for image, age, gender in bar:
                self._set_learning_rate()
                z_prior = run.order.z_prior(model.num_z_channels)
                batch = image, age, gender, devices.share(model.strategy, z_prior)
                self._write_graph(batch)
                loss, outputs = model.train_step(*batch, with_outputs=True)
                self._end_step(loss, {**outputs, 'z_prior': z_prior})

    def _set_learning_rate(self):
        """Set the learning rate of the next step."""
        with tf.device('CPU:0'):  # else it would wait for the GPU's last step
            self._rate = float(self._schedule(np.int64(self._run.step)))
        for optimizer in self._model.optimizers:
            optimizer.learning_rate = self._rate

    def _write_graph(self, batch):
        """Write the graph of a training step for TensorBoard, before the first step of a model."""
        if not self._run.step and not tf.config.functions_run_eagerly():
            step = self._model.update_on_each_device.get_concrete_function(*batch)
            with self._summary_only():
                tf.summary.graph(step.graph)

    def _end_step(self, losses, outputs):
        """Count a step; save or stop if it is time to, unless it was the epoch's last.

        Args:
            losses: dict of tensors, fetched as numbers now and then and at the epoch's end.
            outputs: dict of tensors, shown as histograms.
        """
        self._run.count_batch()
        # TensorFlow caches a tensor per Python number; NumPy scalars avoid the leak.
        point = np.int64(self._run.step), losses, outputs, np.float32(self._rate)
        self._pending.append(point)
        is_last = self._run.order.done == self._count  # then the epoch is ended first
        if is_last or time.monotonic() - self._fetched > FETCH_EVERY:
            self._fetch()
        if not is_last:
            self._save_or_stop(self._is_step_due())

    def _end_epoch(self):
        """Count an epoch; report its mean losses and show the samples; save or stop if due."""
        run, model = self._run, self._model
        mean = {name: value / run.order.done for name, value in run.totals.items()}
        speed = model.size_batch / mean.pop('seconds')
        text = f'{SHOWN.format(**mean)} on average, {speed:.1f} faces/s'
        savedir.say_and_log(f'Epoch {run.epoch + 1}/{self._num_epochs}: {text}')
        run.count_epoch()
        if model.is_chief:
            self._show_samples()
            row = {
                'epoch': run.epoch,
                'step': run.step,
                **{name: f'{mean[name]:.6f}' for name in LOSSES},
                RATE: f'{self._rate:.6g}',  # of the last step
                'seconds': f'{run.totals["seconds"]:.1f}',
                'faces_per_second': f'{speed:.2f}',
            }
            savedir.add_to_history(model.save_dir, row)
        is_due = run.epoch % SAVE_EVERY == 0 or run.epoch == self._num_epochs
        self._save_or_stop(is_due or self._is_step_due())

    def _is_step_due(self):
        return self._run.step % self._model.checkpoint_steps == 0

    def _fetch(self):
        """Wait for the losses of all steps; write their points, sum them up, show the last.

        Raises:
            FloatingPointError: a loss is not finite.
        """
        if not self._pending:
            return
        for step, losses, outputs, rate in self._pending:
            values = {name: float(value) for name, value in losses.items()}
            ops.require_finite(values, f'at step {step}', self._run.kept)
            if step % self._model.summary_steps == 0:
                with self._summary_only():
                    self._write_point(step, losses, outputs, rate)
            self._run.totals.update(values)
        self._pending.clear()
        run = self._run
        now = time.monotonic()
        run.totals['seconds'] += now - self._fetched
        self._fetched = now
        left = (self._num_epochs - run.epoch) * self._count - run.order.done  # batches
        left = Progress.format_interval(left * run.totals['seconds'] / run.order.done)
        self._bar.set_postfix_str(f'{left} left in all, {SHOWN.format(**values)}')

    def _show_samples(self):
        """Write the samples' reconstructions, and the first ones at all ages."""
        images, ages, genders = self._samples
        name, columns = f'{self._run.epoch:02d}.png', int(np.sqrt(len(images)))
        step, model = np.int64(self._run.step), self._model
        with savedir.side_file(os.path.join(model.save_dir, 'samples', name)):
            picture = model.sample(images, ages, genders, name)
            tf.summary.image('samples', picture[None], step)
        with savedir.side_file(os.path.join(model.save_dir, 'test', name)):
            picture = model.test(images[:columns], genders[:columns], name)
            tf.summary.image('test', picture[None], step)
        self._flush()

    def _save_or_stop(self, is_due):
        """Save a checkpoint if it is due; if a signal was received, save one and raise Stopped."""
        model = self._model
        if is_due:
            self._save()
        if devices.on_any_worker(model.strategy, self._received):
            if not is_due:
                self._save()
            devices.meet_workers(model.strategy, self._run.step)  # after the chief has saved
            savedir.stop(self._received, model.save_dir, self._run.step)

    def _save(self):
        self._fetch()
        if self._model.is_chief:
            self._flush()  # so that the summary lacks no step of a checkpoint
            self._model.save_checkpoint()
        self._fetched = time.monotonic()  # the time of a checkpoint is no step's

    def _summary_only(self):
        return savedir.side_file(os.path.join(self._model.save_dir, savedir.SUMMARY))

    def _flush(self):
        with self._summary_only():
            tf.summary.flush()


def write_point(step: int, losses: dict, outputs: dict, learning_rate: float) -> None:
    """Write a point of TensorBoard's curves: `losses`, and histograms of `outputs`."""
    for name, value in {**losses, RATE: learning_rate}.items():
        if name != 'tv_loss':  # the original shows it nowhere
            tf.summary.scalar(name, value, step)
    for name, value in outputs.items():
        tf.summary.histogram(name, value, step)
