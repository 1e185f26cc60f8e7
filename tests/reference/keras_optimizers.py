"""Cases of optimizers, clipping, weight decay, schedules and regularizers: two dense layers, mean
squared error, ten steps."""

from tensorflow import keras

import reference_file as ref

L, legacy, new = keras.layers, keras.optimizers.legacy, keras.optimizers
schedules = keras.optimizers.schedules


def network(run, name, make, word, arguments, regularizers=None, job_layer="", **case):
    random = ref.generator(name)

    def build():
        x = keras.Input((3,))
        y = L.Dense(4, activation="tanh", name="a", **(regularizers or {}))(x)
        return keras.Model(x, L.Dense(2, name="b")(y))

    job = (f"- {{dense: {{units: 4, activation: tanh{job_layer}}}, name: a}}\n"
           "- {dense: 2, name: b}")
    fields = {"x": ref.draw(random, 5, 3), "y": 2 * ref.draw(random, 5, 2)}
    run.case(name, job, build, fields, optimizer=make, job_optimizer=ref.item(word, arguments),
             **case)


def optimizers(run):
    def same(name, optimizer, word, **arguments):
        """Keras's arguments are the job's."""
        network(run, name, lambda: optimizer(**arguments), word, arguments)

    rate = 0.05
    same("sgd", legacy.SGD, "sgd", learning_rate=rate)
    same("sgd_defaults", legacy.SGD, "sgd")
    same("sgd_momentum", legacy.SGD, "sgd", learning_rate=rate, momentum=0.9)
    same("sgd_nesterov", legacy.SGD, "sgd", learning_rate=rate, momentum=0.8, nesterov=True)
    for name, optimizer in [("rmsprop", legacy.RMSprop), ("adagrad", legacy.Adagrad),
                            ("adadelta", legacy.Adadelta), ("adam", legacy.Adam),
                            ("nadam", legacy.Nadam), ("adamw", new.AdamW)]:
        same(name + "_defaults", optimizer, name)
    same("rmsprop", legacy.RMSprop, "rmsprop", learning_rate=rate, rho=0.8, epsilon=0.001)
    same("rmsprop_centered", legacy.RMSprop, "rmsprop", learning_rate=rate, centered=True)
    same("rmsprop_momentum", legacy.RMSprop, "rmsprop", learning_rate=rate, momentum=0.7,
         epsilon=0.01)
    same("rmsprop_momentum_centered", legacy.RMSprop, "rmsprop", learning_rate=rate, momentum=0.7,
         centered=True, epsilon=0.001)
    same("adagrad", legacy.Adagrad, "adagrad", learning_rate=rate, initial_accumulator_value=0.02,
         epsilon=0.01)
    same("adadelta", legacy.Adadelta, "adadelta", learning_rate=1.0, rho=0.9, epsilon=1e-4)
    same("adam", legacy.Adam, "adam", learning_rate=rate, beta_1=0.8, beta_2=0.99, epsilon=0.01)
    same("adam_amsgrad", legacy.Adam, "adam", learning_rate=rate, beta_2=0.5, amsgrad=True)
    same("nadam", legacy.Nadam, "nadam", learning_rate=rate, beta_1=0.8, beta_2=0.99, epsilon=0.01)
    # AdamW takes the power of beta_2 rounded to float32, 1 - beta_2 as it is: 6e-6 apart
    same("adamw", new.AdamW, "adamw", learning_rate=rate, weight_decay=0.1)
    same("adamw_amsgrad", new.AdamW, "adamw", learning_rate=rate, weight_decay=0.1, beta_2=0.5,
         amsgrad=True)
    same("sgd_weight_decay", new.SGD, "sgd", learning_rate=rate, weight_decay=0.1)
    same("sgd_momentum_weight_decay", new.SGD, "sgd", learning_rate=rate, momentum=0.9,
         weight_decay=0.1)

    def excluding():
        optimizer = new.AdamW(rate, weight_decay=0.2)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    network(run, "adamw_exclude_bias", excluding, "adamw",
            dict(learning_rate=rate, weight_decay=0.2, exclude_from_weight_decay=["bias"]))
    # limits that some gradients reach and others do not
    same("sgd_clipvalue", legacy.SGD, "sgd", learning_rate=rate, clipvalue=0.2)
    same("sgd_clipnorm", legacy.SGD, "sgd", learning_rate=rate, clipnorm=0.5)
    same("sgd_global_clipnorm", legacy.SGD, "sgd", learning_rate=rate, global_clipnorm=0.7)
    same("sgd_global_clipnorm_far", legacy.SGD, "sgd", learning_rate=rate, global_clipnorm=100)
    same("adam_clipnorm", legacy.Adam, "adam", learning_rate=rate, clipnorm=0.5)
    same("rmsprop_global_clipnorm", legacy.RMSprop, "rmsprop", learning_rate=rate,
         global_clipnorm=0.7)


