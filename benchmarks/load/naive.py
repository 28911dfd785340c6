"""What most digit sites do: a view that shrinks the picture and calls Keras' `model.predict`.

`benchmarks/load/mixed.py` serves it like the site, to compare the two. Needs TensorFlow.
"""

import io
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from PIL import Image

from benchmarks.harness import ROOT

MODEL = keras.models.load_model(ROOT / "recognizer" / "bundled" / "digits.keras", compile=False)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Read the picture in the request's body; say at /readyz which process answers."""
    if environ["PATH_INFO"] == "/readyz":
        return answer({"process": os.getpid()}, start_response)
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    picture = Image.open(io.BytesIO(body)).convert("L").resize((28, 28))
    outputs = MODEL.predict(np.asarray(picture, np.float32)[None, :, :, None] / 255, verbose=0)
    scores = np.asarray(outputs[0] if isinstance(outputs, list) else outputs).reshape(-1)[:10]
    return answer({"digit": int(scores.argmax())}, start_response)


def answer(content: dict[str, int], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = json.dumps(content).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
