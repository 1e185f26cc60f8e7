"""Writes torch.txt and torch.f32: PyTorch as the second opinion on gradients of convolutions, batch
normalisation, cross-entropies and optimizers, with code that shares nothing with Keras.

    python3 make_torch.py        with PyTorch 2 and NumPy

float64 throughout; layouts and names in the file are Keras's: channels last, kernels (kernel,
input, output).
"""

import torch
import torch.nn.functional as F

import reference_file as ref

torch.set_default_dtype(torch.float64)
MULTIPLIER = 2  # of depthwise convolutions


def to_keras(name, tensor):
    """PyTorch's (output, input, kernel...) to Keras's (kernel..., input, output)."""
    array = tensor.detach().numpy()
    if name.endswith("depthwise_kernel"):  # (channel * 2, 1, h, w) to (h, w, channel, 2)
        return array.reshape(-1, MULTIPLIER, *array.shape[2:]).transpose(2, 3, 0, 1)
    return array.transpose(*range(2, array.ndim), 1, 0) if array.ndim > 1 else array


def from_keras(name, array, like):
    if name.endswith("depthwise_kernel"):
        array = array.transpose(2, 3, 0, 1).reshape(like.shape)
    elif array.ndim > 1:
        array = array.transpose(-1, -2, *range(array.ndim - 2))
    return torch.tensor(array.copy())


def first_axis(x):
    """Channels from last to second."""
    return x.movedim(-1, 1)


class Torch:
    def __init__(self, writer):
        self.writer = writer

    def case(self, name, model_job, weights, forward, fields, loss, job_loss,
             optimizer=lambda p: torch.optim.SGD(p, 0.02), job_optimizer="{sgd: 0.02}",
             output="dense", moving=None, classes=None, job_rest=""):
        """weights: parameters by Keras's names. forward(p, x, training) gives what stands in the
        job's output; moving() the statistics by name, which begin as Keras's do. loss(out, y): the
        batch mean, or a pair of what is differentiated and logged."""
        random, out = ref.generator(name), self.writer
        for key, like in weights.items():
            with torch.no_grad():
                shape = to_keras(key, like).shape
                like.copy_(from_keras(key, ref.first_weight(random, key, shape), like))
            like.requires_grad_(True)
        tensors = {k: torch.tensor(v) for k, v in fields.items()}
        out.begin(name, f"model:\n{model_job.strip(chr(10))}\nloss: {job_loss}\n"
                        f"optimizer: {job_optimizer}\n" + job_rest)
        for field, array in fields.items():
            out.field(field, array, (classes or {}).get(field, 0))
        everything = lambda: {**weights, **(moving() if moving else {})}
        for key, value in everything().items():
            out.tensor("weight", key, to_keras(key, value))
        with torch.no_grad():
            prediction, logits = self.split(forward(weights, tensors["x"], False))
            out.tensor("output", output, prediction.numpy())
            out.value("evaluation", "loss", loss(logits, tensors["y"]))
        step = optimizer(list(weights.values()))
        for index in range(ref.STEPS):
            step.zero_grad()
            total = loss(self.split(forward(weights, tensors["x"], True))[1], tensors["y"])
            total.backward()
            if index == 0:
                out.value("training", "loss", total.detach())
                first = {}
                for key, value in weights.items():
                    first[key] = to_keras(key, value.grad).copy()
            step.step()
        for key, gradient in first.items():
            out.tensor("gradient", key, gradient)
        for key, value in everything().items():
            out.tensor("after", key, to_keras(key, value))
        out.end()

    @staticmethod
    def split(result):
        """forward may give the output and, for the loss, its logits."""
        return result if isinstance(result, tuple) else (result, result)


