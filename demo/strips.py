"""Strips and animations: faces side by side or one after the other, with a title on each."""

import os
import typing

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import ops
from data import console

TITLE_BAND = 1 / 6  # height of a title's band, as a part of the picture's width
TITLE_FONT = 2 / 3  # height of its letters, as a part of the band's: 14 pixels at 128 a face
FRAME_MS, END_FRAME_MS = 100, 800  # how long an animation shows a frame, and its first and last
SMPTE_170M = 6  # the colours of PyAV's frames, as H.264 counts them


def titled(images: typing.Sequence[np.ndarray], titles: typing.Sequence) -> np.ndarray:
    """Put a title, a string or number, above each of N images.

    Images are [N, H, W, 3], uint8 or in [-1, 1]; returns uint8 [N, H + TITLE_BAND * W, W, 3].
    """
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8:
        pixels = ops.image_grid(pixels, size_frame=(len(pixels), 1)).reshape(pixels.shape)
    width = pixels.shape[2]
    height = round(width * TITLE_BAND)
    font = ImageFont.load_default(height * TITLE_FONT)
    bands = []
    for title in titles:
        band = Image.new('RGB', (width, height), 'white')
        ImageDraw.Draw(band).text((width / 2, height / 2), str(title), 'black', font, anchor='mm')
        bands.append(np.asarray(band))
    return np.concatenate([bands, pixels], axis=1)


def draw_strip(
    images: typing.Sequence[np.ndarray], titles: typing.Sequence, rows: int = 1
) -> np.ndarray:
    """Return N images, each `titled`, in rows as one picture, uint8 [H, W, 3]."""
    return ops.image_grid(titled(images, titles), (0, 255), (rows, len(images) // rows))


def save_strip(
    images: typing.Sequence[np.ndarray], titles: typing.Sequence, save_path: str, rows: int = 1
):
    """Write a picture as from `draw_strip`."""
    ops.save_batch_images(draw_strip(images, titles, rows)[None], save_path, (0, 255))


def save_gif(
    images: typing.Sequence[np.ndarray],
    titles: typing.Sequence,
    save_path: str | os.PathLike | typing.BinaryIO,
):
    """Write N images, each `titled`, as an endless animation (GIF), there and back."""
    frames = titled(images, titles)
    # The 256 colours that fit all frames best, chosen from a quarter of the pixels; with a standard
    # palette bright skin falls into patches. No dithering: it flickers and takes half as much space
    # again.
    palette = Image.fromarray(np.concatenate(frames[:, ::2, ::2])).quantize(256, kmeans=1)
    frames = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    order, durations = _there_and_back(len(frames))
    first, *rest = (frames[index] for index in order)
    with console.naming(save_path):
        first.save(save_path, 'GIF', save_all=True, append_images=rest, duration=durations, loop=0)


def _there_and_back(count):
    """Return the order of an animation's frames, and for how many milliseconds each is shown."""
    last = count - 1
    order = [*range(count), *range(last - 1, 0, -1)]
    return order, [END_FRAME_MS if index in (0, last) else FRAME_MS for index in order]


def require_encoder():
    """Return the module that encodes videos, PyAV, or raise an InputError."""
    try:
        import av
    except ImportError as error:
        raise console.InputError(
            'A video needs the package av: pip install -r demo/requirements.txt.'
        ) from error
    return av


def save_video(frames: typing.Sequence[np.ndarray], file: typing.BinaryIO):
    """Write frames uint8 [H, W, 3] as a video (MP4 of H.264), there and back.

    Its frames are shown as long as those of `save_gif`. Raises an InputError without PyAV.
    """
    av = require_encoder()
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])  # H.264 takes even sides
    with av.open(file, 'w', format='mp4') as video:
        stream = video.add_stream('libx264', rate=1000 // FRAME_MS)
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        # Without these marks Chromium takes the colours of more than 719 lines by another matrix.
        for mark in ('colorspace', 'color_primaries', 'color_trc'):
            setattr(stream.codec_context, mark, SMPTE_170M)
        for index, duration in zip(*_there_and_back(len(frames)), strict=True):
            for _ in range(duration // FRAME_MS):
                frame = av.VideoFrame.from_ndarray(frames[index][:height, :width])
                video.mux(stream.encode(frame))
        video.mux(stream.encode())
