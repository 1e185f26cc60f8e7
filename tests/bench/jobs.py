"""The jobs of the benchmark: dltrain's job file, and the same in PyTorch's words (torch_models.py)."""
from collections import namedtuple

Job = namedtuple("Job", "name file sets model precision batch samples optimizer smoothing big")

KERAS_RMSPROP = {"name": "rmsprop", "lr": 1e-3, "alpha": 0.9, "eps": 1e-7}
MLP, CONVNET, CIFAR = "jobs/mnist-mlp.yaml", "jobs/mnist-convnet.yaml", "jobs/cifar10-cnn.yaml"
RESNET, VGG = "jobs/resnet50-imagenet.yaml", "jobs/vgg16-imagenet.yaml"
CIFAR_SHAPED = ["data.train={synthetic: {kind: images, samples: 10000, fields: "
                "{x: {shape: [32, 32, 3], dtype: uint8}, y: {classes: 10}}}}", "data.test=none"]


def momentum(decay):
    return {"name": "sgd", "lr": 1e-3, "momentum": 0.9, "weight_decay": decay}


JOBS = [
    Job("mlp", MLP, [], "mlp", "fp32", 128, 60000, KERAS_RMSPROP, 0, False),
    Job("convnet", CONVNET, [], "convnet", "fp32", 64, 60000, KERAS_RMSPROP, 0, False),
    Job("cifar", CIFAR, CIFAR_SHAPED, "cifar", "fp32", 64, 10000, {**KERAS_RMSPROP, "lr": 1e-4}, 0, False),
    Job("resnet50-bf16", RESNET, [], "resnet50v1.5", "bf16", 8, 64, momentum(1e-4), 0.1, True),
    Job("resnet50", RESNET, [], "resnet50v1.5", "fp32", 8, 64, momentum(1e-4), 0.1, True),
    Job("vgg16-bf16", VGG, [], "vgg16", "bf16", 8, 64, momentum(5e-4), 0.1, True),
    Job("vgg16", VGG, [], "vgg16", "fp32", 8, 64, momentum(5e-4), 0.1, True),
]
BY_NAME = {job.name: job for job in JOBS}


def sets(job, batch=None):
    """What the benchmark changes in a job file: the batch, the precision, and no metrics but the loss."""
    words = job.sets + [f"batch_size={batch or job.batch}", "metrics=[]"]
    return words + ([f"precision={job.precision}"] if job.big else [])
