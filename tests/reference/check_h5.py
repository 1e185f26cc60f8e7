"""Asks Keras 2 whether it reads our model.h5. By hand, with TensorFlow 2.15 installed:

    python tests/reference/check_h5.py BUILD_FOLDER
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow import keras

source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
build = os.path.abspath(sys.argv[1])


def network():
    return keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv2d"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(3, activation="softmax", name="dense"),
        ]
    )


def tensor(t, *shape):
    return (t + np.arange(np.prod(shape), dtype=np.float32) / np.float32(1000)).reshape(shape)


wanted = [
    tensor(0, 4, 3, 3, 2).transpose(1, 2, 3, 0),
    tensor(1, 4),
    tensor(2, 3, 36).transpose(1, 0),
    tensor(3, 3),
]
with tempfile.TemporaryDirectory() as folder:
    writer, path = os.path.join(folder, "write_h5"), os.path.join(folder, "model.h5")
    config = os.path.join(folder, "config.json")
    model = network()
    with open(config, "w") as file:
        file.write(model.to_json())
    subprocess.run(
        ["mpicc", "-std=gnu11", "-I" + source, os.path.join(source, "tests/reference/write_h5.c"),
         os.path.join(build, "libdlcore.a"), "-o", writer]
        + "-L/usr/lib/x86_64-linux-gnu/hdf5/serial -lhdf5 -ljansson -lyaml -lz -ldnnl -lgomp -lm -lpthread".split(),
        check=True)
    subprocess.run([writer, path, config], check=True)
    whole = keras.models.load_model(path, compile=False)
    by_order, by_name = network(), network()
    by_order.load_weights(path)
    by_name.load_weights(path, by_name=True)
    for loaded in (whole, by_order, by_name):
        got = loaded.get_weights()
        assert len(got) == len(wanted)
        for a, b in zip(got, wanted):
            assert a.shape == b.shape and np.array_equal(a, b), (a, b)
    images = np.random.default_rng(0).normal(size=(7, 5, 5, 2)).astype(np.float32)
    assert np.array_equal(whole(images), by_order(images))
    print("Keras", tf.__version__, "reads model.h5: whole, by order, by name")
