"""Runs DeepLabCut-Live in its own environment, told what to do in lines of JSON; it needs nothing of posestream.

Started by `peer.py` with the other environment's Python: peer_worker.py MODEL. Each line on stdin names a file of
frames, uint8 BGR (N, H, W, 3), seconds to run for, and a file for the poses; each answer has the times of the frames,
which are inferred one after the other, and begun again, until the time is over.
"""

import json
import os
import sys
import time


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3")
    try:
        from importlib.metadata import version

        import numpy as np
        from dlclive import DLCLive

        live = DLCLive(sys.argv[1], model_type="base", display=False)
        print(json.dumps({"version": version("deeplabcut-live")}), file=answers, flush=True)
    except Exception as error:  # noqa: BLE001 - told to the other side
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    shape = None
    for line in sys.stdin:
        asked = json.loads(line)
        frames = np.load(asked["frames"])
        try:
            if frames.shape[1:] != shape:
                live.init_inference(frames[0])
                live.get_pose(frames[0])
                shape = frames.shape[1:]
            poses: list[object] = []
            seconds: list[float] = []
            began = time.perf_counter()
            while len(seconds) < 2 or time.perf_counter() - began < asked["seconds"]:
                start = time.perf_counter()
                pose = live.get_pose(frames[len(seconds) % len(frames)])
                seconds.append(time.perf_counter() - start)
                if len(poses) < len(frames):
                    poses.append(pose)
            np.save(asked["poses"], np.array(poses, dtype=np.float32))
            answer: dict[str, object] = {"seconds": seconds}
        except Exception as error:  # noqa: BLE001 - told to the other side
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
