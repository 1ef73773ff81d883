#!/usr/bin/env bash
# Told that its video is BT.709, PyAV writes so into the file and encodes the colours by BT.601.
#
# Packages: av 18.1.0, opencv-python-headless 5.0.0.93, numpy 2.4.6 (Python 3.11).
# Expected: with codec_context.colorspace set, encode() turns RGB frames into the YUV that it
#   declares, as it takes width, height and pix_fmt from there.
# Happens: only the pixel format is taken; the matrix is that of the frame, which for an RGB array
#   is BT.601. Every reader then trusts the mark and shows other colours, PyAV itself included. The
#   other half alone, reformat(dst_colorspace="ITU709"), gives a file of BT.709 that does not say
#   so, and is wrong as well. The luma below tells which matrix was used: green has 145 by BT.601
#   and 173 by BT.709.
# Seen on 2026-11-29, H.264, red, green, blue and skin (200 150 120), as PyAV reads them again:
#   nothing set:      luma of green 145, marked 2; off by at most 2; OpenCV 2
#   marked:           luma of green 145, marked 1; off by at most 40; OpenCV 40
#   reformatted:      luma of green 173, marked 2; off by at most 23; OpenCV 23
#   both:             luma of green 173, marked 1; off by at most 2; OpenCV 2
#   In Chromium 156, not in the script: nothing set, 320 lines: 2; nothing set, 720 lines: 39;
#     marked, 720 lines: 39
# Who meets it: whoever sees false colours in a browser, which takes a file of 720 lines without a
#   mark for BT.709, and mends it by the mark alone: then they are false everywhere.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --quiet av==18.1.0 opencv-python-headless==5.0.0.93 \
  numpy==2.4.6
"$work/env/bin/python" - "$work/video.mp4" <<'PYTHON'
import sys

import av
import cv2
import numpy as np

path = sys.argv[1]
colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 150, 120]])
picture = np.repeat(np.repeat(colours[None].astype(np.uint8), 64, axis=1), 64, axis=0)
middles = np.arange(4) * 64 + 32
BT709 = 1


def look(mark, reformat):
    """Return luma of green, mark, and how far PyAV and OpenCV are off after a video was written."""
    with av.open(path, 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 64, 'yuv420p'
        stream.options = {'crf': '1'}
        if mark:
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = BT709
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            if reformat:
                frame = frame.reformat(format='yuv420p', dst_colorspace='ITU709')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(path) as container:
        frame = next(container.decode(video=0))
    luma = int(frame.to_ndarray()[32, middles[1]])
    shown = frame.to_ndarray(format='rgb24')
    other = cv2.VideoCapture(path).read()[1][..., ::-1]
    off = [int(np.abs(array[32, middles] - colours).max()) for array in (shown, other)]
    return luma, int(frame.colorspace), *off


seen = {
    'nothing set': look(False, False),
    'marked': look(True, False),
    'reformatted': look(False, True),
    'both': look(True, True),
}
for name, (luma, mark, pyav, opencv) in seen.items():
    print(
        f'{name + ":":17} luma of green {luma}, marked {mark}; off by at most {pyav};'
        f' OpenCV {opencv}'
    )
wrong = [max(off) > 10 for _, _, *off in seen.values()]
right = [max(off) < 5 for _, _, *off in seen.values()]
lumas = [luma > 160 for luma, *_ in seen.values()]
if (
    wrong != [False, True, True, False]
    or right != [True, False, False, True]
    or lumas != [False, False, True, True]
):
    sys.exit('Changed.')
PYTHON
