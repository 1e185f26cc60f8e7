"""Cases of losses and metrics: one dense layer, with outputs and targets as the loss wants them."""

import numpy as np
from tensorflow import keras

import reference_file as ref

L = keras.layers


def dense(units, activation=None, width=4):
    """As a job's line and as a model."""
    squash = f", activation: {activation}" if activation else ""

    def build():
        x = keras.Input((width,))
        return keras.Model(x, L.Dense(units, activation=activation, name="dense")(x))
    return f"- dense: {{units: {units}{squash}}}", build


def loss(run, name, keras_loss, word, target, units=3, activation=None, metrics=(), rest="",
         **case):
    """target: a function from a generator to the field y."""
    random = ref.generator(name)
    job, build = dense(units, activation)
    y = target(random)
    fields = {"x": ref.draw(random, len(y), 4), "y": y, **case.pop("more", {})}
    if metrics:
        rest += "metrics: [" + ", ".join(text for _, text in metrics) + "]\n"
    run.case(name, job, build, fields, loss=keras_loss, job_loss=word,
             metrics=[m for m, _ in metrics], job_rest=rest, **case)


def numbers(*shape):
    return lambda random: ref.draw(random, *shape)


def positive(*shape):
    return lambda random: np.abs(ref.draw(random, *shape))


def signs(*shape):
    return lambda random: np.sign(random.normal(size=shape))


def yes_no(*shape):
    return lambda random: (random.random(shape) < 0.5).astype(np.float64)


def rows(samples, classes):
    return lambda random: np.eye(classes)[random.permutation(np.arange(samples) % classes)]


def soft_rows(samples, classes):
    def make(random):
        p = random.random((samples, classes))
        return (p / p.sum(-1, keepdims=True)).astype(np.float32).astype(np.float64)
    return make


def labels(samples, classes):
    return lambda random: random.permutation(np.arange(samples) % classes).astype(np.int32)


def elementwise(run):
    k = keras.losses
    loss(run, "mse", "mse", "mse", numbers(4, 3))
    loss(run, "mae", "mae", "mae", numbers(4, 3))
    loss(run, "mape", "mape", "mape", numbers(4, 3))
    loss(run, "msle", "msle", "msle", positive(4, 3), activation="softplus")
    loss(run, "huber", k.Huber(), "huber", numbers(6, 3))
    loss(run, "huber_delta", k.Huber(delta=0.5), "{huber: 0.5}", numbers(6, 3))
    loss(run, "hinge", "hinge", "hinge", signs(5, 3))
    loss(run, "hinge_yes_no", "hinge", "hinge", yes_no(5, 2), units=2)
    loss(run, "squared_hinge", "squared_hinge", "squared_hinge", signs(5, 3))
    loss(run, "categorical_hinge", "categorical_hinge", "categorical_hinge", rows(5, 3))
    loss(run, "poisson", "poisson", "poisson", positive(4, 3), activation="softplus")
    loss(run, "kl_divergence", "kl_divergence", "kl_divergence", soft_rows(4, 3),
         activation="softmax")
    loss(run, "kl_divergence_one_hot", "kl_divergence", "kl_divergence", rows(4, 3),
         activation="softmax")
    loss(run, "cosine_similarity", "cosine_similarity", "cosine_similarity", numbers(4, 3))
    loss(run, "log_cosh", "log_cosh", "log_cosh", lambda r: 3 * ref.draw(r, 4, 3))
    loss(run, "mse_labels", "mse", "mse", labels(5, 4), units=1, classes={"y": 4})


def crossentropies(run):
    k = keras.losses
    binary, categorical = "binary_crossentropy", "categorical_crossentropy"
    sparse = "sparse_categorical_crossentropy"
    loss(run, binary, binary, binary, yes_no(6, 1), units=1, activation="sigmoid")
    loss(run, binary + "_three", binary, binary, yes_no(4, 3), activation="sigmoid")
    loss(run, binary + "_probabilities", binary, binary, yes_no(6, 3), activation="hard_sigmoid")
    loss(run, binary + "_from_logits", k.BinaryCrossentropy(from_logits=True),
         f"{{{binary}: {{from_logits: true}}}}", yes_no(4, 3))
    loss(run, binary + "_smoothing", k.BinaryCrossentropy(label_smoothing=0.2),
         f"{{{binary}: {{label_smoothing: 0.2}}}}", yes_no(4, 3), activation="sigmoid")
    loss(run, categorical, categorical, categorical, rows(5, 3), activation="softmax")
    loss(run, categorical + "_soft", categorical, categorical, soft_rows(5, 3),
         activation="softmax")
    # not of sigmoid, whose logits Keras 2 takes for those of a softmax
    loss(run, categorical + "_probabilities", categorical, categorical, rows(5, 3),
         activation="softplus")
    loss(run, categorical + "_from_logits", k.CategoricalCrossentropy(from_logits=True),
         f"{{{categorical}: {{from_logits: true}}}}", rows(5, 3))
    loss(run, categorical + "_smoothing", k.CategoricalCrossentropy(label_smoothing=0.1),
         f"{{{categorical}: {{label_smoothing: 0.1}}}}", rows(5, 3), activation="softmax")
    loss(run, categorical + "_smoothing_probabilities",
         k.CategoricalCrossentropy(label_smoothing=0.1),
         f"{{{categorical}: {{label_smoothing: 0.1}}}}", rows(5, 3), activation="softplus")
    loss(run, sparse, sparse, sparse, labels(5, 3), activation="softmax", classes={"y": 3})
    loss(run, sparse + "_probabilities", sparse, sparse, labels(5, 3),
         activation="hard_sigmoid", classes={"y": 3})
    loss(run, sparse + "_from_logits", k.SparseCategoricalCrossentropy(from_logits=True),
         f"{{{sparse}: {{from_logits: true}}}}", labels(5, 3), classes={"y": 3})
    series(run)


