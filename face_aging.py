"""CAAE: age progression and regression by a conditional adversarial autoencoder.

Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder", CVPR 2017.
An encoder E takes a face to a code z, a generator G takes z, an age and a gender back to a face.
A discriminator D_z makes the codes spread evenly, another, D_img, makes the faces look real.
"""

import collections
import concurrent.futures
import contextlib
import json
import math
import os
import re
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

import init_model
import ops
from data import console, devices, files, labels, pipeline
from data.order import Order, digest, take_up
from init_model import checkpoints, savedir

INIT_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'init_model')
SAVE_EVERY = 5  # epochs between two checkpoints
KEEP_CHECKPOINTS = 2
# What a model must have in common with a checkpoint that it opens, besides the age groups.
SIZES = (
    'size_image',
    'size_kernel',
    'num_input_channels',
    'num_encoder_channels',
    'num_z_channels',
    'num_gen_channels',
    'enable_tile_label',
    'tile_ratio',
)
FETCH_EVERY = 0.5  # seconds; what a GPU has computed is waited for no more often
GENERATED_AT_ONCE = 100  # faces; fewer run slower, more take memory
PAGE_COLUMNS = 20  # faces on one test grid: 2560 pixels wide at 128 a face
# The names by which a training step's losses are shown, in the original's order.
SHOWN = (
    'EG_err {EG_loss:.4f} TV {tv_loss:.4f} / '
    'Ez {E_z_loss:.4f} Dz {D_z_loss_z:.4f} Dzp {D_z_loss_prior:.4f} / '
    'Gi {G_img_loss:.4f} Di {D_img_loss_input:.4f} DiG {D_img_loss_G:.4f}'
)
LOSSES = tuple(re.findall(r'{(\w+):', SHOWN))  # their names, in that order


