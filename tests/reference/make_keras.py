"""Writes keras.txt and keras.f32: what Keras 2 computes for every layer, loss and optimizer.

    python3 make_keras.py        with TensorFlow 2.15 (Keras 2.15) and NumPy 1

The arithmetic is float64, so that a difference is that of the program under test; inputs and first
weights are numbers that float32 holds. Where Keras 2.4 differs from later versions its form is
taken: `keras.optimizers.legacy`. The cases stand in keras_layers.py, keras_losses.py and
keras_optimizers.py.
"""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tensorflow import keras

import reference_file as ref

RATE = 0.02
SGD = f"{{sgd: {RATE}}}"


tf.get_logger().setLevel("ERROR")


class Keras:
    """Runs a model built by `build()` and writes its case."""

    def __init__(self, writer):
        self.writer = writer

    def case(self, name, model_job, build, fields, x=("x",), y=None, loss="mse", job_loss="mse",
             job_optimizer=SGD, optimizer=None, metrics=(), job_rest="", sample_weight=None,
             class_weight=None, loss_weights=None, classes=None, steps_per_epoch=None,
             floatx="float64"):
        """fields: arrays by name. x, y: the fields that are inputs and targets, in the model's
        order. loss, optimizer: Keras's; job_*: the same in the job's words."""
        keras.backend.clear_session()
        keras.backend.set_floatx(floatx)
        tf.keras.utils.set_random_seed(1)
        random = ref.generator(name)
        model = build()
        optimizer = optimizer() if optimizer else keras.optimizers.legacy.SGD(RATE)
        model.compile(loss=loss, optimizer=optimizer, metrics=list(metrics),
                      loss_weights=loss_weights, run_eagerly=False)
        first = {v.name[:-2]: ref.first_weight(random, v.name[:-2], tuple(v.shape))
                 for v in model.weights}

        def reset():
            for v in model.weights:
                v.assign(first[v.name[:-2]])

        def cast(array):
            return array if np.issubdtype(array.dtype, np.integer) else array.astype(floatx)

        def pick(names):
            arrays = [cast(fields[n]) for n in names]
            return arrays[0] if len(arrays) == 1 else arrays

        inputs, y = pick(x), y or [n for n in fields if n not in x and n != sample_weight]
        targets = pick(y)
        weight = cast(fields[sample_weight]) if sample_weight else None
        if weight is not None and len(y) > 1:
            weight = [weight] * len(y)

        out = self.writer
        text = f"model:\n{model_job.strip(chr(10))}\nloss: {job_loss}\noptimizer: {job_optimizer}\n"
        out.begin(name, text + job_rest, steps_per_epoch)
        for field, array in fields.items():
            out.field(field, array, (classes or {}).get(field, 0))
        reset()
        for variable, array in first.items():
            out.tensor("weight", variable, array)
        predictions = model(inputs, training=False)
        reset()
        if not isinstance(predictions, (list, tuple)):
            predictions = [predictions]
        for layer, array in zip(model.output_names, predictions):
            out.tensor("output", layer, array.numpy())
        evaluation = model.test_on_batch(inputs, targets, sample_weight=weight, return_dict=True)
        for key, value in evaluation.items():
            out.value("evaluation", key, value)
        reset()
        with tf.GradientTape() as tape:
            predictions = model(inputs, training=True)
            weighted = weight
            if class_weight:
                labels = fields[y[0]] if fields[y[0]].ndim < 2 or fields[y[0]].shape[-1] == 1 \
                    else fields[y[0]].argmax(-1)
                weighted = np.array([class_weight[int(c)] for c in labels.reshape(-1)])
                weighted = weighted * weight if weight is not None else weighted
            total = model.compiled_loss(
                tf.nest.map_structure(tf.constant, targets), predictions,
                None if weighted is None else tf.nest.map_structure(tf.constant, weighted),
                regularization_losses=model.losses)
        gradients = tape.gradient(total, model.trainable_weights)
        reset()
        model.reset_metrics()
        for step in range(ref.STEPS):
            logs = model.train_on_batch(inputs, targets, sample_weight=weight,
                                        class_weight=class_weight, return_dict=True)
            if step == 0:
                assert abs(logs["loss"] - float(total)) < 1e-5 * abs(logs["loss"]) + 1e-7, name
                for key, value in logs.items():
                    out.value("training", key, value)
        for variable, gradient in zip(model.trainable_weights, gradients):
            if gradient is not None:
                out.tensor("gradient", variable.name[:-2], tf.convert_to_tensor(gradient).numpy())
        for variable in model.weights:
            out.tensor("after", variable.name[:-2], variable.numpy())
        out.end()


def main():
    import keras_layers
    import keras_losses
    import keras_optimizers

    writer = ref.Writer("keras", [
        "Written by make_keras.py: do not edit. See reference_file.py for the form.",
        f"TensorFlow {tf.__version__} (Keras 2)"])
    for cases in (keras_layers, keras_losses, keras_optimizers):
        cases.write(Keras(writer))
    writer.close()


if __name__ == "__main__":
    main()
