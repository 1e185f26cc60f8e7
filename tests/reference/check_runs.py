"""Asks Keras 2 and TensorBoard about whole runs: model.h5 loads and predicts what `dltrain predict`
does, and the event files hold the epochs of log.csv, also after a resume. By hand, with TensorFlow
2.15 and tensorboard installed; real data (DLTRAIN_DATA) for the jobs of MNIST:

    python tests/reference/check_runs.py BUILD_FOLDER
"""
import csv
import os
import shutil
import subprocess
import sys
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow import keras, make_ndarray

source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
program = os.path.join(os.path.abspath(sys.argv[1]), "dltrain")

NORMALISED = """
data:
  train: {synthetic: {kind: images, samples: 64, fields: {x: {shape: [16, 12, 3]}, y: {classes: 4}}}}
model:
  - zero_padding2d: [[1, 2], [0, 1]]
  - conv2d: {filters: 8, kernel_size: [3, 5], strides: [2, 1], padding: same, use_bias: false,
             kernel_regularizer: {l2: 0.001}, kernel_initializer: he_normal}
  - batch_normalization
  - leaky_relu: 0.2
  - depthwise_conv2d: {kernel_size: 3, padding: same, depth_multiplier: 2}
  - {batch_normalization: {center: false, momentum: 0.8}, name: second}
  - activation: relu
  - average_pooling2d: {pool_size: 2, padding: same}
  - gaussian_noise: 0.1
  - layer_normalization
  - conv2d: {filters: 6, kernel_size: 3, dilation_rate: 2, padding: same, activation: elu}
  - conv2d: {filters: 8, kernel_size: 3, strides: 2, groups: 2, padding: same, activation: swish}
  - global_max_pooling2d
  - dropout: 0.3
  - dense: {units: 4, activation: softmax, kernel_regularizer: {l1_l2: {l1: 0.001, l2: 0.001}},
            bias_initializer: {constant: 0.1},
            kernel_initializer: {variance_scaling: {scale: 2, mode: fan_out, distribution: uniform}}}
freeze: [conv2d]
loss: sparse_categorical_crossentropy
optimizer: adam
metrics: [accuracy]
batch_size: 16
epochs: 2
"""
SHARED = """
data:
  train: {synthetic: {kind: vectors, samples: 64,
                      fields: {left: {shape: [6]}, right: {shape: [6]}, y: {classes: 3}}}}
models:
  tower:
    - {dense: {units: 8, activation: tanh}, name: wide}
    - batch_normalization
    - {dense: 5, name: narrow}
model:
  - {dense: 4, inputs: right, name: late}
  - {call: tower, inputs: right, name: b}
  - {call: tower, inputs: left, name: a}
  - {subtract, inputs: [a, b], name: gap}
  - {copy: tower, inputs: left, name: own}
  - {multiply, inputs: [a, own], name: both}
  - {maximum, inputs: [a, b, own], name: most}
  - {concatenate, inputs: [gap, both, left, late, most], name: all}
  - {dense: {units: 3, activation: softmax}, inputs: all, name: out}
  - {dense: {units: 1}, inputs: all, name: size}
loss: {out: {sparse_categorical_crossentropy: {target: y}}, size: {mse: {target: y}}}
optimizer: sgd
metrics: [{accuracy, output: out}]
batch_size: 16
epochs: 2
"""
SERIES = """
data:
  train: {synthetic: {kind: vectors, samples: 64, fields: {x: {shape: [20, 3]}, y: {classes: 3}}}}
model:
  - conv1d: {filters: 6, kernel_size: 3, padding: causal, dilation_rate: 2, activation: relu}
  - max_pooling1d: {pool_size: 3, strides: 2, padding: same}
  - conv1d: {filters: 4, kernel_size: 3, strides: 2, padding: same, activation: hard_sigmoid}
  - permute: [2, 1]
  - average_pooling1d: {pool_size: 2}
  - reshape: [2, -1]
  - flatten
  - dense: {units: 7, activation: selu, kernel_initializer: lecun_normal}
  - dense: {units: 3, activation: softmax}
loss: sparse_categorical_crossentropy
optimizer: nadam
metrics: [accuracy]
batch_size: 16
epochs: 2
"""
SMALL = "data.train.synthetic.samples=32"
# name: (job file or text, --set arguments, scale of the inputs or "digits" where the job has steps)
JOBS = {
    "normalised": (NORMALISED, [], 1),
    "shared": (SHARED, [], 1),
    "series": (SERIES, [], 1),
    "separable": ("separable.yaml", [SMALL], 300),
    "inception-block": ("inception-block.yaml", [SMALL, "batch_size=16"], 1),
    "mnist-mlp": ("mnist-mlp.yaml", ["epochs=1"], "digits"),
    "mnist-convnet": ("mnist-convnet.yaml", ["epochs=1", "data.train.first=6000"], "digits"),
}


