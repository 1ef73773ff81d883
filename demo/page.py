"""A page to try the model in a browser: python -m demo.page, then open http://127.0.0.1:7860.

Photos stay in this program's memory, and only as long as the page is open in the browser. Nothing
is sent elsewhere, and the page needs no network.
"""

import argparse
import base64
import dataclasses
import functools
import html
import io
import os
import pathlib
import tempfile
import threading

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # Gradio reads it when it is imported

import gradio as gr
import numpy as np
import tensorflow as tf
from PIL import Image

import ops
from data import console, detector, labels, pictures, pipeline, readers
from demo import kids, morph, photos

HERE = pathlib.Path(__file__).parent
EXAMPLES = sorted((HERE / 'faces').glob('*.jpg'), key=lambda path: readers.parse_name(path) or (0,))
OLDEST = 90  # years, of the slider; from the last central year on, 80, the label stays
SHOWN_SIDE = 1024  # pixels, longer side of the photo as the page shows it
THUMBNAIL = 64  # pixels
CHILDREN = 6  # in a picture
PAPER = 'https://arxiv.org/abs/1702.08423'


@dataclasses.dataclass
class Photo:
    """A photo of one user, and what is computed once for the face chosen in it.

    Attributes:
        pixels: uint8 array [H, W, 3].
        landmarks: float array [N, 5, 2], the faces, as from `detector.find_faces`.
        chosen: index of the face.
        image: float32 array [S, S, C] in [-1, 1], the face.
        z: its code, float32 [1, num_z_channels].
    """

    pixels: np.ndarray
    landmarks: np.ndarray
    chosen: int
    image: np.ndarray
    z: np.ndarray


# ------------------------------------------------------------------------------ computing


def open_photo(model, data):
    """Return the Photo of a picture's file, given as bytes, with its largest face chosen.

    Raises:
        console.InputError: it cannot be read, or has no face.
    """
    try:
        pixels = pictures.read_photo(data)
    except pictures.UnreadableError as error:
        raise console.InputError(
            f'This cannot be read as a picture ({error.reason}): take a JPEG, PNG, WebP, BMP or '
            'GIF.'
        ) from error
    height, width = pixels.shape[:2]
    if height == width and detector.lie_in_place([pixels])[0]:  # a face as in UTKFace
        landmarks = detector.PLACES[None] * width
    else:
        landmarks = detector.find_faces(pixels)
    if not len(landmarks):
        raise console.InputError(
            'No face is found in this picture: take a photo in which one is seen from the front.'
        )
    return choose_face(model, pixels, landmarks, 0)


def choose_face(model, pixels, landmarks, chosen):
    """Return the Photo of a picture with one of its faces chosen."""
    crop = detector.cut_out(pixels, landmarks[chosen])
    crop = Image.fromarray(crop).convert('L' if model.num_input_channels == 1 else 'RGB')
    face = pictures.to_face(crop, model.size_image).reshape(model.E.input.shape[1:])
    image = pipeline.to_float(face).numpy()
    return Photo(pixels, landmarks, chosen, image, model.E(image[None]).numpy())


def generate(model, photo, years, gender):
    """Return the chosen face at ages, float32 [N, S, S, C] in [-1, 1].

    Args:
        model: a FaceAging, trained.
        photo: a Photo.
        years: N ages.
        gender: 0 male, 1 female.
    """
    z = np.repeat(photo.z, len(years), axis=0)
    ages = labels.age_label(np.array(years), model.age_upper)
    genders = labels.one_hot([gender] * len(years), 2)
    return model.G([tf.constant(x) for x in (z, ages, genders)]).numpy()


# -------------------------------------------------------------------------------- showing


def encoded(pixels, format='PNG', **options):
    """Return uint8 pixels [H, W, 1 or 3] as the address of a picture that contains its file."""
    file = io.BytesIO()
    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    picture.save(file, format, **options)
    return to_address(file.getvalue(), f'image/{format.lower()}')


def to_address(data, kind):
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def show_photo(photo):
    """Return the HTML of a photo, with a button around each face."""
    shown = Image.fromarray(photo.pixels)
    shown.thumbnail([SHOWN_SIDE, SHOWN_SIDE], reducing_gap=3)
    frames, (height, width) = [], photo.pixels.shape[:2]
    for k, face in enumerate(photo.landmarks):
        a, b = detector.similarity(face, detector.PLACES)
        centre, side, angle = (0.5 + 0.5j - b) / a, 1 / abs(a), -np.angle(a)
        frames.append(
            f'<button class="frame" data-face="{k}" aria-pressed="{str(k == photo.chosen).lower()}"'
            f' aria-label="Face {k + 1} of {len(photo.landmarks)}" style="left:'
            f'{centre.real / width:.2%};top:{centre.imag / height:.2%};width:{side / width:.2%};'
            f'transform:translate(-50%,-50%) rotate({angle:.3f}rad)"></button>'
        )
    address = encoded(np.asarray(shown), 'JPEG', quality=85)
    return f'<div class="photo"><img src="{address}" alt="Your photo">{"".join(frames)}</div>'


