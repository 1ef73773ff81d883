"""A training while it runs: what it reports and writes, when it is saved and how it stops."""

import contextlib
import math
import os
import re
import time

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


class Session(contextlib.ExitStack):
    """Reports and saves the run of a model, and stops it at a signal; used in a `with`.

    Args:
        model: a FaceAging; `run` is its state.
        data: (faces, ages, genders), as `pipeline.batches` takes them.
        num_epochs: to be trained in all.
    """

    def __init__(self, model, data, num_epochs):
        super().__init__()
        self._model, self._run, self._num_epochs = model, model.run, num_epochs
        self._size_data = len(data[0])
        self._count = self._size_data // model.size_batch - 1  # batches of an epoch
        # They are not trained on in this run.
        shown, images = pipeline.take(data[0], self._run.order.samples)
        self._samples = pipeline.to_float(images), data[1][shown], data[2][shown]
        self._write_point = tf.function(write_point, autograph=False)
        self._pending = []  # steps whose losses a GPU may still be computing

    def __enter__(self):
        model = self._model
        variables = model.named_variables.values()
        savedir.say_and_log(
            f'\n\tTraining from epoch {self._run.epoch + 1} to {self._num_epochs}: '
            f'{self._size_data} faces, {self._count} batches of {model.size_batch}, '
            f'{sum(math.prod(v.shape) for v in variables):,} parameters, {model.precision}, on '
            + ', '.join(device.name for device in tf.config.list_logical_devices())
        )
        size = checkpoints.size_of(model.saved_variables())
        self.enter_context(savedir.open_summary(model.save_dir, self._run, size, model.is_chief))
        self._received = self.enter_context(savedir.signals())
        return self

    def epoch(self, batches):
        """Begin the rest of an epoch; return its batches, a dataset, within a progress bar."""
        run = self._run
        if not run.order.done:
            run.totals.clear()
        self._fetched = time.time()
        title = f'Epoch {run.epoch + 1}/{self._num_epochs}'
        self._bar = Progress(batches, title, self._count, initial=run.order.done, unit='batch')
        return self._bar

    def set_learning_rate(self, schedule):
        """Set the learning rate of the next step, a function of the number of steps taken."""
        with tf.device('CPU:0'):  # else it would wait for the GPU's last step
            self._rate = float(schedule(np.int64(self._run.step)))
        for optimizer in self._model.optimizers:
            optimizer.learning_rate = self._rate

    def write_graph(self, step, batch):
        """Write the graph of a training step for TensorBoard, before the first step of a model.

        Args:
            step: tf.function of the training step.
            batch: its arguments.
        """
        if not self._run.step and not tf.config.functions_run_eagerly():
            with self._summary_only():
                tf.summary.graph(step.get_concrete_function(*batch).graph)

    def end_step(self, losses, outputs):
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
        if is_last or time.time() - self._fetched > FETCH_EVERY:
            self._fetch()
        if not is_last:
            self._save_or_stop(self._is_step_due())

    def end_epoch(self):
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
        run.totals['seconds'] += time.time() - self._fetched
        self._fetched = time.time()
        left = (self._num_epochs - run.epoch) * self._count - run.order.done  # batches
        left = Progress.format_interval(left * run.totals['seconds'] / run.order.done)
        self._bar.set_postfix_str(f'{left} left in all, {SHOWN.format(**values)}')

    def _show_samples(self):
        """Write the samples' reconstructions, and the first ones at all ages."""
        images, ages, genders = self._samples
        name, columns = f'{self._run.epoch:02d}.png', int(np.sqrt(len(images)))
        step, model = np.int64(self._run.step), self._model
        for folder, draw, faces in (
            ('samples', model.sample, (images, ages, genders)),
            ('test', model.test, (images[:columns], genders[:columns])),
        ):
            with savedir.side_file(os.path.join(model.save_dir, folder, name)):
                tf.summary.image(folder, draw(*faces, name)[None], step)
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

    def _summary_only(self):
        return savedir.side_file(os.path.join(self._model.save_dir, savedir.SUMMARY))

    def _flush(self):
        with self._summary_only():
            tf.summary.flush()


def write_point(step, losses, outputs, learning_rate):
    """Write a point of TensorBoard's curves: `losses`, and histograms of `outputs`."""
    for name, value in {**losses, RATE: learning_rate}.items():
        if name != 'tv_loss':  # the original shows it nowhere
            tf.summary.scalar(name, value, step)
    for name, value in outputs.items():
        tf.summary.histogram(name, value, step)