def train(job, sets=(), fresh=True):
    command = [program, job, *(["--fresh"] if fresh else [])]
    for one in sets:
        command += ["--set", one]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def inputs_of(model, scale):
    """What the model is given, and the same before the job's steps."""
    random = np.random.default_rng(0)
    if scale == "digits":
        raw = random.integers(0, 256, (32, 28, 28), dtype=np.uint8)
        given = (raw.astype(np.float32) * np.float32(1 / 255)).reshape((32, *model.input_shape[1:]))
        return [given], {"x": raw}
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    given = [(scale * random.normal(size=(32, *shape[1:]))).astype(np.float32) for shape in shapes]
    return given, dict(zip(model.input_names, given))


def check_model(name, scale):
    run = os.path.join("runs", name)
    model = keras.models.load_model(os.path.join(run, "model.h5"))
    given, raw = inputs_of(model, scale)
    file = "in.npy" if list(raw) == ["x"] else "in.npz"
    if file == "in.npy":
        np.save(file, raw["x"])
    else:
        np.savez(file, **raw)
    subprocess.run([program, "predict", run, file, "--output", "out.npy"], check=True,
                   stdout=subprocess.DEVNULL)
    wanted = model.predict(given if len(given) > 1 else given[0], verbose=0)
    wanted = dict(zip(model.output_names, wanted if isinstance(wanted, list) else [wanted]))
    for output, want in wanted.items():
        got = np.load("out.npy" if len(wanted) == 1 else f"out-{output}.npy")
        assert got.shape == want.shape, (name, output, got.shape, want.shape)
        error = np.abs(got - want).max() / max(1, np.abs(want).max())
        spread = want.std(axis=0).max()
        assert error < 1e-5 and spread > 20 * error, (name, output, error, spread)
        print(f"{name}: {type(model).__name__}, {model.count_params()} parameters, {output}: "
              f"largest difference {error:.1e}, spread of the samples {spread:.1e}")


def scalars(folder):
    events = EventAccumulator(folder, size_guidance={"tensors": 0, "scalars": 0})
    events.Reload()
    tags = events.Tags()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    for tag in tags["tensors"]:
        found[tag] = [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
    return found


def check_events(run):
    with open(os.path.join(run, "log.csv")) as file:
        rows = list(csv.DictReader(file))
    for part, prefix in (("train", ""), ("validation", "val_")):
        found = scalars(os.path.join(run, "tensorboard", part))
        for value in ("loss", "accuracy"):
            got = found["epoch_" + value]
            want = [(int(row["epoch"]), float(row[prefix + value])) for row in rows]
            assert [step for step, _ in got] == [step for step, _ in want], (run, part, got, want)
            for (_, a), (_, b) in zip(got, want):
                assert abs(a - b) <= 1e-6 * max(1, abs(b)), (run, part, value, a, b)
    print(f"{run}: {len(rows)} epochs in train/ and validation/")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for name, (job, sets, scale) in JOBS.items():
        if scale == "digits" and not os.environ.get("DLTRAIN_DATA"):
            print(f"{name}: skipped, DLTRAIN_DATA is not set")
            continue
        path = os.path.join(source, "jobs", job)
        if "\n" in job:
            path = name + ".yaml"
            with open(path, "w") as file:
                file.write(job)
        train(path, sets + ["name=" + name])
        check_model(name, scale)
    with open("events.yaml", "w") as file:
        file.write(SERIES.replace("data:\n", "data:\n  validation: {last: 16}\n"))
    sets = ["epochs=5", "checkpoint.every=2 steps", "checkpoint.keep=100"]
    train("events.yaml", sets)
    check_events("runs/events")
    # As if the run had died in the third epoch, whose first two steps are saved.
    for step in os.listdir("runs/events/checkpoints"):
        if int(step[-8:]) > 8:
            shutil.rmtree(os.path.join("runs/events/checkpoints", step))
    for file in "status.json", "model.h5":
        os.remove(os.path.join("runs/events", file))
    train("events.yaml", sets, fresh=False)
    check_events("runs/events")
