"""A file of reference cases: NAME.txt, what each case is, and NAME.f32, its numbers.

The text names, for each case, a job (model, loss, optimizer) and tensors; the numbers of a tensor
(little endian; float32, labels int32) stand in the other file, in the order of the text. Layouts
and names are Keras's. The lines of a case:

    case NAME
    job COUNT                       so many lines of the job follow
    steps_per_epoch COUNT           for schedules that count epochs
    input NAME float32|int32 CLASSES DIM...    a field of the data, samples first; 0: no labels
    weight NAME DIM...              initial values
    output NAME DIM...              of an output layer, in inference form, with the initial weights
    evaluation NAME VALUE           loss and metrics in inference form, with the initial weights
    training NAME VALUE             loss and metrics of the first step
    gradient NAME DIM...            of the first step's loss, penalties included, before clipping
    after NAME DIM...               the weight after ten steps on the same batch
    end
"""

import numpy as np

STEPS = 10


class Writer:
    def __init__(self, path, heading):
        self.text = [f"# {line}" for line in heading]
        self.blob = bytearray()
        self.path = path
        self.names = set()

    def begin(self, name, job, steps_per_epoch=None):
        assert name not in self.names, name
        self.names.add(name)
        lines = job.strip("\n").split("\n")
        self.text += ["", f"case {name}", f"job {len(lines)}", *lines]
        if steps_per_epoch:
            self.text.append(f"steps_per_epoch {steps_per_epoch}")

    def tensor(self, key, name, array, words=""):
        array = np.asarray(array)
        kind = "<i4" if np.issubdtype(array.dtype, np.integer) else "<f4"
        assert np.isfinite(array).all(), (key, name)
        dims = " ".join(str(n) for n in array.shape)
        self.text.append(" ".join(f"{key} {name} {words} {dims}".split()))
        self.blob += array.astype(kind).tobytes()

    def field(self, name, array, classes=0):
        kind = "int32" if np.issubdtype(array.dtype, np.integer) else "float32"
        self.tensor("input", name, array, f"{kind} {classes}")

    def value(self, key, name, number):
        assert np.isfinite(number), (key, name)
        self.text.append(f"{key} {name} {float(number):.9g}")

    def end(self):
        self.text.append("end")

    def close(self):
        with open(self.path + ".txt", "w") as file:
            file.write("\n".join(self.text) + "\n")
        with open(self.path + ".f32", "wb") as file:
            file.write(self.blob)
        print(f"{self.path}: {len(self.names)} cases, {len(self.blob)} bytes of numbers")


def generator(name):
    """Random numbers that depend on the case's name alone."""
    return np.random.default_rng(list(name.encode()))


def draw(random, *shape):
    """Normal numbers that float32 holds exactly."""
    return random.normal(size=shape).astype(np.float32).astype(np.float64)


def first_weight(random, name, shape):
    """Of a size that keeps activations near 1, whatever the weight is."""
    kind = name.rsplit("/", 1)[-1]
    noise = random.normal(size=shape)
    if kind == "gamma":
        noise = 1 + 0.3 * noise
    elif kind == "moving_variance":
        noise = 0.5 + noise**2
    elif kind in ("beta", "bias", "moving_mean"):
        noise = 0.3 * noise
    else:
        fan = max(1, int(np.prod(shape[:-2] + shape[-1:] if "depthwise" in kind else shape[:-1])))
        noise = noise / np.sqrt(fan)
    return noise.astype(np.float32).astype(np.float64)


def yaml(value):
    """A Python value as a job says it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(yaml(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {yaml(v)}" for k, v in value.items()) + "}"
    return str(value)


def item(word, arguments):
    return f"{{{word}: {yaml(arguments)}}}" if arguments else word
