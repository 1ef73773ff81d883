"""CAAE: age progression and regression by a conditional adversarial autoencoder.

Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder", CVPR 2017.
An encoder E takes a face to a code z, a generator G takes z, an age and a gender back to a face.
Two discriminators are trained beside them: D_z tells codes from uniform random numbers, D_img tells
generated faces from real ones. Both count in the loss of E and G by `weights`; by default, as in
the authors' code, D_img a little and D_z not at all.
"""

import contextlib
import dataclasses
import functools
import json
import os
import zlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

import init_model
import ops
from data import align, console, devices, files, labels, pipeline
from data.order import take_up
from init_model import checkpoints, savedir, settings
from init_model.loop import TrainingLoop
from init_model.run import Run
from init_model.settings import SAVE_DIR, Config

INIT_MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'init_model')
WEIGHTS = (0.0001, 0, 0)  # of the losses: w0, w1, w2; the default of the authors' code
PAGE_COLUMNS = 20  # faces on one test grid: 2560 pixels wide at 128 a face
COMPARED = 2  # faces that tell how far those in 16 bits are from those in float32
Array = np.ndarray | tf.Tensor


class FaceAging(Config):
    """The four networks, their training, and what they are used for.

    Its keyword arguments are the fields of `settings.Config`, kept as attributes. The layers follow
    Keras' dtype policy (`keras.config.set_dtype_policy('mixed_bfloat16')`); their weights, D_z,
    batch norm, the networks' last layers and the losses stay float32.

    Attributes:
        E, G, D_z, D_img: the networks, `keras.Model`s.
        named_variables: dict from the original's variable names (`E_conv0/w`) to the variables.
        optimizers: Adam for E and G together, for D_z and for D_img; none for testing.
        trainable: three lists, the variables that each of these updates.
        weights: (w0, w1, w2), of the terms besides L1 in the loss of E and G, see README.md.
        run: the state of its training, a `Run`: epoch, step, order of the faces and so on.
        weights_dir: folder that the weights were restored from or saved to last; None: fresh ones.
        is_chief: whether this process writes files; of several machines' only one does.
        update_on_each_device: the compiled part of `train_step`, a tf.function.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.precision = keras.config.dtype_policy().name
        devices.allow_growth()
        if self.strategy is None:
            choose = devices.choose_strategy if self.is_training else tf.distribute.get_strategy
            self.strategy = choose()
        self.is_chief = self.strategy.extended.should_checkpoint
        print('\n\tBuilding graph ...')
        self._build()

    def _build(self) -> None:
        """Build the networks with fresh weights, and fresh optimizers if it is to be trained."""
        self.num_layers = int(np.log2(self.size_image)) - self.size_kernel // 2  # 5 for 128
        settings.require_possible(self)
        drawn = contextlib.nullcontext() if self.is_training else ops.zero_weights()
        with self.strategy.scope(), drawn:
            self.E = self.encoder()
            self.G = self.generator()
            self.D_z = self.discriminator_z()
            self.D_img = self.discriminator_img()
        compiled = functools.partial(tf.function, autograph=False, reduce_retracing=True)
        self._compiled_E = compiled(lambda faces: self.E(pipeline.to_float(faces)))
        self._compiled_G = compiled(lambda *inputs: self.G([*inputs]))
        self.trainable = [
            self.E.trainable_variables + self.G.trainable_variables,
            self.D_z.trainable_variables,
            self.D_img.trainable_variables,
        ]
        self.named_variables = {
            variable.path.replace('/kernel', '/w').replace('/bias', '/b'): variable
            for network in (self.E, self.G, self.D_z, self.D_img)
            for variable in network.variables
        }
        self._make_optimizers()
        self._drawn = self._checksum() if self.is_training else None
        self.run = Run(WEIGHTS)
        self.weights_dir = None
        self._compile(learning_rate=0.0002, beta1=0.5, weights=WEIGHTS)

    def _make_optimizers(self) -> None:
        """Make fresh optimizers, if it is to be trained."""
        names = ('opt_EG', 'opt_D_z', 'opt_D_img') if self.is_training else ()
        with self.strategy.scope():
            self.optimizers = [ops.adam(name) for name in names]
            for optimizer, variables in zip(self.optimizers, self.trainable, strict=False):
                optimizer.build(variables)

    def _checksum(self) -> int:
        """Return a checksum of the weights, by which it is seen whether they were set."""
        checksum = 0
        for variable in self.named_variables.values():
            checksum = zlib.crc32(np.asarray(tf.convert_to_tensor(variable)), checksum)
        return checksum

    # ------------------------------------------------------------------------------ networks
    def encoder(self) -> keras.Model:
        """E: image [B, S, S, C] in [-1, 1] -> z [B, num_z_channels] in (-1, 1)."""
        size, channels = self.size_image, self.num_encoder_channels
        x = image = keras.Input([size, size, self.num_input_channels])
        for i in range(self.num_layers):  # 128 -> 64 -> 32 -> 16 -> 8 -> 4
            x = ops.conv2d(x, channels * 2**i, self.size_kernel, name=f'E_conv{i}')
            x = keras.ops.relu(x)
        x = keras.layers.Flatten()(x)
        z = ops.fc(x, self.num_z_channels, name='E_fc', dtype='float32')
        return keras.Model(image, keras.ops.tanh(z), name='E')

    def generator(self) -> keras.Model:
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
        # A picture rounded to bfloat16 decides by chance where the L1 loss is nearly 0.
        name, channels = f'G_deconv{i + 1}', self.num_input_channels
        x = ops.deconv2d(x, channels, self.size_kernel, 1, name, dtype='float32')
        return keras.Model([z, age, gender], keras.ops.tanh(x), name='G')

    def discriminator_z(self) -> keras.Model:
        """D_z: z [B, num_z_channels] -> logit [B, 1], positive where z seems uniform."""
        x = z = keras.Input([self.num_z_channels])
        for i, channels in enumerate((64, 32, 16)):
            x = ops.fc(x, channels, name=f'D_z_fc{i}', dtype='float32')
            x = ops.batch_norm(x, name=f'D_z_bn{i}')
            x = keras.ops.relu(x)
        return keras.Model(z, ops.fc(x, 1, name='D_z_fc3', dtype='float32'), name='D_z')

    def discriminator_img(self) -> keras.Model:
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
        x = ops.lrelu(ops.fc(keras.layers.Flatten()(x), 1024, name='D_img_fc1'))
        logit = ops.fc(x, 1, name='D_img_fc2', dtype='float32')
        return keras.Model([image, age, gender], logit, name='D_img')

    # ------------------------------------------------------------------------------ training
    def train_step(
        self, image: Array, age: Array, gender: Array, z_prior: Array, with_outputs: bool = False
    ) -> dict | tuple[dict, dict]:
        """Update the four networks once, all by gradients at the same weights.

        Args:
            image: float32 [B, S, S, C] in [-1, 1], or uint8.
            age: float32 [B, num_categories], 1 at the face's age group and -1 elsewhere.
            gender: float32 [B, 2], 1 at the face's gender (male, female) and -1 at the other.
            z_prior: float32 [B, num_z_channels] in [-1, 1], uniform.
            with_outputs: whether to return the codes and logits of `forward`, a dict, too.
            On several devices each array is spread over them, see `devices.share`.

        Returns:
            dict of the eight losses before the update, see the function `losses`.
        """
        loss, outputs = self.update_on_each_device(image, age, gender, z_prior)
        return (loss, outputs) if with_outputs else loss

    def _update(self, image, age, gender, z_prior):
        """Do a device's part of a training step, on its share of the batch."""
        loss, outputs, gradients = self._compiled_gradients(image, age, gender, z_prior)
        del outputs['G']  # no histogram shows it, and it is large
        loss, (of_EG, of_D_z, of_D_img) = devices.mean(loss), devices.mean(gradients)
        update_EG, update_D_z, update_D_img = self.optimizers
        update_EG.apply(of_EG, self.trainable[0])
        update_D_z.apply(of_D_z, self.trainable[1])
        update_D_img.apply(of_D_img, self.trainable[2])
        return loss, outputs

    def gradients(
        self, image: Array, age: Array, gender: Array, z_prior: Array
    ) -> tuple[dict, dict, list[list[tf.Tensor]]]:
        """Return losses, outputs and gradients of a batch, see `train_step`, without an update.

        These are what `losses` and `forward` return, and three lists of gradients, of `trainable`
        (in float16 they are scaled, which the optimizers undo).
        """
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
            scaled = [optimizer.scale_loss(objective) for optimizer, objective in objectives]
        gradients = [
            tape.gradient(objective, variables)
            for objective, variables in zip(scaled, self.trainable, strict=True)
        ]
        return loss, outputs, gradients

    def forward(self, image: Array, age: Array, gender: Array, z_prior: Array) -> dict:
        """Run all four networks on a batch, as for `train_step`.

        Returns:
            dict of z, G, D_z_logits (of z), D_z_prior_logits, D_G_logits (of G), D_input_logits.
        """
        image, age, gender, z_prior = map(tf.convert_to_tensor, (image, age, gender, z_prior))
        with tf.name_scope('E'):  # as TensorBoard's graph shows it
            z = self.E(image)
        with tf.name_scope('G'):
            G = self.G([z, age, gender])
        with tf.name_scope('D_z'):
            of_z, of_prior = (self.D_z(x, training=True) for x in (z, z_prior))
        with tf.name_scope('D_img'):
            of_G, of_image = (self.D_img([x, age, gender], training=True) for x in (G, image))
        return {
            'z': z,
            'G': G,
            'D_z_logits': of_z,
            'D_z_prior_logits': of_prior,
            'D_G_logits': of_G,
            'D_input_logits': of_image,
        }

    def _compile(self, learning_rate, beta1, weights):
        """Set what `train_step` minimises and how, and compile it; these become constants.

        XLA compiles the gradients only: it cannot add up over several devices.
        """
        self.weights = tuple(weights)
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate
            getattr(optimizer, 'inner_optimizer', optimizer).beta_1 = beta1
        compiled = tf.function(self.gradients, autograph=False, jit_compile=True)
        self._compiled_gradients = compiled if self.xla else self.gradients
        self.update_on_each_device = devices.on_each(self.strategy, self._update)

    def train(
        self,
        num_epochs: int = 200,
        learning_rate: float = 0.0002,
        beta1: float = 0.5,
        decay_rate: float = 1.0,
        enable_shuffle: bool = True,
        use_trained_model: bool = True,
        use_init_model: bool = True,
        weights: Sequence[float] = WEIGHTS,
        balance: float = 0.0,
        is_pre_training: bool = False,
    ) -> None:
        """Train on the data set; write samples, tests, summaries and checkpoints to save_dir.

        A checkpoint in save_dir that was trained with the same `weights` is continued; from one
        with others, of pre-training for example, a new run starts at its first epoch. Where
        save_dir has no checkpoint, or with `use_trained_model` False, a model that was given
        weights, by `load_checkpoint(path)` or by `set_weights` of its networks, trains from these,
        with fresh optimizers; else it starts from init_model or from fresh weights.

        Args:
            num_epochs: in all, those of the restored checkpoint included.
            learning_rate, beta1: of Adam.
            decay_rate: of the learning rate, every second epoch; 1 for none.
            enable_shuffle: draw the order of the files anew before each epoch.
            use_trained_model: go on from the newest checkpoint of save_dir.
            use_init_model: where there is none, start from init_model.
            weights: of the losses, see the class.
            balance: how far rare ages and genders are drawn more often, see
                `TrainingOrder.even_out`.
            is_pre_training: mark the run as a pre-training, which main.py goes on with.

        Raises:
            InputError: the data, a checkpoint or save_dir cannot be used; says why.
            FloatingPointError: a loss or a weight is not finite; says which, and at which step.
            Stopped: on SIGINT, SIGTERM or SIGHUP, after the step and a checkpoint.
        """
        if not self.is_training:
            raise ValueError('This model was built for testing: build it with is_training=True.')
        lost = devices.lost_workers(self.strategy, self.save_dir)
        with savedir.running(self.save_dir, self.is_chief), lost:
            savedir.log(
                f'Settings: {json.dumps(settings.from_model(self))}, {self.data_set}, '
                f'{num_epochs=}, {learning_rate=}, {beta1=}, {decay_rate=}, {enable_shuffle=}, '
                f'{use_trained_model=}, {use_init_model=}, {weights=}, {balance=}, '
                f'{is_pre_training=}'
            )
            self._start(use_trained_model, use_init_model, weights)
            self.run = self.run.with_weights(weights, is_pre_training)
            self._compile(learning_rate, beta1, weights)
            if self.run.epoch >= num_epochs:
                savedir.say_and_log(
                    f'\n\tThis training is finished, {self.run.epoch} epochs are done. To go on, '
                    'ask for more epochs; to start over, save to another folder.'
                )
                return
            data, digest = pipeline.load_data_set(
                self.data_set,
                self.size_batch,
                self.size_image,
                self.num_input_channels,
                self.age_upper,
                self.run.held_out_by if self.hold_out else None,
                cache=self.cache,
                reader=self.reader,
            )
            faces, ages, genders = data
            self.run.order = take_up(
                self.run.order, len(faces), self.size_batch, self.seed, enable_shuffle, digest
            )
            self.run.order.even_out(labels.cells(ages, genders), balance)
            schedule = keras.optimizers.schedules.ExponentialDecay(
                learning_rate,
                decay_steps=len(faces) / self.size_batch * 2,  # not rounded, as originally
                decay_rate=decay_rate,
                staircase=True,
            )
            TrainingLoop(self, data, num_epochs, schedule, enable_shuffle).run()

    def _start(self, use_trained_model, use_init_model, weights):
        """Take the weights to train from, and the run to go on with; see `train`."""
        if not (use_trained_model and self.run.is_current):  # else the model already is that run
            is_given = self.run.is_given
            if is_given:
                self._make_optimizers()
            elif self.run.is_fresh:
                is_given = self._checksum() != self._drawn
            else:
                self._build()
            self.weights = tuple(weights)
            if use_trained_model and self.load_checkpoint():
                if is_given:
                    savedir.say_and_log('\tIt replaces the weights that this model was given.')
            elif is_given:
                savedir.say_and_log('\tStarting from the weights that this model was given.')
            elif use_trained_model and use_init_model:
                try:
                    self.load_checkpoint(INIT_MODEL)
                except checkpoints.OtherModelError as error:
                    savedir.say_and_log(f'\t{str(error).split(": ")[0]}.')
            if self.run.is_fresh and not is_given:
                savedir.say_and_log('\tStarting from fresh weights.')
        devices.meet_workers(self.strategy, self.run.step)

    # ------------------------------------------------------------------------------- results
    def sample(self, images: Array, ages: Array, genders: Array, name: str) -> np.ndarray:
        """Write the reconstructions of faces as save_dir/samples/<name>; return the picture, uint8.

        Takes float32 images [N, S, S, C] in [-1, 1] and their labels, as for `train_step`.
        """
        return self._save('samples', name, self.generate(self.encode(images), ages, genders))

    def test(self, images: Array, gender: Array, name: str) -> np.ndarray:
        """Write faces at all ages, save_dir/test/<name>, and their inputs, test/input.png.

        Return the picture, uint8: a row per age group, youngest on top, and a column per image.
        Images are as for `sample`, gender as for `generate_ages`.
        """
        self._save('test', 'input.png', [images] * self.num_categories)
        return self._save('test', name, self.generate_ages(self.encode(images), gender))

    def age(self, images: Array, years: Sequence[float], genders: Sequence[str]) -> np.ndarray:
        """Show faces at some ages by the paper's method, G(E(image), age, gender).

        Args:
            images: [N, S, S, C], float32 in [-1, 1] or uint8.
            years: A ages in years. Between the centres of two age groups their labels are mixed.
            genders: N, 'male' or 'female', that the faces are shown as.

        Returns:
            float32 array [A, N, S, S, C] in [-1, 1].

        Raises:
            ValueError: a gender is neither, or there are not N of them.
        """
        if len(genders) != len(images):
            raise ValueError(f'There are {len(images)} images, but {len(genders)} genders.')
        gender = labels.one_hot([labels.GENDER_NAMES.index(name) for name in genders], 2)
        age = labels.age_label(np.array(years, float), self.age_upper)
        return self.generate_ages(self.encode(images), gender, age)

    def generate_ages(self, z: Array, gender: Array, ages: np.ndarray | None = None) -> np.ndarray:
        """Return the faces of codes z [N, ...] at A ages, float32 array [A, N, S, S, C] in [-1, 1].

        Gender and ages are labels, [N, 2] and [A, num_categories], by default of all age groups.
        """
        if ages is None:
            ages = labels.one_hot(np.arange(self.num_categories), self.num_categories)
        return self.generate(z, ages[:, None], gender)

    def encode(self, faces, title=None):
        """Return the codes, float32 array [N, num_z_channels], of faces [N, S, S, C].

        They are uint8, or float32 in [-1, 1]. A title is that of a progress bar, None for no bar.
        """
        return pipeline.in_batches(self._compiled_E, faces, title=title)

    def generate(self, z, ages, genders):
        """Return the faces of codes, float32 array [..., S, S, C] in [-1, 1].

        The labels are [..., num_categories] and [..., 2]; NumPy broadcasts the three.
        """
        inputs = [np.asarray(x, np.float32) for x in (z, ages, genders)]
        shape = np.broadcast_shapes(*(x.shape[:-1] for x in inputs))
        rows = [np.broadcast_to(x, [*shape, x.shape[-1]]).reshape(-1, x.shape[-1]) for x in inputs]
        faces = pipeline.in_batches(self._compiled_G, *rows)
        return faces.reshape(*shape, *faces.shape[1:])

    def custom_test(self, testing_samples_dir: str | os.PathLike):
        """Write faces at all ages, as male and as female, to save_dir/test.

        The grids are test_as_male.png and test_as_female.png, the inputs test_input.png; from the
        21st face on they go on in test_as_male_2.png and so on. The newest checkpoint is restored
        first, unless this model was trained or restored before. A warning names pictures in which
        the face does not lie as in UTKFace. They are in a folder, or in one picture.

        Raises:
            InputError: no readable face, or no trained model; nothing is written then.
        """
        paths = files.list_images(testing_samples_dir)  # before the model is opened
        if self.run.is_fresh:
            self.load_trained()
        faces, kept, _ = pipeline.decode_faces(
            paths, self.size_image, self.num_input_channels, most_unreadable=1
        )
        align.warn_of_unaligned([paths[i] for i in kept], faces)
        total = len(faces) * len(labels.GENDER_NAMES) * self.num_categories
        with console.Progress(total=total, desc='Testing', unit=' faces') as progress:
            for first in range(0, len(faces), PAGE_COLUMNS):
                images = pipeline.to_float(faces[first : first + PAGE_COLUMNS]).numpy()
                page = f'_{first // PAGE_COLUMNS + 1}.png' if first else '.png'
                self._save('test', 'test_input' + page, [images] * self.num_categories)
                z = self.encode(images)
                for k, gender in enumerate(labels.GENDER_NAMES):
                    rows = self.generate_ages(z, labels.one_hot([k] * len(images), 2))
                    self._save('test', f'test_as_{gender}{page}', rows)
                    progress.update(len(images) * self.num_categories)
        if self.precision != 'float32':
            self._say_rounding(faces[:COMPARED])

    def _say_rounding(self, faces):
        """Say how far generated faces are from the same in float32, by some at all ages."""
        keras.config.set_dtype_policy('float32')
        exact = dataclasses.replace(self)
        keras.config.set_dtype_policy(self.precision)
        for name, variable in self.named_variables.items():
            exact.named_variables[name].assign(variable)
        gender = labels.one_hot([0] * len(faces), 2)
        shown = [model.generate_ages(model.encode(faces), gender) for model in (self, exact)]
        error = 127.5 * np.abs(shown[0] - shown[1])
        console.say(
            f'\n\tIn {self.precision} generated faces differ from those in float32 by '
            f'{error.mean():.2f} of 255 levels on average and {error.max():.1f} at most, by the '
            f'first {len(faces)} at all ages.'
        )

    def load_trained(self) -> None:
        """Restore the newest checkpoint in save_dir; if `SAVE_DIR` has none, init_model."""
        folder = os.path.join(self.save_dir, savedir.CHECKPOINT)
        is_default = os.path.normpath(self.save_dir) == SAVE_DIR
        stands_in = is_default and not checkpoints.has_checkpoint(folder)
        if stands_in:
            print(f'\n\tNo checkpoint in {folder} yet: the weights in init_model are used.')
        if not self.load_checkpoint(INIT_MODEL if stands_in else None):
            raise console.InputError(
                f'There is no trained model in {folder}: train one, or name the folder of another.'
            )

    def _save(self, folder, name, images):
        os.makedirs(os.path.join(self.save_dir, folder), exist_ok=True)
        return ops.save_batch_images(images, os.path.join(self.save_dir, folder, name))

    # --------------------------------------------------------------------------- checkpoints
    def save_checkpoint(self) -> None:
        """Write save_dir/checkpoint/model-<step>; keep the newest two.

        Its format is the original's; the optimizers' variables and the state of the run are added.

        An InputError says that the disk is full; the older checkpoints are still complete then. A
        FloatingPointError names a value that is not finite.
        """
        tensors = {name: tf.convert_to_tensor(v) for name, v in self.saved_variables().items()}
        ops.require_finite(tensors, f'after step {self.run.step}', self.run.kept)
        own = settings.from_model(self) if self.is_training else None
        folder = os.path.join(self.save_dir, savedir.CHECKPOINT)
        self.run.save(folder, tensors, own)
        self.weights_dir = folder

    def load_checkpoint(self, model_path: str | None = None) -> bool:
        """Restore the networks, from save_dir also the optimizers and the run, if it is possible.

        model_path is a folder, see `checkpoints.find`; by default save_dir/checkpoint. Returns
        whether it has a checkpoint. An InputError says that this is damaged, or of another model;
        nothing has changed then.
        """
        is_own = model_path is None
        folder = os.path.join(self.save_dir, savedir.CHECKPOINT) if is_own else model_path
        found = checkpoints.find(folder, self.saved_variables())
        if found is None:
            return False
        print(f'\n\tLoading {"pre-trained" if is_own else "init"} model ...')
        if not self.is_training and settings.adopt(self, found.settings):
            self._build()
            found = checkpoints.find(folder, self.saved_variables())
        settings.require_same(found.origin, found.settings, self, is_own and self.is_training)
        run = Run.from_checkpoint(found, self.weights, is_own)
        variables = self.saved_variables() if is_own and found.state else self.named_variables
        # Where float32 goes on in float16, the loss scale begins anew.
        variables = {n: v for n, v in variables.items() if n in found.values or '_scale/' not in n}
        checkpoints.restore(found.origin, found.values, variables)
        self.run, self.weights_dir = run, folder
        savedir.say_and_log(f'\tSUCCESS ^_^\n\tRestored {run.origin}, {run.describe(self.weights)}')
        return True

    def digest(self) -> str:
        """Return a SHA-256 of E's variables as they are now, see `init_model.digest`."""
        own = (item for item in self.named_variables.items() if item[0].startswith('E_'))
        return init_model.digest({name: tf.convert_to_tensor(v) for name, v in own})

    def saved_variables(self) -> dict[str, keras.Variable]:
        """Return a dict from names to the variables of the networks and the optimizers."""
        return {**self.named_variables, **{v.path: v for o in self.optimizers for v in o.variables}}


