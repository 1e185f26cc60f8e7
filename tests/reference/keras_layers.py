"""Cases of layers and activations. A layer stands behind a dense one, so that its gradient with
respect to its input is tested too, and before a mean squared error against random numbers."""

import re

import numpy as np
from tensorflow import keras

import reference_file as ref

L = keras.layers


def word_of(layer):
    """MaxPooling2D to max_pooling2d: the job's words are Keras's automatic names."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", layer)).lower()


def line(layer, arguments):
    """The layer in a list of layers; name and training stand beside its arguments."""
    own = {k: v for k, v in arguments.items() if k not in ("name", "training")}
    beside = {k: v for k, v in arguments.items() if k in ("name", "training")}
    return "- " + ref.yaml({word_of(layer): own, **beside})


def chain(run, name, shape, layers, job=None, **case):
    """layers: (class, arguments) in order; job: their lines where words are not Keras's."""
    random = ref.generator(name)
    layers = [("Dense", dict(units=shape[-1], name="before"))] + layers
    lines = [line(layer, arguments) for layer, arguments in layers]

    def build():
        x = y = keras.Input(shape[1:])
        for layer, arguments in layers:
            call = {"training": arguments["training"]} if "training" in arguments else {}
            own = {k: v for k, v in arguments.items() if k != "training"}
            y = getattr(L, layer)(**own)(y, **call)
        return keras.Model(x, y)

    keras.backend.clear_session()
    out = build().output_shape[1:]
    fields = {"x": ref.draw(random, *shape), "y": ref.draw(random, shape[0], *out)}
    text = "\n".join(lines) if job is None else lines[0] + "\n" + job
    run.case(name, text, case.pop("build", build), fields, **case)


def convolutions(run):
    def conv2d(name, shape, **arguments):
        arguments = {"filters": 3, "kernel_size": 3, **arguments}
        chain(run, "conv2d_" + name, shape, [("Conv2D", arguments)])

    conv2d("valid", (3, 4, 5, 2))
    conv2d("same", (2, 4, 3, 2), padding="same")
    conv2d("same_even_kernel", (2, 4, 5, 2), padding="same", kernel_size=(2, 4))
    conv2d("same_stride", (2, 6, 5, 2), padding="same", strides=2)
    conv2d("same_stride_even", (2, 4, 8, 1), padding="same", strides=(2, 3), kernel_size=(3, 2))
    conv2d("valid_stride", (2, 6, 7, 2), strides=(2, 1), kernel_size=(3, 2))
    conv2d("dilation", (2, 6, 7, 2), dilation_rate=(2, 3), kernel_size=(3, 2))
    conv2d("same_dilation", (2, 5, 6, 2), dilation_rate=2, padding="same")
    conv2d("1x1_relu", (2, 3, 3, 4), kernel_size=1, activation="relu")
    conv2d("1x1_stride", (2, 4, 5, 3), kernel_size=1, strides=2)
    conv2d("no_bias_tanh", (2, 4, 4, 2), use_bias=False, activation="tanh")
    grouped(run, "conv2d_groups", (2, 4, 5, 4), filters=6, kernel_size=(3, 2), groups=2)
    grouped(run, "conv2d_groups_same_stride", (2, 5, 4, 6), filters=3, kernel_size=3, groups=3,
            strides=2, padding="same", activation="relu")

    def transpose(name, shape, **arguments):
        chain(run, "conv2d_transpose_" + name, shape,
              [("Conv2DTranspose", {"filters": 3, "kernel_size": 3, **arguments})])

    transpose("valid", (2, 3, 4, 2))
    transpose("same_stride_relu", (2, 3, 2, 4), padding="same", strides=2, activation="relu")
    transpose("stride_beyond_kernel", (2, 3, 2, 2), kernel_size=(2, 3), strides=3, use_bias=False)
    transpose("same_odd_stride", (2, 2, 3, 2), padding="same", strides=3, kernel_size=4)
    transpose("same_dilation", (2, 4, 4, 2), padding="same", dilation_rate=2)

    def conv1d(name, shape, **arguments):
        chain(run, "conv1d_" + name, shape,
              [("Conv1D", {"filters": 3, "kernel_size": 3, **arguments})])

    conv1d("valid", (3, 6, 2))
    conv1d("same", (2, 6, 2), padding="same", kernel_size=4)
    conv1d("same_stride", (2, 7, 2), padding="same", strides=3, kernel_size=4)
    conv1d("causal", (2, 6, 2), padding="causal", activation="relu")
    conv1d("causal_dilation", (2, 7, 2), padding="causal", dilation_rate=2)
    conv1d("valid_dilation", (2, 8, 3), dilation_rate=3, use_bias=False)
    conv1d("valid_stride", (2, 8, 2), strides=2)
    conv1d("causal_stride", (2, 7, 2), padding="causal", strides=2)
    grouped(run, "conv1d_groups", (2, 6, 4), filters=4, kernel_size=3, groups=2)

    def depthwise(name, shape, **arguments):
        chain(run, "depthwise_conv2d_" + name, shape,
              [("DepthwiseConv2D", {"kernel_size": 3, **arguments})])

    depthwise("valid", (2, 4, 5, 3))
    depthwise("multiplier", (2, 4, 4, 2), depth_multiplier=3, activation="relu")
    depthwise("same_stride", (2, 6, 5, 2), strides=2, padding="same", use_bias=False)
    depthwise("same_dilation", (2, 5, 5, 2), dilation_rate=2, padding="same", depth_multiplier=2)

    def separable(name, shape, **arguments):
        chain(run, "separable_conv2d_" + name, shape,
              [("SeparableConv2D", {"filters": 4, "kernel_size": 3, **arguments})])

    separable("valid", (2, 4, 5, 2))
    separable("same_multiplier_relu", (2, 4, 4, 2), padding="same", depth_multiplier=2,
              activation="relu")
    separable("same_stride", (2, 6, 5, 2), padding="same", strides=2, use_bias=False)