def convolutions(run):
    def conv(name, shape, job, kernel, call, word):
        random = ref.generator(name)
        key = "depthwise_kernel" if word.startswith("depthwise") else "kernel"
        parameters = {f"{word}/{key}": torch.empty(kernel), f"{word}/bias": torch.empty(kernel[0])}

        def forward(p, x, training):
            return call(first_axis(x), p[f"{word}/{key}"], p[f"{word}/bias"]).movedim(1, -1)

        x = ref.draw(random, *shape)
        y = ref.draw(random, *forward(parameters, torch.tensor(x), False).shape)
        run.case(name, "- " + job, parameters, forward, {"x": x, "y": y}, F.mse_loss, "mse",
                 output=word)

    # "same" as TensorFlow: what is missing for ceil(size / stride) windows, the odd cell after
    conv("torch_conv2d_same_stride", (2, 6, 5, 2),
         "conv2d: {filters: 3, kernel_size: 3, strides: 2, padding: same}", (3, 2, 3, 3),
         lambda x, w, b: F.conv2d(F.pad(x, (1, 1, 0, 1)), w, b, stride=2), "conv2d")
    conv("torch_conv2d_groups", (2, 5, 4, 4),
         "conv2d: {filters: 6, kernel_size: [3, 2], groups: 2, activation: tanh}", (6, 2, 3, 2),
         lambda x, w, b: torch.tanh(F.conv2d(x, w, b, groups=2)), "conv2d")
    conv("torch_conv2d_groups_stride_dilation", (2, 9, 8, 4),
         "conv2d: {filters: 4, kernel_size: 3, groups: 4, dilation_rate: 2}", (4, 1, 3, 3),
         lambda x, w, b: F.conv2d(x, w, b, groups=4, dilation=2), "conv2d")
    conv("torch_conv2d_valid_stride", (2, 7, 8, 3),
         "conv2d: {filters: 2, kernel_size: [3, 4], strides: [3, 2]}", (2, 3, 3, 4),
         lambda x, w, b: F.conv2d(x, w, b, stride=(3, 2)), "conv2d")
    conv("torch_conv1d_causal_dilation", (2, 8, 2),
         "conv1d: {filters: 3, kernel_size: 3, padding: causal, dilation_rate: 2}", (3, 2, 3),
         lambda x, w, b: F.conv1d(F.pad(x, (4, 0)), w, b, dilation=2), "conv1d")
    conv("torch_depthwise_multiplier", (2, 5, 4, 3),
         "depthwise_conv2d: {kernel_size: 3, depth_multiplier: 2, padding: same}", (6, 1, 3, 3),
         lambda x, w, b: F.conv2d(x, w, b, groups=3, padding=1), "depthwise_conv2d")


def normalisation(run):
    for name, shape in [("torch_batch_normalization_2d", (5, 3)),
                        ("torch_batch_normalization_4d", (3, 2, 4, 3))]:
        random = ref.generator(name)
        c = shape[-1]
        parameters = {"batch_normalization/gamma": torch.empty(c),
                      "batch_normalization/beta": torch.empty(c),
                      "dense/kernel": torch.empty(2, c), "dense/bias": torch.empty(2)}
        # PyTorch keeps the unbiased variance for any shape, Keras 2.4 for four dimensions alone:
        # with two, the biased one is what the layer's own mean over the batch gives.
        statistics = {"batch_normalization/moving_mean": torch.zeros(c),
                      "batch_normalization/moving_variance": torch.ones(c)}

        def forward(p, x, training):
            mean = statistics["batch_normalization/moving_mean"]
            variance = statistics["batch_normalization/moving_variance"]
            axes = tuple(range(x.ndim - 1))
            if training and x.ndim == 2:
                with torch.no_grad():
                    mean.mul_(0.9).add_(0.1 * x.mean(axes))
                    variance.mul_(0.9).add_(0.1 * x.var(axes, unbiased=False))
                mean = variance = None
            y = F.batch_norm(first_axis(x), mean, variance, p["batch_normalization/gamma"],
                             p["batch_normalization/beta"], training, 0.1, 0.001).movedim(1, -1)
            return F.linear(y, p["dense/kernel"], p["dense/bias"])

        fields = {"x": ref.draw(random, *shape), "y": ref.draw(random, *shape[:-1], 2)}
        run.case(name, "- batch_normalization: {momentum: 0.9}\n- dense: 2", parameters, forward,
                 fields, F.mse_loss, "mse", moving=lambda: statistics)


def linear(units, width=4):
    return {"dense/kernel": torch.empty(units, width), "dense/bias": torch.empty(units)}


