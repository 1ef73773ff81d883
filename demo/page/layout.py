"""The page itself: what is shown where, and what happens when something is moved or clicked."""

import base64
import contextlib
import ctypes
import functools
import html
import os
import pathlib

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # Gradio reads it when it is imported
os.environ['GRADIO_ANALYTICS_MAX_EVENTS'] = '1'  # else each event makes a table of 10,000

import gradio as gr
from starlette.middleware import Middleware, body_limit

from data import console, labels, readers
from demo import likeness
from demo.page.studio import FAULT, Studio, show_crop, show_photo
from init_model import codes

HERE = pathlib.Path(__file__).parent
EXAMPLES = sorted((HERE.parent / 'faces').glob('*.jpg'), key=readers.parse_name)
KINDS = {  # of files that one can save, and what makes them
    'picture': Studio.save_picture,
    'strip': Studio.save_strip,
    'video': Studio.save_video,
    'GIF': Studio.save_animation,
}
AGE_IS = {
    'guessed': 'Guessed. Correct it if you know.',
    'named': "Told by the photo's name.",
    'given': 'As you told it.',
}
# Answers come within a moment; of several events of a control the last one counts.
QUIET = {'show_progress': 'hidden', 'trigger_mode': 'always_last'}
OLDEST = 90  # years, of the slider; from the last central year on, 80, the label stays
MOST_BYTES = 42_000_000  # of a request: a photo of 30 MB, as text

TITLE = """
# A face at every age

**A likely face of that age**, not a forecast. Use photos of people who agree, or made-up ones.
"""
ABOUT = """
The page shows a face as it might look at another age, by the method of
[Zhang, Song and Qi, CVPR 2017](https://arxiv.org/abs/1702.08423). It is a likely face of that age
among the 22,000 pictures that the model learned from: nobody can see your future in a photo.

A photo stays in the memory of the computer that runs this page, until you close it. The page is for
play and research, not for business, and never to identify or to judge anyone.
"""
BOX = """
<div class="box">
  <button class="do" data-do="choose">Choose or take a photo</button>
  <input type="file" accept="image/*" aria-label="Photo" hidden>
  <div class="examples" aria-label="Made-up faces">${examples}</div>
  <p class="fault" role="alert"></p>
  <div class="value">${value}</div>
</div>
"""
EMPTY = '<p class="empty">Drop a photo here, or take a made-up face.</p>'


def build(method: likeness.AgingMethod) -> gr.Blocks:
    """Return the page, which starts from a method; without Codes it has no age shift."""
    studio = Studio(method)
    with gr.Blocks(title='A face at every age', analytics_enabled=False) as page:
        gr.Markdown(TITLE)
        with gr.Tab('Ages'):
            _build_ages(studio)
        with gr.Tab('Two people'):
            _build_pairs(studio)
        with gr.Accordion('About this page', open=False):
            gr.Markdown(ABOUT)

    def forget(request: gr.Request):  # Gradio itself keeps photos for an hour, results for good
        page.state_holder.session_data.pop(request.session_hash, None)
        with contextlib.suppress(OSError, AttributeError):  # glibc alone keeps what was freed
            ctypes.CDLL('libc.so.6').malloc_trim(0)

    page.unload(forget)
    return page


def _build_ages(studio):
    """Add what is shown of one photo."""
    method = studio.method
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            box, shown = _box('photo')
            ages = gr.HTML(js_on_load=_script('ages'), elem_id='ages')
        with gr.Column(scale=2, min_width=320):
            age = gr.Slider(0, OLDEST, 65, step=1, label='Age in years', elem_id='age')
            with gr.Row():
                gender = gr.Radio([*labels.GENDER_NAMES], value='male', label='Shown as')
                own_age = gr.Number(
                    label='Own age', precision=0, minimum=0, maximum=OLDEST, visible=False
                )
            with gr.Row():
                saves = [
                    gr.Button(f'Save {kind}', size='sm', min_width=80, interactive=False)
                    for kind in KINDS
                ]
            crop = gr.HTML(elem_id='crop')
            with gr.Accordion('More', open=False):
                age_shift = gr.Slider(
                    0,
                    likeness.MOST_AGE_SHIFT,
                    method.age_shift,
                    step=0.05,
                    label='How much the age shows',
                    info='0: the method of the paper, cautious.'
                    if method.codes
                    else f'Needs statistics of the codes: {codes.COMMAND}.',
                    interactive=bool(method.codes),
                )
                share = gr.Slider(
                    0,
                    1,
                    method.likeness,
                    step=0.05,
                    label='How much of the photo stays',
                    info='0: the face as the model makes it. 1: the photo, with only the change.',
                )
    # What the scripts of the page receive.
    exact = gr.HTML(None, html_template='', js_on_load=_script('exact'), visible='hidden')
    saved = gr.HTML(None, html_template='', js_on_load=_script('saved'), visible='hidden')

    def show(new, fault=''):
        if new is None:
            hidden = gr.Number(visible=False)
            cleared = {shown: None, box: fault, ages: '', crop: '', own_age: hidden}
            return cleared | dict.fromkeys(saves, gr.Button(interactive=False))
        return {
            shown: new,
            box: show_photo(new, is_compared=True),
            ages: studio.wait_for_ages(),
            crop: show_crop(new),
            gender: labels.GENDER_NAMES[new.portrait.gender],
            own_age: gr.Number(
                round(new.portrait.age), info=AGE_IS[new.portrait.age_is], visible=True
            ),
        } | dict.fromkeys(saves, gr.Button(interactive=True))

    def correct(old, years):
        if old is None or years in (None, round(old.portrait.age)):
            return {shown: gr.skip()}
        return show(studio.choose(old.portrait.photo, old.portrait.index, old.name, years))

    def step(event: gr.EventData):
        return event._data['year']

    changed = [shown, box, ages, crop, gender, own_age, *saves]
    _listen(studio, box, shown, changed, show)
    gr.on([own_age.submit, own_age.blur], correct, [shown, own_age], changed, **QUIET)

    of_all_ages = [shown, gender, age_shift, share]
    settings = [shown, age, gender, age_shift, share]
    moved = [shown.change, gender.input, age_shift.input, share.input]
    # One listener for a new face and for the sliders: the last of several events counts.
    gr.on([*moved, age.input], studio.draw, settings, exact, **QUIET)
    gr.on(moved, studio.draw_ages, of_all_ages, ages, **QUIET)
    ages.stepped(step, None, age, queue=False, **QUIET)
    for button, save in zip(saves, KINDS.values(), strict=True):
        waits = gr.update(value='Making it ...', interactive=False)
        ready = gr.update(value=button.value, interactive=True)
        busy = button.click(functools.partial(dict, waits), None, button, queue=False)
        made = busy.then(functools.partial(save, studio), settings, saved)
        made.then(functools.partial(dict, ready), None, button, queue=False)