def show_fault(error):
    return f'<p class="fault" role="alert">{html.escape(str(error))}</p>'


def show_picture(pixels, name, caption):
    """Return the HTML of a picture that is saved as `name`."""
    return (
        f'<figure><img src="{encoded(pixels)}" alt="{caption}" data-name="{name}">'
        f'<figcaption>{caption}</figcaption></figure>'
    )


def titled_row(images, titles, rows=1):
    """Return images [N, S, S, C] in [-1, 1], each with a title, as one picture, uint8."""
    shape = rows, len(images) // rows
    return ops.image_grid(ops.titled(images, titles), (0, 255), shape)


def animated(images, titles):
    """Return the file of an animation of images [N, S, S, C] in [-1, 1], bytes."""
    file = io.BytesIO()
    ops.save_gif(images, titles, file)
    return file.getvalue()


# ------------------------------------------------------------------------------- the page

INTRODUCTION = f"""
# A face at every age

This page shows a face as it might look at another age, by the method of
[Zhang, Song and Qi, CVPR 2017]({PAPER}). It is **a likely face of that age** among the 22,000
pictures that the model learned from, **not a forecast**: nobody can see your future in a photo.

Use photos of people who agree, or the made-up people below. A photo stays in the memory of the
computer that runs this page, until you close it. The page is for play and research, not for
business, and never to identify or to judge anyone.
"""
BOX = """
<div class="box">
  <div class="actions">
    <button class="do" data-do="choose">Choose a photo</button>
    <button class="do" data-do="start">Use the camera</button>
  </div>
  <input type="file" accept="image/*" aria-label="Photo" hidden>
  <div class="camera" hidden>
    <video muted playsinline></video><button class="do" data-do="take">Take the picture</button>
  </div>
  <p class="fault" role="alert"></p>
  <div class="value">${value}</div>
  <p class="hint">Or drop one here, or take a made-up face:</p>
  <div class="examples">${examples}</div>
</div>
"""
EMPTY = '<p class="empty">No photo yet.</p>'
CSS = """
.gradio-container { max-width: 1120px !important; margin: auto; }
.box { border: 2px dashed var(--border-color-primary); border-radius: 12px; padding: 12px; }
.actions { display: flex; flex-wrap: wrap; gap: 8px; }
.box button { margin: 0; transform: none; }
.do { flex: 1 1 120px; padding: 10px; border-radius: 8px; color: var(--button-primary-text-color);
  background: var(--button-primary-background-fill); }
.do:hover { background: var(--button-primary-background-fill-hover); }
.photo { position: relative; width: fit-content; margin: 10px auto; overflow: hidden; }
.photo img { display: block; max-width: 100%; max-height: 420px; border-radius: 8px; }
.frame { position: absolute; aspect-ratio: 1; border: 2px solid white; border-radius: 8px;
  outline: 1px solid black; cursor: pointer; background: transparent; }
.frame[aria-pressed=true] { border: 4px solid var(--color-accent); }
.examples { display: grid; grid-template-columns: repeat(5, 1fr); gap: 6px;
  max-width: 340px; }
.examples button { padding: 0; border-radius: 8px; overflow: hidden; }
.examples img { width: 100%; display: block; }
.do:focus-visible, .frame:focus-visible, .examples button:focus-visible {
  outline: 3px solid var(--color-accent); outline-offset: 2px; }
.hint { margin: 10px 0 6px; color: var(--body-text-color-subdued); }
.fault:not(:empty) { margin: 10px 0; padding: 10px; border-radius: 8px; color: #7f1d1d;
  background: #fee2e2; }
.camera video { width: 100%; margin: 8px 0; border-radius: 8px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; }
.pair figure { margin: 0; }
.pair img { width: 100%; border-radius: 8px; }
.pair figcaption { text-align: center; color: var(--body-text-color); }
.strip { contain: inline-size; }
.strip figure { margin: 10px 0; overflow-x: auto; }
.strip img { min-width: 800px; width: 100%; max-width: none; border-radius: 8px; }
.strip figcaption { display: none; }
.strip .moving { width: 256px; min-width: 0; margin: 10px auto; display: block; }
.empty { padding: 32px 8px; text-align: center; color: var(--body-text-color-subdued); }
"""
NEEDS_TWO = '<p class="fault" role="alert">Choose a photo of each of the two people first.</p>'
# Saves the first picture of a part of the page under its name.
SAVE = """(id) => {
  const picture = document.querySelector(`#${id} img[data-name]`);
  if (!picture) return;
  const link = document.createElement('a');
  link.href = picture.src;
  link.download = picture.dataset.name;
  link.click();
}"""