def losses(run):
    random = ref.generator("torch_losses")

    def classes(n, c):
        return random.permutation([i % c for i in range(n)])

    logits = lambda p, x, training: F.linear(x, p["dense/kernel"], p["dense/bias"])
    softmax = lambda p, x, training: (logits(p, x, 0).softmax(-1), logits(p, x, 0))
    sigmoid = lambda p, x, training: (logits(p, x, 0).sigmoid(), logits(p, x, 0))
    x = ref.draw(random, 6, 4)
    labels = classes(6, 3).astype("int32")
    run.case("torch_cross_entropy", "- dense: {units: 3, activation: softmax}", linear(3), softmax,
             {"x": x, "y": labels}, lambda z, y: F.cross_entropy(z, y.long()),
             "sparse_categorical_crossentropy", classes={"y": 3})
    one_hot = F.one_hot(torch.tensor(labels).long(), 3).double().numpy()
    run.case("torch_cross_entropy_smoothing", "- dense: 3", linear(3), logits,
             {"x": x, "y": one_hot}, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
             "{categorical_crossentropy: {from_logits: true, label_smoothing: 0.1}}")
    yes = classes(6, 2).astype(float).reshape(6, 1)
    run.case("torch_binary_cross_entropy", "- dense: {units: 1, activation: sigmoid}", linear(1),
             sigmoid, {"x": x, "y": yes}, F.binary_cross_entropy_with_logits,
             "binary_crossentropy")
    y = ref.draw(random, 6, 3)
    run.case("torch_huber", "- dense: 3", linear(3), logits, {"x": x, "y": y},
             lambda z, t: F.huber_loss(z, t, delta=0.7), "{huber: 0.7}")


def optimizers(run):
    random = ref.generator("torch_optimizers")
    fields = {"x": ref.draw(random, 5, 4), "y": ref.draw(random, 5, 3)}
    forward = lambda p, x, training: F.linear(x, p["dense/kernel"], p["dense/bias"])
    o = torch.optim
    # epsilons differ in their place between the two, so that some are tiny here
    for name, make, job in [
            ("sgd_momentum", lambda p: o.SGD(p, 0.05, momentum=0.9),
             "{sgd: {learning_rate: 0.05, momentum: 0.9}}"),
            ("sgd_nesterov", lambda p: o.SGD(p, 0.05, momentum=0.8, nesterov=True),
             "{sgd: {learning_rate: 0.05, momentum: 0.8, nesterov: true}}"),
            ("adam", lambda p: o.Adam(p, 0.05, eps=1e-12),
             "{adam: {learning_rate: 0.05, epsilon: 1e-12}}"),
            ("adam_amsgrad", lambda p: o.Adam(p, 0.05, betas=(0.9, 0.9), eps=1e-12, amsgrad=True),
             "{adam: {learning_rate: 0.05, beta_2: 0.9, epsilon: 1e-12, amsgrad: true}}"),
            ("adamw", lambda p: o.AdamW(p, 0.05, eps=1e-12, weight_decay=0.1),
             "{adamw: {learning_rate: 0.05, epsilon: 1e-12, weight_decay: 0.1}}"),
            ("nadam", lambda p: o.NAdam(p, 0.05, eps=1e-7),
             "{nadam: {learning_rate: 0.05, epsilon: 1e-7}}"),
            ("rmsprop", lambda p: o.RMSprop(p, 0.05, alpha=0.8, eps=1e-3),
             "{rmsprop: {learning_rate: 0.05, rho: 0.8, epsilon: 1e-3}}"),
            ("rmsprop_centered", lambda p: o.RMSprop(p, 0.05, alpha=0.8, eps=1e-3, centered=True),
             "{rmsprop: {learning_rate: 0.05, rho: 0.8, epsilon: 1e-3, centered: true}}"),
            ("adagrad", lambda p: o.Adagrad(p, 0.05, initial_accumulator_value=0.1, eps=1e-3),
             "{adagrad: {learning_rate: 0.05, epsilon: 1e-3}}"),
            ("adadelta", lambda p: o.Adadelta(p, 1.0, rho=0.9, eps=1e-4),
             "{adadelta: {learning_rate: 1.0, rho: 0.9, epsilon: 1e-4}}")]:
        run.case("torch_" + name, "- dense: 3", linear(3), forward, fields, F.mse_loss, "mse",
                 make, job)


def main():
    writer = ref.Writer("torch", [
        "Written by make_torch.py: do not edit. See reference_file.py for the form.",
        f"PyTorch {torch.__version__.split('+')[0]}"])
    for cases in (convolutions, normalisation, losses, optimizers):
        cases(Torch(writer))
    writer.close()


if __name__ == "__main__":
    main()