def _box(name):
    """Add a box in which a photo, and a face in it, are chosen; return it and the face's State."""
    faces = ''.join(
        f'<button data-example="{path.name}" aria-label="Made-up face {k}">'
        f'<img src="data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}" alt="">'
        '</button>'
        for k, path in enumerate(EXAMPLES, 1)
    )
    script = _script('box')
    box = gr.HTML(EMPTY, html_template=BOX, js_on_load=script, elem_id=name, examples=faces)
    return box, gr.State()


def _script(name):
    return (HERE / f'{name}.js').read_text(encoding='utf-8')


def _listen(studio, box, shown, outputs, show):
    """Give `show` what a visitor chooses in a box, or None and the HTML of a fault."""

    def take(event: gr.EventData):
        sent = event._data
        try:
            return show(studio.open_photo(base64.b64decode(sent['data']), sent['name']))
        except console.InputError as error:
            return show(None, FAULT.format(html.escape(str(error))))

    def choose(old, event: gr.EventData):
        return show(studio.choose(old.portrait.photo, event._data['face'], old.name))

    box.taken(take, None, outputs, show_progress='minimal', show_progress_on=box)
    box.chosen(choose, shown, outputs, show_progress='hidden')


def _build_pairs(studio):
    """Add what is shown of two people: one turned into the other, and their children."""
    people = []
    with gr.Row():
        for name in ('first', 'second'):
            with gr.Column(min_width=320):
                people.append(_choose_person(studio, name))
    with gr.Row():
        turn = gr.Button('Turn one into the other', variant='primary')
        make = gr.Button('Make children', variant='primary')
    result = gr.HTML(elem_id='result')
    seed = gr.State(0)
    turn.click(studio.turn_into, people, result, show_progress='minimal')
    make.click(studio.make_children, [*people, seed], [result, seed], show_progress='minimal')


def _choose_person(studio, name):
    """Add a box in which a person is chosen; return the State of whom it shows."""
    box, shown = _box(name)

    def show(new, fault=''):
        return {shown: new, box: fault or show_photo(new, is_compared=False)}

    _listen(studio, box, shown, [shown, box], show)
    return shown


def serve(page, port: int, share: bool = False, host: str = '127.0.0.1', root_path: str = ''):
    """Serve a page, by a proxy under a path; return once it answers, or raise an InputError."""
    others = os.environ.get('no_proxy') or os.environ.get('NO_PROXY') or ''
    os.environ['no_proxy'] = f'{host},127.0.0.1,localhost,{others}'.rstrip(',')  # Gradio calls it
    limit = Middleware(body_limit.RequestBodyLimitMiddleware, max_body_size=MOST_BYTES)
    for event in page.fns.values():  # two computations at once, since each may use all processors
        event.concurrency_id, event.concurrency_limit = 'all', 2
    page.queue(max_size=64, api_open=False)  # computations that wait; an open API would pass by
    try:
        page.launch(
            server_name=host,
            server_port=port,
            root_path=root_path,
            share=share,
            max_file_size=0,  # photos come in calls, which write no files
            state_session_capacity=30,  # visitors whose photos are kept, the latest
            app_kwargs={'middleware': [limit]},
            enable_monitoring=False,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            run_history=False,
            footer_links=['settings'],
            theme=gr.themes.Soft(  # fonts of the system: others would be fetched
                font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']
            ),
            css=(HERE / 'page.css').read_text(encoding='utf-8'),
        )
    except Exception as error:  # of Gradio, httpx or the system
        raise console.InputError(
            f'Port {port} cannot be used ({console.first_line(error)}): name another one, as '
            '--port 7861.'
        ) from error