def grouped(run, name, shape, groups, filters, **arguments):
    """TensorFlow has no gradient of grouped convolutions on the CPU: each group apart, their
    kernels being parts of one."""
    kind = "Conv1D" if len(shape) == 3 else "Conv2D"
    word = word_of(kind)
    activation = arguments.pop("activation", None)

    class Grouped(L.Layer):
        def build(self, input_shape):
            size = arguments["kernel_size"]
            size = size if isinstance(size, tuple) else (size,) * (len(shape) - 2)
            self.kernel = self.add_weight("kernel", (*size, shape[-1] // groups, filters))
            self.bias = self.add_weight("bias", (filters,))

        def call(self, x):
            width = filters // groups
            one = getattr(keras.backend, word)
            parts = [one(part, self.kernel[..., i * width:(i + 1) * width],
                         strides=arguments.get("strides", 1) if kind == "Conv1D"
                         else (arguments.get("strides", 1),) * 2,
                         padding=arguments.get("padding", "valid"))
                     for i, part in enumerate(np.split(np.arange(shape[-1]), groups))
                     for part in [x[..., part[0]:part[-1] + 1]]]
            return keras.activations.get(activation)(keras.backend.concatenate(parts) + self.bias)

    def build():
        x = keras.Input(shape[1:])
        return keras.Model(x, Grouped(name=word)(L.Dense(shape[-1], name="before")(x)))

    own = {"filters": filters, "groups": groups, **arguments}
    if activation:
        own["activation"] = activation
    random = ref.generator(name)
    fields = {"x": ref.draw(random, *shape),
              "y": ref.draw(random, shape[0], *build().output_shape[1:])}
    job = f"- {{dense: {shape[-1]}, name: before}}\n- {ref.item(word, own)}"
    run.case(name, job, build, fields)


def pooling(run):
    for kind in ("Max", "Average"):
        word = kind.lower() + "_pooling"
        for name, shape, arguments in [
                ("valid", (2, 5, 4, 2), {}),
                ("same", (2, 5, 4, 2), dict(pool_size=3, strides=2, padding="same")),
                ("overlap", (2, 5, 6, 1), dict(pool_size=(3, 2), strides=(1, 2))),
                ("same_stride_1", (2, 4, 3, 2), dict(pool_size=2, strides=1, padding="same"))]:
            chain(run, f"{word}2d_{name}", shape, [(kind + "Pooling2D", arguments)])
        for name, shape, arguments in [
                ("valid", (2, 7, 2), dict(pool_size=3)),
                ("same", (2, 7, 2), dict(pool_size=3, strides=2, padding="same"))]:
            chain(run, f"{word}1d_{name}", shape, [(kind + "Pooling1D", arguments)])
        chain(run, f"global_{word}1d", (3, 5, 3), [(f"Global{kind}Pooling1D", {})])
        chain(run, f"global_{word}2d", (3, 4, 3, 3), [(f"Global{kind}Pooling2D", {})])


def normalisation(run):
    def batch(name, shape, behind=(), floatx="float64", **arguments):
        chain(run, "batch_normalization_" + name, shape,
              [("BatchNormalization", {"momentum": 0.9, **arguments}), *behind], floatx=floatx)

    dense = ("Dense", dict(units=2))
    batch("2d", (5, 3), [dense])
    batch("3d", (3, 4, 2), [dense])
    # the fused kernel: unbiased moving variance; TensorFlow has it in float32 alone
    batch("4d", (3, 3, 4, 2), floatx="float32")
    batch("plain", (5, 3), [dense], center=False, scale=False, epsilon=0.01)
    batch("center", (5, 3), [dense], scale=False)
    batch("always_training", (5, 3), [dense], training=True)
    batch("never_training", (5, 3), [dense], training=False)
    chain(run, "batch_normalization_defaults", (4, 2), [("BatchNormalization", {}), dense])
    chain(run, "layer_normalization_2d", (3, 5), [("LayerNormalization", {}), dense])
    chain(run, "layer_normalization_4d", (2, 3, 2, 4), [("LayerNormalization", dict(epsilon=0.01))])
    chain(run, "layer_normalization_plain", (3, 5),
          [("LayerNormalization", dict(center=False, scale=False)), dense])
    chain(run, "layer_normalization_scale", (3, 4, 3), [("LayerNormalization", dict(center=False))])


def shapes(run):
    dense = ("Dense", dict(units=2))
    chain(run, "input_flatten", (2, 3, 2, 2), [("Flatten", {}), ("Dense", dict(units=3))])
    chain(run, "dense_3d", (2, 3, 4), [("Dense", dict(units=3, activation="relu"))])
    chain(run, "dense_no_bias", (3, 4), [("Dense", dict(units=3, use_bias=False))])
    chain(run, "reshape", (2, 3, 4), [("Reshape", dict(target_shape=(2, -1, 2))), dense])
    chain(run, "permute_3d", (2, 3, 4), [("Permute", dict(dims=(2, 1))), dense])
    chain(run, "permute_4d", (2, 2, 3, 4), [("Permute", dict(dims=(3, 1, 2))), dense])
    chain(run, "zero_padding2d", (2, 3, 2, 2), [("ZeroPadding2D", {}),
                                                ("Conv2D", dict(filters=2, kernel_size=2))])
    chain(run, "zero_padding2d_sides", (2, 2, 3, 1),
          [("ZeroPadding2D", dict(padding=((1, 2), (0, 3)))), dense])
    chain(run, "zero_padding2d_pair", (2, 2, 3, 2), [("ZeroPadding2D", dict(padding=(0, 2)))])
    chain(run, "dropout_off", (3, 4), [("Dropout", dict(rate=0.5, training=False)), dense])
    chain(run, "gaussian_noise_off", (3, 4),
          [("GaussianNoise", dict(stddev=0.5, training=False)), dense])
    chain(run, "leaky_relu_layer", (3, 4), [("LeakyReLU", {}), dense],
          job="- leaky_relu\n- dense: 2")
    chain(run, "leaky_relu_alpha", (3, 4), [("LeakyReLU", dict(alpha=0.1)), dense],
          job="- leaky_relu: 0.1\n- dense: 2")
    chain(run, "softmax_layer", (3, 4), [("Softmax", {})])
    chain(run, "softmax_axis", (2, 3, 4), [("Softmax", dict(axis=1))])
    chain(run, "softmax_axis_4d", (2, 3, 2, 2), [("Softmax", dict(axis=-2))])


def activations(run):
    plain = ("linear relu sigmoid hard_sigmoid tanh softmax elu selu softplus softsign swish gelu "
             "exponential").split()
    for word in plain:
        chain(run, "activation_" + word, (4, 5), [("Activation", dict(activation=word)),
                                                  ("Dense", dict(units=2))])
        if word not in ("linear", "relu"):
            chain(run, "dense_" + word, (3, 4), [("Dense", dict(units=3, activation=word))])
    for name, layer, arguments, item in [
            ("elu_alpha", "ELU", dict(alpha=0.5), "{elu: 0.5}"),
            ("leaky_relu", "LeakyReLU", {}, "leaky_relu"),
            ("leaky_relu_alpha", "LeakyReLU", dict(alpha=0.2), "{leaky_relu: {alpha: 0.2}}")]:
        chain(run, "activation_" + name, (4, 5), [(layer, dict(name="activation", **arguments))],
              job=f"- activation: {item}")
    own(run, "activation_step", "activation: step", lambda x: keras.backend.cast(x >= 0, x.dtype))
    own(run, "activation_expr", 'activation: {expr: "x * tanh(softplus(x))"}',
        lambda x: x * keras.backend.tanh(keras.backend.softplus(x)))
    own(run, "lambda", 'lambda: "where(x > 0.1, square(x) / (1 + abs(x)), exp(min(x, 0)) - 1)"',
        lambda x: keras.backend.switch(x > 0.1, x * x / (1 + abs(x)),
                                       keras.backend.exp(keras.backend.minimum(x, 0)) - 1))


def own(run, name, item, function):
    random = ref.generator(name)
    layer = item.split(":")[0]

    def build():
        x = keras.Input((4,))
        y = L.Lambda(function, name=layer)(L.Dense(4, name="before")(x))
        return keras.Model(x, L.Dense(2)(y))

    fields = {"x": ref.draw(random, 3, 4), "y": ref.draw(random, 3, 2)}
    run.case(name, f"- {{dense: 4, name: before}}\n- {item}\n- dense: 2", build, fields)


def merges(run):
    """Branches a and b of one input; "_broadcast": b has but one cell."""
    random = ref.generator("merges")

    def merge(layer, inputs=("a", "b"), suffix="", one_cell=False, **arguments):
        word = word_of(layer)
        name = word + suffix

        def build():
            x = keras.Input((2, 3, 2))
            b = L.AveragePooling2D((2, 3), name="cell")(x) if one_cell else x
            branches = {i: L.Dense(3, name=i)(b if i == "b" else x) for i in sorted(set(inputs))}
            joined = getattr(L, layer)(name=word, **arguments)([branches[i] for i in inputs])
            return keras.Model(x, joined)

        lines = ["- {average_pooling2d: [2, 3], name: cell, inputs: x}"] if one_cell else []
        for i in sorted(set(inputs)):
            cell = "cell" if one_cell and i == "b" else "x"
            lines.append(f"- {{dense: 3, name: {i}, inputs: {cell}}}")
        lines.append(f"- {{{word}: {ref.yaml(arguments)}, inputs: {ref.yaml(list(inputs))}}}")
        fields = {"x": ref.draw(random, 2, 2, 3, 2)}
        keras.backend.clear_session()
        fields["y"] = ref.draw(random, 2, *build().output_shape[1:])
        run.case(name, "\n".join(lines), build, fields)

    merge("Add", ("a", "b", "c"), "_three")
    for layer in ("Add", "Subtract", "Multiply", "Average", "Maximum"):
        merge(layer)
        merge(layer, suffix="_broadcast", one_cell=True)
    merge("Average", ("a", "b", "c"), "_three")
    merge("Subtract", ("b", "a"), "_broadcast_first", one_cell=True)
    merge("Concatenate", ("b", "a", "c"), "_three")
    merge("Concatenate", suffix="_axis", axis=1)
    merge("Concatenate", suffix="_axis_2", axis=-2)
    merge("Multiply", ("a", "a"), "_twice")


def graphs(run):
    random = ref.generator("graphs")

    def two_inputs():
        a, b = keras.Input((3,)), keras.Input((2, 2))
        left = L.Dense(4, activation="relu", name="left")(a)
        right = L.Dense(4, activation="tanh", name="right")(L.Flatten()(b))
        return keras.Model([a, b], L.Dense(2, name="out")(L.Concatenate()([left, right])))

    run.case("several_inputs", """
- {input: {shape: [3]}, name: first, inputs: a}
- {dense: {units: 4, activation: relu}, name: left}
- {flatten: {}, inputs: b}
- {dense: {units: 4, activation: tanh}, name: right}
- {concatenate: {}, inputs: [left, right]}
- {dense: 2, name: out}
""", two_inputs, {"a": ref.draw(random, 3, 3), "b": ref.draw(random, 3, 2, 2),
                  "y": ref.draw(random, 3, 2)}, x=("a", "b"))

    def shared():
        a, b = keras.Input((3,)), keras.Input((3,))
        code = L.Dense(4, activation="tanh", name="code")
        return keras.Model([a, b], L.Dense(2, name="out")(L.Subtract()([code(a), code(b)])))

    run.case("shared_layer", """
- {dense: {units: 4, activation: tanh}, name: code, inputs: a}
- {call: code, name: again, inputs: b}
- {subtract: {}, inputs: [code, again]}
- {dense: 2, name: out}
""", shared, {"a": ref.draw(random, 3, 3), "b": ref.draw(random, 3, 3),
              "y": ref.draw(random, 3, 2)}, x=("a", "b"))

    def shared_model():
        a, b = keras.Input((3,)), keras.Input((3,))
        one, two = L.Dense(4, activation="relu", name="tower.one"), L.Dense(2, name="tower.two")
        return keras.Model([a, b], L.Multiply()([two(one(a)), two(one(b))]))

    run.case("shared_model", """
- {call: tower, name: left, inputs: a}
- {call: tower, name: right, inputs: b}
- {multiply: {}, inputs: [left, right]}
""", shared_model, {"a": ref.draw(random, 3, 3), "b": ref.draw(random, 3, 3),
                    "y": ref.draw(random, 3, 2)}, x=("a", "b"), job_rest="""models:
  tower:
  - {dense: {units: 4, activation: relu}, name: one}
  - {dense: 2, name: two}
""")

    def copies():
        x = keras.Input((3,))
        towers = [L.Dense(4, activation="elu", name=f"{side}.one")(x) for side in ("left", "right")]
        return keras.Model(x, L.Add()(towers))

    run.case("copied_model", """
- {copy: tower, name: left, inputs: x}
- {copy: tower, name: right, inputs: x}
- {add: {}, inputs: [left, right]}
""", copies, {"x": ref.draw(random, 3, 3), "y": ref.draw(random, 3, 4)}, job_rest="""models:
  tower:
  - {dense: {units: 4, activation: elu}, name: one}
""")

    def twice():
        x = keras.Input((4,))
        norm = L.BatchNormalization(momentum=0.8)
        y = norm(L.Dense(3, name="a")(x))
        return keras.Model(x, L.Dense(2, name="out")(norm(L.Dense(3, name="b")(y))))

    run.case("shared_batch_normalization", """
- {dense: 3, name: a}
- {batch_normalization: {momentum: 0.8}}
- {dense: 3, name: b}
- {call: batch_normalization, name: again}
- {dense: 2, name: out}
""", twice, {"x": ref.draw(random, 5, 4), "y": ref.draw(random, 5, 2)})

    def lambdas():
        a, b = keras.Input((3,)), keras.Input((3,))
        p, q = L.Dense(4, name="p")(a), L.Dense(4, name="q")(b)
        y = L.Lambda(lambda v: v[0] * keras.backend.sigmoid(v[1]) - v[1], name="gate")([p, q])
        return keras.Model([a, b], y)

    run.case("lambda_two_inputs", """
- {dense: 4, name: p, inputs: a}
- {dense: 4, name: q, inputs: b}
- {lambda: "p * sigmoid(q) - q", name: gate, inputs: [p, q]}
""", lambdas, {"a": ref.draw(random, 3, 3), "b": ref.draw(random, 3, 3),
               "y": ref.draw(random, 3, 4)}, x=("a", "b"))

    def frozen():
        x = keras.Input((4,))
        y = L.Dense(4, name="first")(x)
        y = L.Dense(3, activation="tanh", name="still", trainable=False)(y)
        y = L.BatchNormalization(name="norm", trainable=False)(y)
        return keras.Model(x, L.Dense(2, name="last")(y))

    run.case("freeze", """
- {dense: 4, name: first}
- {dense: {units: 3, activation: tanh}, name: still}
- {batch_normalization: {}, name: norm}
- {dense: 2, name: last}
""", frozen, {"x": ref.draw(random, 4, 4), "y": ref.draw(random, 4, 2)},
             job_rest="freeze: [still, norm]\n")

    def convnet():
        x = keras.Input((8, 7, 1))
        y = L.Conv2D(2, 3, activation="relu", padding="same", name="c1")(x)
        y = L.MaxPooling2D()(y)
        y = L.BatchNormalization()(y)
        y = L.Conv2D(3, 3, activation="relu", name="c2")(y)
        y = L.Flatten()(y)
        return keras.Model(x, L.Dense(3, activation="softmax", name="out")(y))

    run.case("convnet", """
- {conv2d: {filters: 2, kernel_size: 3, activation: relu, padding: same}, name: c1}
- max_pooling2d
- batch_normalization
- {conv2d: {filters: 3, kernel_size: 3, activation: relu}, name: c2}
- flatten
- {dense: {units: 3, activation: softmax}, name: out}
""", convnet, {"x": ref.draw(random, 4, 8, 7, 1), "y": np.array([0, 2, 1, 2], np.int32)},
             loss="sparse_categorical_crossentropy", job_loss="sparse_categorical_crossentropy",
             metrics=["accuracy"], job_rest="metrics: [accuracy]\n", classes={"y": 3},
             floatx="float32")


def write(run):
    convolutions(run)
    pooling(run)
    normalisation(run)
    shapes(run)
    activations(run)
    merges(run)
    graphs(run)