def series(run):
    """A class for every place of a series."""
    random = ref.generator("series")

    def build():
        x = keras.Input((4, 2))
        return keras.Model(x, L.Dense(3, activation="softmax", name="dense")(x))

    fields = {"x": ref.draw(random, 3, 4, 2), "y": random.integers(0, 3, (3, 4)).astype(np.int32)}
    word = "sparse_categorical_crossentropy"
    run.case(word + "_series", "- dense: {units: 3, activation: softmax}", build, fields, loss=word,
             job_loss=word, metrics=["accuracy"], job_rest="metrics: [accuracy]\n",
             classes={"y": 3})


def weights(run):
    binary, categorical = "binary_crossentropy", "categorical_crossentropy"
    sparse = "sparse_categorical_crossentropy"
    random = ref.generator("weights")
    weight = {"w": np.array([0.5, 2, 0, 1, 3], np.float64)}
    for name, word, target, arguments in [
            ("mse", "mse", numbers(5, 3), {}),
            (categorical, categorical, rows(5, 3), dict(activation="softmax")),
            (sparse, sparse, labels(5, 3), dict(activation="softmax", classes={"y": 3}))]:
        loss(run, name + "_sample_weight", word, f"{{{word}: {{sample_weight: w}}}}", target,
             more=weight, sample_weight="w", **arguments)
    per_class = {0: 0.5, 1: 2.0, 2: 1.25}
    for name, word, target, arguments in [
            (categorical, categorical, rows(5, 3), dict(activation="softmax")),
            (sparse, sparse, labels(5, 3), dict(activation="softmax", classes={"y": 3}))]:
        loss(run, name + "_class_weight", word, word, target, class_weight=per_class,
             rest=f"class_weight: {ref.yaml(per_class)}\n", **arguments)
    loss(run, binary + "_class_weight", binary, binary, yes_no(6, 1), units=1, activation="sigmoid",
         class_weight={0: 0.25, 1: 3.0}, rest="class_weight: {0: 0.25, 1: 3}\n")
    loss(run, sparse + "_both_weights", sparse, f"{{{sparse}: {{sample_weight: w}}}}", labels(5, 3),
         activation="softmax", classes={"y": 3}, more=weight, sample_weight="w",
         class_weight=per_class, rest=f"class_weight: {ref.yaml(per_class)}\n")

    def two_outputs():
        x = keras.Input((4,))
        y = L.Dense(5, activation="tanh", name="body")(x)
        return keras.Model(x, [L.Dense(2, name="size")(y),
                               L.Dense(3, activation="softmax", name="kind")(y)])

    run.case("several_terms", """
- {dense: {units: 5, activation: tanh}, name: body}
- {dense: 2, name: size, inputs: body}
- {dense: {units: 3, activation: softmax}, name: kind, inputs: body}
""", two_outputs, {"x": ref.draw(random, 4, 4), "s": ref.draw(random, 4, 2),
                   "k": labels(4, 3)(random)}, y=["s", "k"],
             loss={"size": "mae", "kind": sparse},
             job_loss=f"{{size: {{mae: {{target: s}}}}, kind: {{{sparse}: {{target: k}}}}}}",
             loss_weights={"size": 0.3, "kind": 2.0}, classes={"k": 3},
             metrics=[], job_rest="loss_weights: {size: 0.3, kind: 2}\n")


def metrics(run):
    m = keras.metrics
    top_2 = m.TopKCategoricalAccuracy(2, dtype="float32")  # top k has no float64
    top_3 = m.SparseTopKCategoricalAccuracy(3, dtype="float32")
    loss(run, "metrics_binary", "binary_crossentropy", "binary_crossentropy", yes_no(8, 1), units=1,
         activation="sigmoid", metrics=[("accuracy", "accuracy"),
                                        ("binary_accuracy", "binary_accuracy")])
    loss(run, "metrics_categorical", "categorical_crossentropy", "categorical_crossentropy",
         rows(8, 5), units=5, activation="softmax", floatx="float32",
         metrics=[("accuracy", "accuracy"), ("categorical_accuracy", "categorical_accuracy"),
                  (top_2, "{top_k_categorical_accuracy: 2}")])
    loss(run, "metrics_sparse", "sparse_categorical_crossentropy",
         "sparse_categorical_crossentropy", labels(8, 5), units=5, activation="softmax",
         classes={"y": 5}, floatx="float32",
         metrics=[("accuracy", "accuracy"),
                  ("sparse_categorical_accuracy", "sparse_categorical_accuracy"),
                  (top_3, "{sparse_top_k_categorical_accuracy: 3}")])
    loss(run, "metrics_numbers", "mse", "mse", numbers(6, 2), units=2,
         metrics=[(m.MeanAbsoluteError("mae"), "mae"), (m.MeanSquaredError("mse"), "mse"),
                  (m.MeanAbsolutePercentageError("mape"), "mape"),
                  (m.RootMeanSquaredError(), "root_mean_squared_error")])
    loss(run, "metrics_sample_weight", "mse", "{mse: {sample_weight: w}}", numbers(5, 2), units=2,
         more={"w": np.array([0.5, 2, 0, 1, 3], np.float64)}, sample_weight="w",
         metrics=[(m.MeanAbsoluteError("mae"), "mae")])


def write(run):
    elementwise(run)
    crossentropies(run)
    weights(run)
    metrics(run)