class FaceAging:
    """The four networks, their training, and what they are used for.

    The layers follow Keras' dtype policy (`keras.config.set_dtype_policy('mixed_bfloat16')`); their
    weights, batch norm, the networks' outputs and the losses stay float32.

    Attributes:
        E, G, D_z, D_img: the networks, `keras.Model`s.
        named_variables: dict from the original's variable names (`E_conv0/w`) to the variables.
        optimizers: Adam for E and G together, for D_z and for D_img.
        weights: (w0, w1, w2) of the image's adversarial loss, the code's, and the total variation
            in the loss of E and G (paper, equation 6).
        epoch: epochs of training done.
        step: batches trained on.
        is_chief: whether this process writes; False in all but one of several machines' processes.
    """

    def __init__(
        self,
        size_image=128,  # S, height and width of the images
        size_kernel=5,  # of the convolutions
        size_batch=100,  # B, of training; testing takes any number
        num_input_channels=3,  # C, 3 for RGB, 1 for luminance
        num_encoder_channels=64,  # of the encoder's first convolution
        num_z_channels=50,  # of the code z
        num_categories=None,  # age groups, of which age_upper makes one more than its limits
        num_gen_channels=1024,  # of the generator's first map
        enable_tile_label=True,  # repeat the labels until they weigh as much as z
        tile_ratio=1.0,  # length of a tiled label by that of z
        is_training=True,  # False spares the optimizers, and the weights are 0 until restored
        save_dir='save',  # where summary, samples, test and checkpoint are written
        dataset_name='UTKFace',  # folder in data_dir
        data_dir='data',  # folder of the data sets
        reader=None,  # of its labels, see readers.READERS; by default what fits the folder
        age_upper=labels.AGE_UPPER,  # last year of each age group but the last
        hold_out=False,  # train without the faces of labels.held_out, to measure on them
        seed=2017,  # of the order of the files and of z_prior
        xla=None,  # compile the training step by XLA; by default on a GPU only
        cache=None,  # where decoded faces are kept, see pipeline.decode_faces
        summary_steps=1,  # steps from one point of the summaries to the next
        checkpoint_steps=None,  # steps between two checkpoints, besides those of the epochs
        strategy=None,  # tf.distribute's, to train on several devices; default: all there are
    ):
        self.size_image = size_image
        self.size_kernel = size_kernel
        self.size_batch = size_batch
        self.num_input_channels = num_input_channels
        self.num_encoder_channels = num_encoder_channels
        self.num_z_channels = num_z_channels
        self.age_upper = tuple(age_upper)
        self.num_categories = len(self.age_upper) + 1
        self.num_gen_channels = num_gen_channels
        self.enable_tile_label = enable_tile_label
        self.tile_ratio = tile_ratio
        self.save_dir = save_dir
        self.data_dir = os.path.join(data_dir, dataset_name)
        self.reader = reader
        self.hold_out = hold_out
        self.seed = seed
        self.xla = bool(tf.config.list_physical_devices('GPU')) if xla is None else xla
        self.cache = cache
        self.summary_steps = summary_steps
        self.checkpoint_steps = checkpoint_steps or math.inf
        self.precision = keras.config.dtype_policy().name
        if strategy is None:
            strategy = devices.distribution() if is_training else tf.distribute.get_strategy()
        self.strategy = strategy
        self.is_chief = devices.is_chief(strategy)
        self.num_layers = int(np.log2(size_image)) - size_kernel // 2  # 5 for 128

        if num_categories not in (None, self.num_categories):
            raise console.InputError(
                f'num_categories is {num_categories}, but age_upper {self.age_upper} makes '
                f'{self.num_categories} age groups: leave num_categories out.'
            )
        if size_image % 2**self.num_layers:
            raise console.InputError(
                f'size_image {size_image} cannot be halved {self.num_layers} times: '
                'take a power of two, as 128.'
            )
        replicas = strategy.num_replicas_in_sync
        if is_training and size_batch % replicas:
            raise console.InputError(
                f'A batch of {size_batch} cannot be shared by {replicas} devices: pass '
                f'--batch_size {-(-size_batch // replicas) * replicas}, or another multiple.'
            )

        print('\n\tBuilding graph ...')
        drawn = contextlib.nullcontext() if is_training else ops.zero_weights()
        with strategy.scope(), drawn:
            self.E = self.encoder()
            self.G = self.generator()
            self.D_z = self.discriminator_z()
            self.D_img = self.discriminator_img()
            self.optimizers = [ops.adam(name) for name in ('opt_EG', 'opt_D_z', 'opt_D_img')]
        self._networks = self.E, self.G, self.D_z, self.D_img
        self.named_variables = {
            variable.path.replace('/kernel', '/w').replace('/bias', '/b'): variable
            for network in self._networks
            for variable in network.variables
        }

        self._prepare(learning_rate=0.0002, beta1=0.5, weights=(0.0001, 0, 0))
        if is_training:  # before any checkpoint is restored into them
            for optimizer, variables in zip(self.optimizers, self._trainable(), strict=True):
                with strategy.scope():
                    optimizer.build(variables)
        self._checkpoints = []  # names of those that this run has written and kept
        self._is_running = False
        self._forget_run()

    # ------------------------------------------------------------------------------ networks

    def encoder(self):
        """E: image [B, S, S, C] in [-1, 1] -> z [B, num_z_channels] in (-1, 1)."""
        size, channels = self.size_image, self.num_encoder_channels
        x = image = keras.Input([size, size, self.num_input_channels])
        for i in range(self.num_layers):  # 128 -> 64 -> 32 -> 16 -> 8 -> 4
            x = ops.conv2d(x, channels * 2**i, self.size_kernel, name=f'E_conv{i}')
            x = keras.ops.relu(x)
        z = ops.tanh(ops.fc(ops.flatten(x), self.num_z_channels, name='E_fc'))
        return keras.Model(image, z, name='E')

    def generator(self):
        """G: z [B, num_z_channels], age [B, num_categories], gender [B, 2] -> image in (-1, 1)."""
        z = keras.Input([self.num_z_channels])
        age = keras.Input([self.num_categories])
        gender = keras.Input([2])
        tiled = int(self.num_z_channels * self.tile_ratio) if self.enable_tile_label else 0
        x = ops.concat_label(z, age, max(1, tiled // self.num_categories))  # 50 + 50
        x = ops.concat_label(x, gender, max(1, tiled // 2))  # + 50
        size, channels = self.size_image // 2**self.num_layers, self.num_gen_channels
        x = ops.fc(x, channels * size**2, name='G_fc')
        x = keras.ops.relu(keras.ops.reshape(x, [-1, size, size, channels]))
        for i in range(self.num_layers):  # 4 -> 8 -> 16 -> 32 -> 64 -> 128
            channels = self.num_gen_channels // 2 ** (i + 1)
            x = keras.ops.relu(ops.deconv2d(x, channels, self.size_kernel, name=f'G_deconv{i}'))
        i, channels = self.num_layers, self.num_gen_channels // 2 ** (self.num_layers + 1)
        x = ops.deconv2d(x, channels, self.size_kernel, stride=1, name=f'G_deconv{i}')
        x = keras.ops.relu(x)
        x = ops.deconv2d(
            x, self.num_input_channels, self.size_kernel, stride=1, name=f'G_deconv{i + 1}'
        )
        return keras.Model([z, age, gender], ops.tanh(x), name='G')

    def discriminator_z(self):
        """D_z: z [B, num_z_channels] -> logit [B, 1], positive where z seems drawn evenly."""
        x = z = keras.Input([self.num_z_channels])
        for i, channels in enumerate((64, 32, 16)):
            x = ops.batch_norm(ops.fc(x, channels, name=f'D_z_fc{i}'), name=f'D_z_bn{i}')
            x = keras.ops.relu(x)
        return keras.Model(z, ops.logit(x, name='D_z_fc3'), name='D_z')

    def discriminator_img(self):
        """D_img: image, age, gender -> logit [B, 1], positive where the image seems real."""
        size = self.size_image
        x = image = keras.Input([size, size, self.num_input_channels])
        age = keras.Input([self.num_categories])
        gender = keras.Input([2])
        for i, channels in enumerate((16, 32, 64, 128)):  # 128 -> 64 -> 32 -> 16 -> 8
            x = ops.conv2d(x, channels, self.size_kernel, name=f'D_img_conv{i}')
            x = keras.ops.relu(ops.batch_norm(x, name=f'D_img_bn{i}'))
            if i == 0:
                x = ops.concat_label(x, age)  # 16 + 10
                x = ops.concat_label(x, gender, self.num_categories // 2)  # + 10
        x = ops.lrelu(ops.fc(ops.flatten(x), 1024, name='D_img_fc1'))
        return keras.Model([image, age, gender], ops.logit(x, name='D_img_fc2'), name='D_img')

    # ------------------------------------------------------------------------------ training

    def train_step(self, image, age, gender, z_prior):
        """Update the four networks once, all by gradients at the same weights.

        Args:
            image: float32 [B, S, S, C] in [-1, 1], or uint8.
            age: float32 [B, num_categories], 1 at the face's age group and -1 elsewhere.
            gender: float32 [B, 2], 1 at the face's gender (male, female) and -1 at the other.
            z_prior: float32 [B, num_z_channels] in [-1, 1], drawn evenly.

        Returns:
            dict of the eight losses before the update (see `losses`).
        """
        batch = (devices.share(self.strategy, value) for value in (image, age, gender, z_prior))
        return self._update(*batch)[0]

    def forward(self, image, age, gender, z_prior):
        """Run all four networks on a batch, as `train_step` takes it; return what they make of it.

        Returns:
            dict of z, G, D_z_logits (of z), D_z_prior_logits, D_G_logits (of G), D_input_logits.
        """
        image, age, gender, z_prior = map(tf.convert_to_tensor, (image, age, gender, z_prior))
        z = self.E(image)
        G = self.G([z, age, gender])
        return {
            'z': z,
            'G': G,
            'D_z_logits': self.D_z(z, training=True),
            'D_z_prior_logits': self.D_z(z_prior, training=True),
            'D_G_logits': self.D_img([G, age, gender], training=True),
            'D_input_logits': self.D_img([image, age, gender], training=True),
        }

    def _gradients(self, image, age, gender, z_prior):
        """Return losses, outputs of `forward`, and the gradients for each of the optimizers."""
        if image.dtype == tf.uint8:
            image = pipeline.to_float(image)
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.forward(image, age, gender, z_prior)
            loss = losses(image, outputs)
            loss_EG = loss['EG_loss']
            for w, name in zip(self.weights, ('G_img_loss', 'E_z_loss', 'tv_loss'), strict=True):
                if w:  # else its gradient would be computed for nothing
                    loss_EG += w * loss[name]
            loss_D_z = loss['D_z_loss_prior'] + loss['D_z_loss_z']
            loss_D_img = loss['D_img_loss_input'] + loss['D_img_loss_G']
            objectives = zip(self.optimizers, (loss_EG, loss_D_z, loss_D_img), strict=True)
            # In float16 times a factor, which apply() takes back.
            scaled = [optimizer.scale_loss(objective) for optimizer, objective in objectives]
        gradients = [
            tape.gradient(objective, variables)
            for objective, variables in zip(scaled, self._trainable(), strict=True)
        ]
        return loss, outputs, gradients

    def _replica_step(self, image, age, gender, z_prior):
        """Take a training step on one replica's share of a batch; return losses and outputs."""
        loss, outputs, gradients = self._compiled_gradients(image, age, gender, z_prior)
        replica, reduce = tf.distribute.get_replica_context(), tf.distribute.ReduceOp
        loss = replica.all_reduce(reduce.MEAN, loss)
        gradients = replica.all_reduce(reduce.MEAN, gradients)
        for optimizer, gradient, variables in zip(
            self.optimizers, gradients, self._trainable(), strict=True
        ):
            optimizer.apply(gradient, variables)
        return loss, outputs

    def _training_step(self, *batch):
        """Return the losses of a batch, its shares taken together, and what histograms show."""
        loss, outputs = self.strategy.run(self._replica_step, batch)
        local = self.strategy.experimental_local_results
        loss = {name: local(values)[0] for name, values in loss.items()}
        del outputs['G']
        return loss, {name: tf.concat(local(values), 0) for name, values in outputs.items()}

    def _trainable(self):
        """What each of the three optimizers updates."""
        return (
            self.E.trainable_variables + self.G.trainable_variables,
            self.D_z.trainable_variables,
            self.D_img.trainable_variables,
        )

    def _prepare(self, learning_rate, beta1, weights):
        """Set what a training step minimises, and how; its graph is traced anew."""
        self.weights = weights
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate
            getattr(optimizer, 'inner_optimizer', optimizer).beta_1 = beta1
        # Graphs, of which weights and beta1 are constants. Only the gradients can be compiled by
        # XLA: what is added up over several devices can't.
        self._compiled_gradients = tf.function(
            self._gradients, autograph=False, jit_compile=self.xla
        )
        self._update = tf.function(self._training_step, autograph=False)

    def train(
        self,
        num_epochs=200,  # in all, those of the restored checkpoint included
        learning_rate=0.0002,  # of Adam
        beta1=0.5,  # of Adam
        decay_rate=1.0,  # of the learning rate, every second epoch; 1 for none
        enable_shuffle=True,  # draw the order of the files anew before each epoch
        use_trained_model=True,  # go on from the newest checkpoint of save_dir
        use_init_model=True,  # where there is none, start from init_model
        weights=(0.0001, 0, 0),  # see the class
    ):
        """Train on the data set; write samples, tests, summaries and checkpoints to save_dir.

        A checkpoint that was trained with the same `weights` is a run to be continued; from one
        with others, of pre-training for example, a training starts at its first epoch.

        Raises:
            InputError: no data, too few images or too many unreadable ones, a checkpoint that
                does not fit, a full disk, another training in save_dir.
            FloatingPointError: a loss or a weight is not finite; says which, and at which step.
            Stopped: on SIGINT or SIGTERM, after the step and a checkpoint.
        """
        if not self.optimizers[0].built:
            raise ValueError('This model was built for testing: build it with is_training=True.')
        with self.running():
            savedir.keep(
                f'{num_epochs} epochs, learning rate {learning_rate}, beta1 {beta1}, decay '
                f'{decay_rate}, weights {weights}, {self.data_dir}'
            )
            paths, ages, genders = labels.list_faces(
                self.data_dir, self.hold_out, self.reader, self.age_upper
            )
            labels.require_batches(self.data_dir, len(paths), self.size_batch)
            self._prepare(learning_rate, beta1, tuple(weights))
            self._forget_run()
            if use_trained_model and not self.load_checkpoint() and use_init_model:
                self.load_checkpoint(INIT_MODEL)
            devices.meet_workers(self.strategy, self.step)
            if self.epoch >= num_epochs:
                savedir.tell(
                    f'\n\tThis training is finished, {self.epoch} epochs are done. To go on, ask '
                    f'for more: --epoch {2 * self.epoch}; to start over, take another --savedir, '
                    'or --use_trained_model False.'
                )
                return
            faces, kept, unreadable = pipeline.decode_faces(
                paths, self.size_image, self.num_input_channels, self.cache
            )
            for path, reason in [*unreadable.items()][pipeline.LISTED :]:  # the others were told
                savedir.keep(f'Left out: {path!r}: {reason}')
            labels.require_batches(self.data_dir, len(faces), self.size_batch)
            paths, ages, genders = [paths[i] for i in kept], ages[kept], genders[kept]
            data = digest(self.data_dir, paths, ages, genders)
            self._order = take_up(
                self._order, len(faces), self.size_batch, self.seed, enable_shuffle, data
            )
            ages = labels.one_hot(ages, self.num_categories)
            genders = labels.one_hot(genders, 2)
            decay_steps = len(faces) // self.size_batch * 2
            self._run_epochs(
                (faces, ages, genders),
                num_epochs,
                lambda step: learning_rate * decay_rate ** (step // decay_steps),
                enable_shuffle,
            )

    @contextlib.contextmanager
    def running(self):
        """Hold save_dir for this process, with a log in it; `train` does so, if nobody has.

        Raises:
            InputError: another process holds it.
            OSError: it cannot be written to.
        """
        if self._is_running or not self.is_chief:
            yield
            return
        with savedir.held(self.save_dir) as killed, savedir.logged(self.save_dir):
            if killed:
                savedir.tell(f'\tThe training before, process {killed}, did not end by itself.')
            self._is_running = True
            savedir.keep(f'Settings: {json.dumps(self._settings())}, seed {self.seed}')
            try:
                yield
            finally:
                self._is_running = False

    def _run_epochs(self, data, num_epochs, learning_rate, enable_shuffle):
        """Train until num_epochs are done, from where the run stands.

        Args:
            data: (faces, ages, genders), as `pipeline.batches` takes them.
            learning_rate: function of the number of steps taken.
        """
        size_data, count = len(data[0]), len(data[0]) // self.size_batch - 1
        savedir.tell(
            f'\n\tTraining from epoch {self.epoch + 1} to {num_epochs}: '
            f'{size_data} faces, {count} batches of {self.size_batch}, '
            f'{sum(network.count_params() for network in self._networks):,} parameters, '
            f'{self.precision}, on '
            + ', '.join(device.name for device in tf.config.list_logical_devices())
        )
        faces, ages, genders = data
        shown, images = pipeline.take(faces, self._order.samples)  # not trained on
        samples = pipeline.to_float(images), ages[shown], genders[shown]
        writer = self._open_summary()
        with contextlib.closing(writer), writer.as_default(), savedir.signals() as received:
            summarize = tf.function(_summarize, autograph=False)
            while self.epoch < num_epochs:
                if not self._order.done:
                    self._totals.clear()
                order = self._order.rest_of_epoch(enable_shuffle)
                progress = console.Progress(
                    pipeline.distributed_batches(self.strategy, *data, order, self.size_batch),
                    f'Epoch {self.epoch + 1}/{num_epochs}',
                    count,
                    initial=self._order.done,
                    unit='batch',
                )
                with progress, pipeline.own_errors(faces):
                    self._train_epoch(progress, learning_rate, summarize, received)
                self._finish_epoch(progress.desc, samples)
                stopping = devices.on_any_worker(self.strategy, received)
                is_due = self.epoch % SAVE_EVERY == 0 or self.epoch == num_epochs
                if stopping or is_due or self.step % self.checkpoint_steps == 0:
                    self._save()
                # None may leave while the chief still writes.
                devices.meet_workers(self.strategy, self.step)
                if stopping:
                    savedir.stop(received, self.save_dir, self.step)
            if devices.on_any_worker(self.strategy, received):  # during the last checkpoint
                savedir.stop(received, self.save_dir, self.step)

    def _train_epoch(self, batches, learning_rate, summarize, received):
        """Take a step for each of the batches, a progress bar that shows the losses.

        Args:
            batches: Progress over (image, age, gender), as `train_step` takes them.
            learning_rate: function of the number of steps taken.
            summarize: what writes a point of the summaries, as `_summarize`.
            received: list of the signals to stop.
        """
        pending, fetched = [], time.time()  # steps that a GPU may still be at work on

        def fetch():
            nonlocal fetched
            for step, *point in pending:
                values = {name: float(value) for name, value in point[0].items()}
                ops.require_finite(values, f'at step {step}', self._checkpoints)
                if step % self.summary_steps == 0:
                    summarize(step, *point)
                self._totals.update(values)
            batches.set_postfix_str(SHOWN.format(**values))
            pending.clear()
            self._totals['seconds'] += time.time() - fetched
            fetched = time.time()

        for batch in batches:
            z_prior = self._order.z_prior(self.num_z_channels)
            rate = learning_rate(self.step)
            for optimizer in self.optimizers:
                optimizer.learning_rate = rate
            loss, outputs = self._update(*batch, devices.share(self.strategy, z_prior))
            self.step += 1
            self._order.done += 1
            # NumPy's numbers: TensorFlow keeps each of Python's that it made a tensor of, for good.
            step, rate = np.int64(self.step), np.float32(rate)
            pending.append((step, loss, {**outputs, 'z_prior': z_prior}, rate))
            # After the last one the epoch is finished first.
            is_last = self._order.done == batches.total
            stopping = not is_last and devices.on_any_worker(self.strategy, received)
            saving = stopping or (not is_last and self.step % self.checkpoint_steps == 0)
            if is_last or saving or time.time() - fetched > FETCH_EVERY:
                fetch()
            if saving:
                self._save()
            if stopping:
                devices.meet_workers(self.strategy, self.step)
                savedir.stop(received, self.save_dir, self.step)

    def _finish_epoch(self, title, samples):
        """Tell an epoch's mean losses, and write its pictures of the samples."""
        mean = {name: value / self._order.done for name, value in self._totals.items()}
        seconds, speed = self._totals['seconds'], self.size_batch / mean.pop('seconds')
        savedir.tell(f'{title}: {SHOWN.format(**mean)} on average, {speed:.1f} faces/s')
        self.epoch += 1
        self._order.done = 0
        if not self.is_chief:
            return
        name = f'{self.epoch:02d}.png'
        images, ages, genders = samples
        columns, step = int(np.sqrt(len(images))), np.int64(self.step)  # as in _train_epoch
        shown = self.sample(images, ages, genders, name)
        tf.summary.image('samples', shown[None], step)
        shown = self.test(images[:columns], genders[:columns], name)
        tf.summary.image('test', shown[None], step)
        tf.summary.flush()
        row = {'epoch': self.epoch, 'step': self.step}
        row |= {name: f'{mean[name]:.6f}' for name in LOSSES}
        row |= {'seconds': f'{seconds:.1f}', 'faces_per_second': f'{speed:.2f}'}
        savedir.add_to_history(self.save_dir, row)

    def _save(self):
        """Write a checkpoint, after what the summaries have of its run."""
        if self.is_chief:
            tf.summary.flush()
            self.save_checkpoint()

    def _open_summary(self):
        """Return what writes the summaries; nothing in save_dir is of a later step then.

        Raises:
            InputError: the disk has no room for the checkpoints.
        """
        if not self.is_chief:
            return tf.summary.create_noop_writer()
        more = max(KEEP_CHECKPOINTS + 1 - len(self._checkpoints), 1)  # one while it is written
        size = checkpoints.size_of(self._saved_variables())
        folder = self._folder('checkpoint')
        checkpoints.require_space(folder, more * size)
        if not self._is_continued and checkpoints.there(folder):
            savedir.set_aside(folder)  # else a kill before the first checkpoint would revive them
            self._checkpoints = []
        savedir.rewind(self.save_dir, self.step)
        return tf.summary.create_file_writer(self._folder('summary'))

    # ------------------------------------------------------------------------------- results

    def sample(self, images, ages, genders, name):
        """Write the reconstructions of faces as one picture, save_dir/samples/<name>.

        Args:
            images: float32 [N, S, S, C] in [-1, 1].
            ages, genders: their labels, [N, num_categories] and [N, 2], as in `train_step`.
            name: of the file.

        Returns:
            the picture, uint8.
        """
        faces = self.G([self.E(images), tf.cast(ages, tf.float32), tf.cast(genders, tf.float32)])
        return ops.save_batch_images(faces, os.path.join(self._folder('samples'), name))

    def test(self, images, gender, name):
        """Write faces at all ages, save_dir/test/<name>, and their inputs, test/input.png.

        Args:
            images: float32 [N, S, S, C] in [-1, 1].
            gender: labels [N, 2], the gender that each face is given.
            name: of the file.

        Returns:
            the picture, uint8: a row per age group, youngest on top, a column per image.
        """
        self._save_rows([images] * self.num_categories, 'input.png')
        return self._save_rows(list(self.generate_ages(self.E(images), gender)), name)

    def generate_ages(self, z, gender, ages=None):
        """Yield the faces of codes at one age after the other.

        Args:
            z: codes [N, num_z_channels].
            gender: labels [N, 2], the gender that each face is given.
            ages: labels [A, num_categories], by default those of the age groups.

        Yields:
            float32 array [N, S, S, C], A times.
        """
        if ages is None:
            ages = labels.one_hot(np.arange(self.num_categories), self.num_categories)
        at_once = max(GENERATED_AT_ONCE // len(z), 1)
        for first in range(0, len(ages), at_once):
            age = ages[first : first + at_once]
            faces = self.G(
                [
                    tf.tile(z, [len(age), 1]),
                    tf.repeat(age, len(z), axis=0),
                    tf.tile(tf.cast(gender, tf.float32), [len(age), 1]),
                ]
            )
            yield from np.split(faces.numpy(), len(age))

    def custom_test(self, testing_samples_dir, genders=labels.GENDER_NAMES, ages=None, gif=False):
        """Write each face of a folder at all ages, as male and as female, to save_dir/test.

        The grids are test_as_male.png and test_as_female.png, the inputs input.png; from the
        21st face on they go on in test_as_male_2.png and so on. Faces are sorted by name. Of each
        face ages_<name>_male.png is a strip, the input and its ages; so for female.

        Args:
            testing_samples_dir: the folder.
            genders: those of labels.GENDER_NAMES that are written.
            ages: in years, on the strips; by default the age groups.
            gif: also write ages_<name>_male.gif, an animation through the ages and back.

        Raises:
            InputError: no folder, no readable image in it, no trained model; nothing is
                written then.
        """
        if not testing_samples_dir:
            raise console.InputError('No faces to test on: name their folder, --testdir my_photos.')
        paths = files.list_images(testing_samples_dir)
        self.load_trained()
        faces, kept, _ = pipeline.decode_faces(
            paths, self.size_image, self.num_input_channels, most_unreadable=1
        )
        names = files.unique_names([paths[i] for i in kept])
        shown = labels.age_names(self.age_upper) if ages is None else list(map(str, ages))
        glide = labels.glide_years(self.age_upper)
        glide_labels = labels.age_label(glide, self.age_upper)
        at_all_ages = self.num_categories + (0 if ages is None else len(ages)) + gif * len(glide)
        total = len(genders) * len(faces) * at_all_ages
        saved = []  # pictures of a page, written while the next ones are generated

        def finish():
            while saved:
                saved.pop().result()  # raises what writing it raised

        def save(function, *args):
            saved.append(writer.submit(function, *args))

        def generate(z, gender, ages=None):
            rows = []
            gender = labels.one_hot([labels.GENDER_NAMES.index(gender)] * len(z), 2)
            for row in self.generate_ages(z, gender, ages):
                rows.append(row)
                progress.update(len(row))
            return rows

        with (
            console.Progress(total=total, desc='Testing', unit=' faces') as progress,
            concurrent.futures.ThreadPoolExecutor() as writer,
        ):
            for first in range(0, len(faces), PAGE_COLUMNS):
                finish()  # so that no more than a page is kept
                images = pipeline.to_float(faces[first : first + PAGE_COLUMNS]).numpy()
                z = self.E(images)
                page = f'_{first // PAGE_COLUMNS + 1}.png' if first else '.png'
                save(self._save_rows, [images] * self.num_categories, 'input' + page)
                for gender in genders:
                    rows = generate(z, gender)
                    save(self._save_rows, rows, f'test_as_{gender}{page}')
                    if ages is not None:
                        rows = generate(z, gender, labels.age_label(ages, self.age_upper))
                    for k, name in enumerate(names[first : first + len(images)]):
                        path = os.path.join(self._folder('test'), f'ages_{name}_{gender}')
                        strip = [images[k], *(row[k] for row in rows)]
                        save(ops.save_strip, strip, ['input', *shown], path + '.png')
                        if gif:
                            frames = generate(z[k : k + 1], gender, glide_labels)
                            finish()
                            save(ops.save_gif, np.concatenate(frames), glide, path + '.gif')
            finish()
        print(f'\n\tDone! Results are saved as {self.save_dir}/test/test_as_xxx.png\n')

    def load_trained(self):
        """Restore the newest checkpoint in save_dir, else the weights to start from.

        Raises:
            InputError: there is neither; or as `load_checkpoint`.
        """
        if not self.load_checkpoint() and not self.load_checkpoint(INIT_MODEL):
            raise console.InputError(
                f'There is no trained model in {self.save_dir}/checkpoint nor in init_model: train '
                'one first (python main.py), or name the folder of one with --savedir.'
            )

    def _save_rows(self, rows, name):
        """Write equally long rows of images as save_dir/test/<name>; return the picture."""
        path = os.path.join(self._folder('test'), name)
        return ops.save_batch_images(
            np.concatenate(rows), path, size_frame=(len(rows), len(rows[0]))
        )

    def _folder(self, name):
        """Return a folder of save_dir, made if need be."""
        folder = os.path.join(self.save_dir, name)
        os.makedirs(folder, exist_ok=True)
        return folder

    # --------------------------------------------------------------------------- checkpoints

    def save_checkpoint(self):
        """Write save_dir/checkpoint/model-<step>; keep the newest two.

        The format is the original's, tensors by variable name, with the optimizers' and a JSON
        string `training_state` added.

        Raises:
            InputError: the disk is full; what was there is still whole.
            FloatingPointError: a value is not finite.
        """
        tensors = {name: variable.numpy() for name, variable in self._saved_variables().items()}
        ops.require_finite(tensors, f'after step {self.step}', self._checkpoints)
        folder, name = self._folder('checkpoint'), f'model-{self.step}'
        # Only what this run wrote is ever removed, not a checkpoint that the user put there.
        others = [other for other in self._checkpoints if other != name]
        superseded, kept = others[: 1 - KEEP_CHECKPOINTS], others[1 - KEEP_CHECKPOINTS :]
        if self.optimizers[0].built:
            tensors[checkpoints.STATE] = json.dumps(self._run_state([*others, name]))
        checkpoints.save(folder, name, tensors, kept)
        self._checkpoints = [*kept, name]
        for old in superseded:
            checkpoints.remove(folder, old)

    def _saved_variables(self):
        optimizers = self.optimizers if self.optimizers[0].built else []
        return {**self.named_variables, **{v.path: v for o in optimizers for v in o.variables}}

    def load_checkpoint(self, model_path=None):
        """Restore the networks; from save_dir's checkpoint also the optimizers and the run.

        Args:
            model_path: folder of a checkpoint of this program or of the original (TensorFlow 1), or
                else of packed weights (see init_model); by default save_dir/checkpoint.

        Returns:
            whether there was one. Of several the newest that is not damaged counts.

        Raises:
            InputError: it is damaged, of other sizes or of other age groups; nothing is
                changed then.
        """
        goes_on = model_path is None
        folder = os.path.join(self.save_dir, 'checkpoint') if goes_on else model_path
        print(f'\n\tLoading {"pre-trained" if goes_on else "init"} model ...')
        damaged = []
        if os.path.isfile(os.path.join(folder, 'checkpoint')):
            origin, values, state, damaged = checkpoints.read_newest(
                folder, self._saved_variables()
            )
            settings = state.get('settings', state)
            if not goes_on:
                state = {}
        elif init_model.is_in(folder):
            manifest = init_model.read_manifest(folder)
            origin = f'{folder}, epoch {manifest["epochs"]}'
            settings = {'age_upper': manifest.get('age_upper', labels.AGE_UPPER)}
            values, state = init_model.load(folder), {}
        else:
            print(f'\tFAILED >_<!  There is none in {folder}')
            return False
        checkpoints.require_settings(
            origin, settings, self._settings(), is_training=goes_on and self.optimizers[0].built
        )
        variables = self._saved_variables() if state else self.named_variables
        order = Order.from_state(state) if 'order' in state else None
        checkpoints.restore(origin, values, variables)
        restored = self._resume(state, order)
        if goes_on:
            self._is_continued = True
            # They will be removed: no stranger's checkpoint may name other files.
            names = damaged + state.get('checkpoints', []) if state else []
            self._checkpoints = [n for n in names if re.fullmatch(r'model-\d+', str(n))]
        savedir.tell(f'\tSUCCESS ^_^\n\tRestored {origin}, {restored}')
        return True

    def is_unfinished(self, num_epochs, weights):
        """Whether save_dir's checkpoint is of a training with `weights` that lacks epochs."""
        folder = os.path.join(self.save_dir, 'checkpoint')
        if not os.path.isfile(os.path.join(folder, 'checkpoint')):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of damaged ones load_checkpoint will tell
            state = checkpoints.read_newest(folder, names=())[2]
        return tuple(state.get('weights', ())) == tuple(weights) and state['epoch'] < num_epochs

    def _settings(self):
        """Return what the weights, and how they are trained, hang on, for JSON."""
        sizes = {name: getattr(self, name) for name in SIZES}
        return {
            **sizes,
            'age_upper': self.age_upper,
            'precision': self.precision,
            'tensorflow': tf.__version__,
        }

    def _run_state(self, names):
        """Return what makes a run go on where it stopped, besides the variables, for JSON.

        Args:
            names: of the run's checkpoints.
        """
        state = {
            'epoch': self.epoch,
            'step': self.step,
            'weights': self.weights,
            'settings': {**self._settings(), 'format': checkpoints.FORMAT},
            'checkpoints': names,
            'totals': self._totals,
        }
        return {**state, **(self._order.state() if self._order else {})}

    def _forget_run(self):
        """Be at the start of a run."""
        self.epoch = self.step = 0
        self._is_continued = False  # from a checkpoint in save_dir
        self._order = None  # of the faces, an Order
        self._totals = collections.Counter()  # of the epoch's losses, and seconds

    def _resume(self, state, order):
        """Take over a `_run_state`, if it is one of this training; return what it is, in words."""
        self._forget_run()
        if not state:
            return 'weights only'
        # Where float16 overflowed, the optimizers' iterations are fewer.
        self.step = state.get('step', int(self.optimizers[0].iterations.numpy()))
        words = f'epoch {state["epoch"]}, step {self.step}'
        weights = tuple(state['weights'])
        if weights != tuple(self.weights):
            return f'{words} of a training with weights {weights}'
        self.epoch = state['epoch']
        self._order = order
        self._totals.update(state.get('totals', {}))
        return words


def losses(image, outputs):
    """The eight losses of CAAE (paper, equations 1 to 6), named as in the original program.

    Args:
        image: float32 [B, S, S, C] in [-1, 1].
        outputs: what `FaceAging.forward` returns for it.

    Returns:
        dict of float32 scalars.
    """
    G = outputs['G']
    size_batch, height, width = tf.shape(G)[0], G.shape[1], G.shape[2]
    variation = (
        tf.nn.l2_loss(G[:, 1:] - G[:, :-1]) / height
        + tf.nn.l2_loss(G[:, :, 1:] - G[:, :, :-1]) / width
    )
    D_z_logits, D_G_logits = outputs['D_z_logits'], outputs['D_G_logits']
    return {
        'EG_loss': tf.reduce_mean(tf.abs(image - G)),
        'tv_loss': variation / tf.cast(size_batch, variation.dtype),
        'E_z_loss': bce(D_z_logits, 1),
        'D_z_loss_z': bce(D_z_logits, 0),
        'D_z_loss_prior': bce(outputs['D_z_prior_logits'], 1),
        'G_img_loss': bce(D_G_logits, 1),
        'D_img_loss_G': bce(D_G_logits, 0),
        'D_img_loss_input': bce(outputs['D_input_logits'], 1),
    }


def bce(logits, label):
    """Mean sigmoid cross entropy of logits with one label, 0 or 1, for all."""
    target = tf.fill(tf.shape(logits), tf.cast(label, logits.dtype))
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, logits))


def _summarize(step, loss, outputs, learning_rate):
    """Write a point of the summaries: `losses`, and the codes and logits of `outputs`."""
    for name, value in {**loss, 'EG_learning_rate': learning_rate}.items():
        if name != 'tv_loss':  # the original shows it nowhere
            tf.summary.scalar(name, value, step)
    for name, value in outputs.items():
        tf.summary.histogram(name, value, step)
