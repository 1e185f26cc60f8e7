"""Files that the benchmark reads: MNIST's where DLTRAIN_DATA has them, else made-up ones of the same form; and
what the loaders are measured on."""
import gzip
import os
import struct

NAMES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
         "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def noise(count):
    block = os.urandom(1 << 20)
    return (block * (count // len(block) + 1))[:count]


def labels(count):
    return bytes(i * 7 % 10 for i in range(count))


def idx(shape, data):
    return struct.pack(">HBB", 0, 8, len(shape)) + struct.pack(f">{len(shape)}I", *shape) + data


def mnist(scratch):
    """DLTRAIN_DATA for the jobs, and what it is."""
    given = os.environ.get("DLTRAIN_DATA", "")
    if given and all(os.path.exists(os.path.join(given, "mnist", name)) for name in NAMES):
        return given, "MNIST"
    folder = os.path.join(scratch, "mnist")
    os.makedirs(folder, exist_ok=True)
    for images, answers, count in ((NAMES[0], NAMES[1], 60000), (NAMES[2], NAMES[3], 10000)):
        for name, data in ((images, idx((count, 28, 28), noise(count * 784))), (answers, idx((count,), labels(count)))):
            with gzip.open(os.path.join(folder, name), "wb", compresslevel=1) as file:
                file.write(data)
    return scratch, "made-up files in MNIST's form"


def npy(shape, word):
    text = "{'descr': '%s', 'fortran_order': False, 'shape': (%s,), }" % (word, ", ".join(str(n) for n in shape))
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def write(path, *parts):
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)
    return path


JOB = """data:
  train: {%s: {x: %s, y: %s}}
model: [flatten, {dense: {units: 10}}]
loss: sparse_categorical_crossentropy
optimizer: sgd
batch_size: %d
epochs: 1
"""


def loader_jobs(scratch, quick):
    """(name, job file, files) of each form."""
    small, large = (20000, 300) if quick else (60000, 1200)
    forms = [("IDX, 28x28 uint8", "idx", (small, 28, 28), 128, idx((small, 28, 28), b""), 784, "idx"),
             ("IDX, 224x224x3 uint8", "idx", (large, 224, 224, 3), 16, idx((large, 224, 224, 3), b""), 150528, "idx"),
             ("NPY, 28x28 float32", "npy", (small, 28, 28), 128, npy((small, 28, 28), "<f4"), 3136, "npy"),
             ("NPY, 224x224x3 uint8", "npy", (large, 224, 224, 3), 16, npy((large, 224, 224, 3), "|u1"), 150528, "npy")]
    for i, (name, source, shape, batch, head, size, form) in enumerate(forms):
        data = bytes(shape[0] * size) if size == 3136 else noise(shape[0] * size)
        x = write(os.path.join(scratch, f"x{i}.{form}"), head, data)
        y_head = idx((shape[0],), b"") if form == "idx" else npy((shape[0],), "|u1")
        y = write(os.path.join(scratch, f"y{i}.{form}"), y_head, labels(shape[0]))
        job = os.path.join(scratch, f"loader{i}.yaml")
        write(job, (JOB % (source, x, y, batch)).encode())
        yield name, job, [x, y]