@functools.cache
def examples():
    """Return the HTML of the made-up faces to click."""
    buttons = []
    for k, path in enumerate(EXAMPLES):
        with Image.open(path) as picture:
            face = np.asarray(picture.resize([THUMBNAIL, THUMBNAIL]))
        address = encoded(face, 'JPEG', quality=85)
        buttons.append(
            f'<button data-example="{k}" aria-label="Made-up face {k + 1}">'
            f'<img src="{address}" alt=""></button>'
        )
    return ''.join(buttons)


def photo_box(name):
    """Return a component in which a photo and a face in it are chosen."""
    return gr.HTML(
        '',
        html_template=BOX,
        js_on_load=(HERE / 'page.js').read_text(encoding='utf-8'),
        elem_id=name,
        examples=examples(),
        most_bytes=pictures.MAX_FILE_BYTES,
    )


def read_event(event):
    """Return the bytes of the picture that an event of a photo box is about."""
    if 'example' in event._data:
        return EXAMPLES[event._data['example']].read_bytes()
    return base64.b64decode(event._data['data'])


def build(model):
    """Return the page, a gr.Blocks, for a trained FaceAging."""
    with gr.Blocks(title='A face at every age', analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab('Ages'):
            _build_ages(model)
        with gr.Tab('Two people'):
            _build_pairs(model)

    def forget(request: gr.Request):  # Gradio itself keeps a session for an hour, or for good
        page.state_holder.session_data.pop(request.session_hash, None)

    page.unload(forget)
    return page


def _build_ages(model):
    """Add what one photo is shown by."""
    photo = gr.State()
    with gr.Row():
        with gr.Column(min_width=320):
            box = photo_box('photo')
        with gr.Column(min_width=320):
            picture = gr.HTML(EMPTY, elem_id='picture')
            age = gr.Slider(0, OLDEST, 65, step=1, label='Age in years', elem_id='age')
            gender = gr.Radio(
                [*labels.GENDER_NAMES], value='male', label='Shown as', elem_id='gender'
            )
            with gr.Row():
                save_picture = gr.Button('Save the picture', size='sm')
                save_strip = gr.Button('Save the strip', size='sm')
                save_animation = gr.Button('Save the animation', size='sm')
    strip = gr.HTML(elem_id='strip', elem_classes='strip')
    download = gr.HTML(visible='hidden', elem_id='download')

    def draw(photo, age, gender):
        if photo is None:
            return EMPTY
        (face,) = generate(model, photo, [age], labels.GENDER_NAMES.index(gender))
        photo_crop, face = ops.image_grid(photo.image[None]), ops.image_grid(face[None])
        return (
            '<div class="pair">'
            + show_picture(photo_crop, 'face.png', 'The photo')
            + show_picture(face, f'age_{age:.0f}_{gender}.png', f'At {age:.0f} years, as {gender}')
            + '</div>'
        )

    def draw_strip(photo, gender):
        if photo is None:
            return EMPTY
        years = labels.age_centres(model.age_upper)
        faces = generate(model, photo, years, labels.GENDER_NAMES.index(gender))
        row = titled_row([photo.image, *faces], ['photo', *labels.age_names(model.age_upper)])
        return show_picture(row, f'ages_{gender}.png', 'The face at all ages')

    def animate(photo, gender):
        if photo is None:
            return ''
        years = labels.glide_years(model.age_upper)
        faces = generate(model, photo, years, labels.GENDER_NAMES.index(gender))
        address = to_address(animated(faces, years), 'image/gif')
        return f'<img alt="" src="{address}" data-name="ages_{gender}.gif">'

    settings = [photo, age, gender]
    quiet = {'show_progress': 'hidden', 'api_visibility': 'private'}
    events = [_take(model, box, photo), _choose(model, box, photo)]
    for event in events:
        event.then(draw, settings, picture, **quiet).then(
            draw_strip, [photo, gender], strip, **quiet
        )
    gr.on([age.input, gender.input], draw, settings, picture, trigger_mode='always_last', **quiet)
    gender.input(draw_strip, [photo, gender], strip, **quiet)
    save_picture.click(None, js=f"() => ({SAVE})('picture')")
    save_strip.click(None, js=f"() => ({SAVE})('strip')")
    save_animation.click(
        animate,
        [photo, gender],
        download,
        api_visibility='private',
        show_progress_on=save_animation,
    ).then(None, js=f"() => ({SAVE})('download')")


def _take(model, box, photo):
    """Let a box's photo be read when it is given; return the event."""

    def take(event: gr.EventData):
        try:
            taken = open_photo(model, read_event(event))
        except console.InputError as error:
            return None, show_fault(error)
        return taken, show_photo(taken)

    return box.taken(take, None, [photo, box], api_visibility='private', show_progress='minimal')


def _choose(model, box, photo):
    """Let another face of a box's photo be chosen; return the event."""

    def choose(photo, event: gr.EventData):
        chosen = choose_face(model, photo.pixels, photo.landmarks, event._data['face'])
        return chosen, show_photo(chosen)

    return box.chosen(choose, photo, [photo, box], api_visibility='private', show_progress='hidden')


def _build_pairs(model):
    """Add what is shown of two people: one turned into the other, and their children."""
    people = []
    with gr.Row():
        for k, name in enumerate(('first', 'second')):
            with gr.Column(min_width=320):
                photo, box = gr.State(), photo_box(name)
                age = gr.Slider(0, OLDEST, 30, step=1, label='Age in years')
                gender = gr.Radio([*labels.GENDER_NAMES], value=labels.GENDER_NAMES[k], label='Is')
                _take(model, box, photo), _choose(model, box, photo)
                people.append((photo, age, gender))
    with gr.Row():
        turn = gr.Button('Turn one into the other', variant='primary')
        make = gr.Button('Make children', variant='primary')
    result = gr.HTML(elem_id='result', elem_classes='strip')
    seed = gr.State(0)
    save = gr.Button('Save what is shown', size='sm')

    def turn_into(*values):
        if values[0] is None or values[3] is None:
            return NEEDS_TWO
        both, ages, genders = values[0::3], values[1::3], values[2::3]
        genders = [labels.GENDER_NAMES.index(gender) for gender in genders]
        faces = morph.morph(model, *(photo.image for photo in both), ages, genders)
        years = [f'{age:.0f}' for age in np.linspace(*ages, len(faces))]
        row = titled_row(
            [both[0].image, *faces[:: morph.STRIP_STEP], both[1].image],
            ['photo', *years[:: morph.STRIP_STEP], 'photo'],
        )
        address = to_address(animated(faces, years), 'image/gif')
        return (
            f'<img class="moving" src="{address}" alt="One turns into the other" '
            f'data-name="morph.gif">{show_picture(row, "morph.png", "One turns into the other")}'
        )

    def make_children(first, second, seed):
        if first is None or second is None:
            return NEEDS_TWO, seed
        faces = kids.kids(model, first.image, second.image, CHILDREN, seed)
        boys, girls = np.split(faces, 2)
        titles = [f'{word} {k + 1}' for word in ('boy', 'girl') for k in range(CHILDREN)]
        rows = titled_row(
            [first.image, *boys, second.image, *girls],
            ['photo', *titles[:CHILDREN], 'photo', *titles[CHILDREN:]],
            rows=2,
        )
        return show_picture(rows, 'kids.png', 'Children of the two'), seed + 1

    quiet = {'api_visibility': 'private', 'show_progress': 'minimal'}
    turn.click(turn_into, [value for person in people for value in person], result, **quiet)
    both = [person[0] for person in people]
    make.click(make_children, [*both, seed], [result, seed], **quiet)
    save.click(None, js=f"() => ({SAVE})('result')")


# -------------------------------------------------------------------------------- serving


def serve(page, port, share=False):
    """Serve a page at 127.0.0.1; return once it answers.

    Raises:
        console.InputError: the port is taken.
    """
    try:
        page.launch(
            server_name='127.0.0.1',
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            run_history=False,
            footer_links=['settings'],
            theme=gr.themes.Soft(  # fonts of the system: others would be fetched
                font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']
            ),
            css=CSS,
        )
    except OSError as error:
        raise console.InputError(
            f'Port {port} cannot be used ({error}): name another one, as --port 7861.'
        ) from error


@console.one_sentence()
def main(argv=None):
    parser = argparse.ArgumentParser(prog='python -m demo.page', description=__doc__)
    parser.add_argument('--port', type=int, default=7860, help='at 127.0.0.1 (%(default)s)')
    parser.add_argument(
        '--share',
        type=console.boolean,
        default=False,
        metavar='True|False',
        help="make a public link through Gradio's servers (%(default)s)",
    )
    photos.add_arguments(parser)
    words = parser.parse_args(argv)
    page = build(photos.open_model(words))
    with tempfile.TemporaryDirectory() as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        serve(page, words.port, words.share)
        console.say(f'Open {page.share_url or page.local_url} in a browser; Ctrl-C ends.')
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)


if __name__ == '__main__':
    main()