def losses(image: Array, outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return the eight losses of CAAE as in the authors' code, a dict of float32 scalars.

    They are of images, float32 [B, S, S, C] in [-1, 1], and `FaceAging.forward`'s outputs for them.
    """
    G = outputs['G']
    size_batch = tf.shape(G)[0]
    height, width, channels = G.shape[1:]
    # Rows as vectors, a shape of their own: else D_img's gradient of G joins a sum, see `ops.fork`.
    G, image = (tf.reshape(x, [-1, height, width * channels]) for x in (G, image))
    below, above, right, left = ops.fork(G, 4)
    variation = (
        tf.nn.l2_loss(below[:, 1:] - above[:, :-1]) / height
        + tf.nn.l2_loss(right[:, :, channels:] - left[:, :, :-channels]) / width
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


def open_trained(save_dir: str, age_groups: str) -> FaceAging:
    """Return the trained model of a program's --savedir and --age_groups; see `load_trained`."""
    age_upper = labels.parse_age_upper(age_groups)
    model = FaceAging(is_training=False, save_dir=save_dir, age_upper=age_upper)
    model.load_trained()
    return model


def bce(logits: tf.Tensor, label: int) -> tf.Tensor:
    """Mean sigmoid cross entropy of logits with one label, 0 or 1, for all."""
    return tf.reduce_mean(tf.nn.softplus(-logits if label else logits))