def decays(run):
    def schedule(name, make, item, **case):
        network(run, "schedule_" + name, lambda: legacy.SGD(make(), momentum=0.5), "sgd",
                dict(learning_rate=0.1, momentum=0.5, schedule=item), **case)

    schedule("constant", lambda: 0.1, "constant")
    schedule("piecewise", lambda: schedules.PiecewiseConstantDecay([2, 6], [0.1, 0.05, 0.001]),
             "{piecewise_constant_decay: {boundaries: [2 steps, 6 steps], "
             "factors: [1, 0.5, 0.01]}}")
    schedule("piecewise_epochs",
             lambda: schedules.PiecewiseConstantDecay([3, 6], [0.1, 0.05, 0.001]),
             "{piecewise_constant_decay: {boundaries: [1 epochs, 2 epochs], "
             "factors: [1, 0.5, 0.01]}}", steps_per_epoch=3)
    schedule("exponential", lambda: schedules.ExponentialDecay(0.1, 4, 0.5),
             "{exponential_decay: {decay_rate: 0.5, decay_steps: 4 steps}}")
    schedule("exponential_staircase", lambda: schedules.ExponentialDecay(0.1, 4, 0.5, True),
             "{exponential_decay: {decay_rate: 0.5, decay_steps: 4 steps, staircase: true}}")
    schedule("inverse_time", lambda: schedules.InverseTimeDecay(0.1, 1, 0.3),
             "{inverse_time_decay: {decay_rate: 0.3, decay_steps: 1 steps}}")
    schedule("inverse_time_staircase", lambda: schedules.InverseTimeDecay(0.1, 3, 0.7, True),
             "{inverse_time_decay: {decay_rate: 0.7, decay_steps: 3 steps, staircase: true}}")
    schedule("polynomial", lambda: schedules.PolynomialDecay(0.1, 7),
             "{polynomial_decay: {decay_steps: 7 steps}}")
    schedule("polynomial_power", lambda: schedules.PolynomialDecay(0.1, 10, 0.02, 2.0),
             "{polynomial_decay: {power: 2, end_learning_rate: 0.02}}")
    schedule("cosine", lambda: schedules.CosineDecay(0.1, 10), "cosine_decay")
    schedule("cosine_alpha", lambda: schedules.CosineDecay(0.1, 6, 0.1),
             "{cosine_decay: {alpha: 0.1, decay_steps: 6 steps}}")
    schedule("cosine_warmup", lambda: schedules.CosineDecay(0.02, 6, 0.1, warmup_target=0.1,
                                                            warmup_steps=4),
             "{cosine_decay: {alpha: 0.1, decay_steps: 6 steps}, warmup: 4 steps, "
             "warmup_from: 0.2}")
    network(run, "legacy_decay", lambda: legacy.SGD(0.1, decay=0.2), "sgd",
            dict(learning_rate=0.1, schedule="{inverse_time_decay: {decay_rate: 0.2, "
                                             "decay_steps: 1 step}}"))
    network(run, "schedule_adam",
            lambda: legacy.Adam(schedules.ExponentialDecay(0.05, 5, 0.3)), "adam",
            dict(learning_rate=0.05,
                 schedule="{exponential_decay: {decay_rate: 0.3, decay_steps: 5 steps}}"))


def penalties(run):
    r = keras.regularizers
    plain = lambda: legacy.SGD(0.05)
    network(run, "l1", plain, "sgd", dict(learning_rate=0.05),
            dict(kernel_regularizer=r.l1(0.02)), ", kernel_regularizer: {l1: 0.02}")
    network(run, "l2", plain, "sgd", dict(learning_rate=0.05),
            dict(kernel_regularizer=r.l2(0.03)), ", kernel_regularizer: {l2: 0.03}")
    network(run, "l1_l2_both_weights", plain, "sgd", dict(learning_rate=0.05),
            dict(kernel_regularizer=r.l1_l2(0.01, 0.02), bias_regularizer=r.l2(0.1)),
            ", kernel_regularizer: {l1_l2: {l1: 0.01, l2: 0.02}}, bias_regularizer: {l2: 0.1}")
    network(run, "l2_clipvalue_adam", lambda: legacy.Adam(0.05, clipvalue=0.2), "adam",
            dict(learning_rate=0.05, clipvalue=0.2),
            dict(kernel_regularizer=r.l2(0.1)), ", kernel_regularizer: {l2: 0.1}")
    network(run, "l2_clipnorm", lambda: legacy.SGD(0.05, clipnorm=0.3), "sgd",
            dict(learning_rate=0.05, clipnorm=0.3),
            dict(kernel_regularizer=r.l2(0.1)), ", kernel_regularizer: {l2: 0.1}")


def write(run):
    optimizers(run)
    decays(run)
    penalties(run)
