"""Stands in for rpicam-vid and ffmpeg: writes the JPEGs of a folder to standard output.

FAKE_PICTURES is the folder, FAKE_RATE the pictures a second, FAKE_FAULT what goes wrong, and
FAKE_SAID a file into which the arguments go. The standard library alone: it starts within 50 ms.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

FAULT = os.environ.get("FAKE_FAULT", "")
BEFORE = 5  # pictures before something goes wrong


def end(words: str, code: int = 255) -> None:
    print("[0:12:34] INFO Camera camera_manager.cpp:327 libcamera v0.5", file=sys.stderr)
    print(words, file=sys.stderr, flush=True)
    os._exit(code)


def main() -> None:
    arguments = sys.argv[1:]
    Path(os.environ["FAKE_SAID"]).write_text(json.dumps([os.getpid(), *arguments]))
    if "--list-cameras" in arguments:
        if FAULT == "silent":
            time.sleep(60)
        print("Available cameras\n-----------------")
        print("0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)")
        print("    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]")
        print("1 : ov5647 [2592x1944 10-bit GBRG] (/base/soc/i2c0mux/i2c@0/ov5647@36)")
        return
    if FAULT == "absent":
        end("ERROR: *** no cameras available ***")
    if FAULT == "busy":
        end("ERROR: *** failed to acquire camera /base/soc/i2c0mux/i2c@1/imx708@1a ***")
    if FAULT == "password":
        url = arguments[arguments.index("-i") + 1]
        print("[rtsp @ 0x55] method DESCRIBE failed: 401 Unauthorized", file=sys.stderr)
        user = url.partition("://")[2].rpartition("@")[0]  # without what tells that it is a URL
        end(f"{url}: Server returned 401 to {user}")
    if FAULT == "silent":
        time.sleep(60)
    if FAULT in ("stubborn", "parent"):
        usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.fork() == 0:  # it holds the pipe too
            time.sleep(60)
        if FAULT == "parent":  # it ends, and its child does not
            signal.signal(signal.SIGINT, usual)
    if FAULT == "noise":
        while True:
            sys.stdout.buffer.write(bytes(1000) + b"\xff\xd8\xff\xd9")
            sys.stdout.buffer.flush()
    write_pictures(float(os.environ.get("FAKE_RATE", "50")))


def write_pictures(rate: float) -> None:
    pictures = [path.read_bytes() for path in sorted(Path(os.environ["FAKE_PICTURES"]).iterdir())]
    out, begun, count = sys.stdout.buffer, time.monotonic(), 0
    while True:
        out.write(pictures[count % len(pictures)])
        out.flush()
        count += 1
        if FAULT == "chatty":
            print("frame" * 200, file=sys.stderr, flush=True)
        if count == BEFORE and FAULT == "hang":
            time.sleep(60)
        if count == BEFORE and FAULT == "die":
            end("ERROR: *** device timeout \x1b[31m ***")
        if count == BEFORE and FAULT == "cut":
            out.write(pictures[0][:300])
            out.flush()
            os._exit(0)
        time.sleep(max(0.0, begun + count / rate - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)
