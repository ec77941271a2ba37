"""A copy is the model again: its variables, names, tables, ties, states and outputs; and nothing of it is shared."""

import types
import warnings

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.adapters import adapter_of
from tf_laq.adapters.copying import own_objects
from tf_laq.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    # Keras 3 with NumPy 2, and TFMOT.
    "ignore::DeprecationWarning",
    # Keras 3, of the input layer.
    "ignore:Layer .* does not have a `quantize` method:UserWarning",
    # Keras 3, of a layer over time that its first call builds.
    "ignore:`build\\(\\)` was called on layer:UserWarning",
)

RANDOM = np.random.default_rng(0)
FEATURES = (RANDOM.normal(size=(16, 6)) * 5 + 3).astype("float32")
SEQUENCES = RANDOM.normal(size=(4, 5, 6)).astype("float32")
WORDS = np.array([["red", "blue"], ["green", "red"]])
TOKENS = np.array([[7, 9], [8, 7]], "int64")

KINDS = {}


@pytest.fixture(params=[tf_keras, keras3], ids=["tf_keras", "keras"])
def k(request):
    return request.param


def kind(make):
    """Add a model, from the module of a Keras to it and to inputs of it."""
    KINDS[make.__name__] = make
    return make


def on_top(k, shape, *layers, dtype="float32", batch_size=None):
    inputs = k.Input(shape, dtype=dtype, batch_size=batch_size)
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return k.Model(inputs, k.layers.Dense(3)(outputs))


def adapted(layer, data):
    layer.adapt(data)
    return layer


@kind
def normalization_over_all(k):
    return on_top(k, (6,), adapted(k.layers.Normalization(axis=None), FEATURES)), FEATURES


@kind
def normalization_over_two_axes(k):
    return on_top(k, (5, 6), adapted(k.layers.Normalization(axis=(1, 2)), SEQUENCES), k.layers.Flatten()), SEQUENCES


@kind
def normalization_in_a_nested_model(k):
    front = k.Sequential([k.Input((6,)), adapted(k.layers.Normalization(), FEATURES)])
    return on_top(k, (6,), front, k.layers.Dense(4)), FEATURES


@kind
def normalization_backwards(k):
    return on_top(k, (6,), adapted(k.layers.Normalization(invert=True), FEATURES)), FEATURES


@kind
def discretization(k):
    # Keras 2 itself does not load a one-hot one again.
    layer = adapted(k.layers.Discretization(num_bins=4), FEATURES[:, :1])
    return on_top(k, (1,), layer, k.layers.Embedding(4, 3), k.layers.Flatten()), FEATURES[:, :1]


@kind
def table_of_words(k):
    layer = adapted(k.layers.StringLookup(), WORDS)
    embedding = k.layers.Embedding(8, 4)
    return on_top(k, (2,), layer, embedding, k.layers.Flatten(), dtype="string"), tf.constant(WORDS)


@kind
def table_of_numbers(k):
    layer = adapted(k.layers.IntegerLookup(), TOKENS)
    embedding = k.layers.Embedding(8, 4)
    return on_top(k, (2,), layer, embedding, k.layers.Flatten(), dtype="int64"), TOKENS


@kind
def table_of_texts(k):
    layer = adapted(k.layers.TextVectorization(output_sequence_length=3), WORDS.ravel())
    embedding = k.layers.Embedding(8, 4)
    return on_top(k, (1,), layer, embedding, k.layers.Flatten(), dtype="string"), tf.constant(WORDS[:, :1])


class _Blocks:
    """Layers that hold layers, which only their first call builds."""

    def __init__(self, k):
        class Block(k.layers.Layer):
            def __init__(self, width, **options):
                super().__init__(**options)
                self.width = width
                self.parts = [k.layers.Dense(width, activation="relu"), k.layers.Dense(width)]

            def call(self, inputs):
                for part in self.parts:
                    inputs = part(inputs)
                return inputs

            def compute_output_shape(self, shape):
                return (*shape[:-1], self.width)

            def get_config(self):
                return {**super().get_config(), "width": self.width}

        class WithoutConfig(k.layers.Layer):
            def __init__(self, parts, **options):
                super().__init__(**options)
                self.parts = parts

            def call(self, inputs):
                for part in self.parts:
                    inputs = part(inputs)
                return inputs

        self.block, self.without_config = Block, WithoutConfig


@kind
def block_in_a_model(k):
    return on_top(k, (6,), _Blocks(k).block(5)), FEATURES


@kind
def block_over_time(k):
    layer = k.layers.TimeDistributed(_Blocks(k).block(5))
    return _after_a_call(on_top(k, (5, 6), layer, k.layers.Flatten()), SEQUENCES)


@kind
def block_twice(k):
    layer = _Blocks(k).block(6)
    return on_top(k, (6,), layer, layer), FEATURES


@kind
def one_layer_three_times(k):
    layer = k.layers.Dense(6, activation="tanh")
    return on_top(k, (6,), layer, layer, layer), FEATURES


@kind
def one_layer_in_two_models(k):
    layer = k.layers.Dense(6)
    fronts = [k.Sequential([k.Input((6,)), layer]) for _ in range(2)]
    return on_top(k, (6,), *fronts), FEATURES


@kind
def one_model_twice(k):
    front = k.Sequential([k.Input((6,)), k.layers.Dense(6, activation="relu")])
    return on_top(k, (6,), front, front), FEATURES


@kind
def names_counted_on(k):
    for _ in range(3):
        k.layers.Dense(2)
    return on_top(k, (6,), k.layers.Dense(5), k.layers.Activation("relu"), k.layers.Dense(4)), FEATURES


@kind
def lambda_on_top(k):
    return on_top(k, (6,), k.layers.Lambda(lambda values: values * 2.0, output_shape=(6,))), FEATURES


@kind
def lambda_with_a_closure(k):
    factor = 3.0
    return on_top(k, (6,), k.layers.Lambda(lambda values: values * factor, output_shape=(6,))), FEATURES


@kind
def lambda_in_a_nested_model(k):
    doubled = k.layers.Lambda(lambda values: values * 2.0, output_shape=(6,))
    return on_top(k, (6,), k.Sequential([k.Input((6,)), doubled, k.layers.Dense(4)])), FEATURES


@kind
def function_as_activation(k):
    def twice(values):
        return values * 2.0

    return on_top(k, (6,), k.layers.Dense(5, activation=twice)), FEATURES


@kind
def dropouts_with_seeds(k):
    return on_top(k, (6,), k.layers.Dropout(0.5, seed=7), k.layers.GaussianNoise(1.0)), FEATURES


@kind
def images_turned(k):
    layers = k.layers.RandomFlip(seed=3), k.layers.RandomRotation(0.1), k.layers.Conv2D(2, 3), k.layers.Flatten()
    return on_top(k, (8, 8, 1), *layers), RANDOM.random((2, 8, 8, 1)).astype("float32")


def _after_a_call(model, inputs):
    model(inputs)
    return model, inputs


@kind
def state_of_a_gru(k):
    return _after_a_call(on_top(k, (5, 6), k.layers.GRU(4, stateful=True), batch_size=4), SEQUENCES)


@kind
def state_of_a_simple_rnn(k):
    return _after_a_call(on_top(k, (5, 6), k.layers.SimpleRNN(4, stateful=True), batch_size=4), SEQUENCES)


@kind
def states_of_two_lstms(k):
    layers = k.layers.LSTM(4, stateful=True, return_sequences=True), k.layers.LSTM(3, stateful=True)
    return _after_a_call(on_top(k, (5, 6), *layers, batch_size=4), SEQUENCES)


def arrays(model, inputs):
    """Return a model's outputs, its states as they were."""
    recurrent = [part for part in model._flatten_layers() if getattr(part, "states", None) and part.stateful]
    states = [state for part in recurrent for state in tf.nest.flatten(part.states)]
    before = [state.numpy() for state in states]
    outputs = np.asarray(model(inputs, training=False))
    for state, value in zip(states, before, strict=True):
        state.assign(value)
    return outputs


@pytest.mark.parametrize("name", KINDS)
def test_a_copy_is_the_model_again(name, k):
    model, inputs = KINDS[name](k)
    twin = adapter_of(model).copy(model)
    assert type(twin) is type(model)
    assert [part.name for part in twin._flatten_layers()] == [part.name for part in model._flatten_layers()]
    ours, theirs = ([v for v in each.variables if hasattr(v, "numpy")] for each in (model, twin))
    assert len(ours) == len(theirs)
    assert not {id(variable) for variable in ours} & {id(variable) for variable in theirs}
    for variable, other in zip(ours, theirs, strict=True):
        assert np.asarray(variable.numpy()).tobytes() == np.asarray(other.numpy()).tobytes()
    np.testing.assert_array_equal(arrays(twin, inputs), arrays(model, inputs))


@pytest.mark.parametrize("name", KINDS)
def test_wrapped_baked_and_stripped_are_the_same_bits(name, k):
    model, inputs = KINDS[name](k)
    before = arrays(model, inputs)
    plan = laq.uniform(model, "linear", 3, progress=False)
    wrapped, baked = laq.apply(model, plan), laq.bake(model, plan)
    expected = arrays(baked, inputs)
    np.testing.assert_array_equal(arrays(wrapped, inputs), expected)
    np.testing.assert_array_equal(arrays(laq.strip(wrapped), inputs), expected)
    np.testing.assert_array_equal(arrays(model, inputs), before)
    assert np.abs(expected - before).max() > 0
    assert len(wrapped.trainable_weights) == len(model.trainable_weights)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", KINDS)
def test_a_quantized_model_can_be_saved_wherever_its_float_model_can(name, suffix, k, tmp_path):
    model, inputs = KINDS[name](k)
    own = own_objects(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.save(tmp_path / f"float{suffix}")
            again = k.models.load_model(tmp_path / f"float{suffix}", custom_objects=own, compile=False, safe_mode=False)
            outputs = [arrays(each, inputs) for each in (again, model)]
        except Exception as error:
            pytest.skip(f"{k.__name__} cannot save the float model: {error}")
    if len(again.weights) != len(model.weights) or not np.array_equal(*outputs):
        pytest.skip(f"{k.__name__} loses something of the float model")
    wrapped = laq.apply(model, laq.uniform(model, "linear", 3, progress=False))
    laq.save_model(wrapped, tmp_path / f"wrapped{suffix}")
    loaded = laq.load_model(tmp_path / f"wrapped{suffix}", own, safe_mode=False)
    np.testing.assert_array_equal(arrays(loaded, inputs), arrays(wrapped, inputs))
    assert len(loaded.trainable_weights) == len(wrapped.trainable_weights)


def tied(k, first, back):
    """Return a model whose last layer takes the kernel of another one, by a function of it."""

    class Tied(k.layers.Layer):
        def __init__(self, source, **options):
            super().__init__(**options)
            self.source = source

        def call(self, inputs):
            return back(inputs, tf.convert_to_tensor(self.source.weights[0]))

        def get_config(self):
            return {**super().get_config(), "source": k.saving.serialize_keras_object(self.source)}

        @classmethod
        def from_config(cls, config):
            return cls(**{**config, "source": k.saving.deserialize_keras_object(config["source"])})

    return first, Tied


TIES = {
    "dense": (lambda k: k.layers.Dense(4, name="first"), lambda x, w: tf.matmul(x, w, transpose_b=True), (6,)),
    "over time": (
        lambda k: k.layers.Conv1D(6, 1, name="first"),
        lambda x, w: tf.matmul(x, w[0]),
        (5, 6),
    ),
    "embedding": (lambda k: k.layers.Embedding(9, 4, name="first"), lambda x, w: tf.einsum("bti,vi->btv", x, w), (5,)),
}


@pytest.mark.parametrize("name", TIES)
def test_a_layer_that_takes_the_kernel_of_another_one_keeps_doing_so(name, k, tmp_path):
    make, back, shape = TIES[name]
    first, last = tied(k, make(k), back)
    inputs = k.Input(shape)
    model = k.Model(inputs, last(first, name="last")(first(inputs)))
    data = RANDOM.integers(0, 9, (2, *shape)) if name == "embedding" else RANDOM.normal(size=(2, *shape))
    plan = laq.uniform(model, "linear", 3, progress=False)
    assert [entry.layer for entry in plan.entries] == ["first"]
    if k is tf_keras:
        with pytest.raises(InputError, match="Layer 'first' expected . variables, but received 0"):
            laq.apply(model, plan)
        return
    wrapped = laq.apply(model, plan)
    expected = arrays(laq.bake(model, plan), data.astype("float32"))
    laq.save_model(wrapped, tmp_path / "tied.keras")
    loaded = laq.load_model(tmp_path / "tied.keras", {"Tied": last})
    for each in (wrapped, laq.strip(wrapped), loaded):
        assert len(each.trainable_weights) == len(model.trainable_weights)
        np.testing.assert_array_equal(arrays(each, data.astype("float32")), expected)


def test_a_tie_stays_one_when_the_copy_is_trained(k):
    model, inputs = one_layer_three_times(k)
    wrapped = laq.apply(model, laq.uniform(model, "linear", 4, progress=False))
    wrapped.compile("sgd", "mse")
    wrapped.fit(inputs, np.ones((16, 3)), epochs=1, verbose=0)
    plain = laq.strip(wrapped)
    assert len(plain.weights) == len(model.weights) == 4
    np.testing.assert_array_equal(arrays(plain, inputs), arrays(wrapped, inputs))


def test_a_class_that_keras_cannot_save_is_refused_with_what_it_lacks(k):
    model = on_top(k, (6,), _Blocks(k).without_config([k.layers.Dense(5), k.layers.Dense(4)]))
    with pytest.raises(InputError, match="WithoutConfig .*get_config"):
        adapter_of(model).copy(model)


def test_numbers_that_a_configuration_does_not_tell_are_kept(k):
    class Scaled(k.layers.Dense):
        factor = 1.0

        def call(self, inputs):
            return super().call(inputs) * self.factor

    model = on_top(k, (6,), Scaled(4, name="scaled"))
    model.get_layer("scaled").factor = 2.0
    np.testing.assert_array_equal(arrays(adapter_of(model).copy(model), FEATURES), arrays(model, FEATURES))


def test_a_copy_that_computes_something_else_is_refused_with_the_layer(k):
    class Called(k.layers.Dense):
        """Computes with a function that its configuration has not."""

        def function(self, values):
            return values

        def call(self, inputs):
            return self.function(super().call(inputs))

    model = on_top(k, (6,), k.layers.Dense(4, name="before"), Called(4, name="called"))
    model.get_layer("called").function = lambda values: values + 1.0
    with pytest.raises(InputError, match="other outputs, from layer 'called' on"):
        adapter_of(model).copy(model)


def assigning(k):
    """Return layers that put a value of their own into a kernel whenever they are called."""

    class Layers(types.SimpleNamespace):
        class Clipped(k.layers.Dense):
            def call(self, inputs):
                self.kernel.assign(tf.clip_by_value(tf.convert_to_tensor(self.kernel), -0.1, 0.1))
                return super().call(inputs)

        class Signs(k.layers.Dense):
            def build(self, shape):
                super().build(shape)
                self.real = self.add_weight(name="real", shape=(shape[-1], self.units))

            def call(self, inputs):
                self.kernel.assign(tf.sign(tf.convert_to_tensor(self.real)) * 0.5)
                return super().call(inputs)

        class Around(k.layers.Layer):
            def __init__(self, **options):
                super().__init__(**options)
                self.inner = k.layers.Dense(3)

            def build(self, shape):
                self.inner.build(shape)
                self.scale = self.add_weight(name="scale", shape=(shape[-1], 3))
                super().build(shape)

            def call(self, inputs):
                self.inner.kernel.assign(tf.nn.l2_normalize(tf.convert_to_tensor(self.scale), 0))
                return self.inner(inputs)

    return Layers


@pytest.mark.parametrize("name", ["Clipped", "Signs", "Around"])
def test_a_kernel_that_its_layer_assigns_is_refused_with_the_cure_that_works(name, k):
    make = getattr(assigning(k), name)
    layer = make(name="own") if name == "Around" else make(3, name="own")
    model = on_top(k, (6,), layer)
    plan = laq.uniform(model, "linear", 2, progress=False)
    for use in (laq.apply, laq.bake):
        with pytest.raises(InputError, match="layer 'own', weight .*kernel': expected a weight that stays as it is"):
            use(model, plan)
    plan = laq.uniform(model, "linear", 2, overrides={"own": "float32"}, progress=False)
    baked = laq.bake(model, plan)
    assert np.isfinite(arrays(baked, FEATURES)).all()


def unused(k):
    """Return layers that have a kernel and compute without it."""

    class Layers(types.SimpleNamespace):
        class Kept(k.layers.Dense):
            def build(self, shape):
                super().build(shape)
                self.kept = self.add_weight(name="kept", shape=(shape[-1], self.units))

            def call(self, inputs):
                return tf.matmul(inputs, tf.convert_to_tensor(self.kept))

        class OnlyInTraining(k.layers.Dense):
            def call(self, inputs, training=None):
                return super().call(inputs) if training else inputs[:, : self.units]

        class TimesNothing(k.layers.Dense):
            def call(self, inputs):
                return inputs[:, : self.units] + tf.cast(tf.cast(super().call(inputs) * 0.0, tf.int32), tf.float32)

    return Layers


@pytest.mark.parametrize("name", ["Kept", "OnlyInTraining", "TimesNothing"])
def test_a_kernel_that_no_output_depends_on_is_refused_with_the_cure_that_works(name, k):
    model = on_top(k, (6,), getattr(unused(k), name)(3, name="own"))
    for use in (laq.apply, laq.bake):
        with pytest.raises(InputError, match="layer 'own', weight 'kernel': expected a weight that the outputs"):
            use(model, laq.uniform(model, "linear", 2, progress=False))
    plan = laq.uniform(model, "linear", 2, overrides={"own": "float32"}, progress=False)
    assert np.isfinite(arrays(laq.bake(model, plan), FEATURES)).all()


def test_a_kernel_without_a_gradient_is_quantized_if_the_outputs_depend_on_it(k):
    class Steps(k.layers.Dense):
        def call(self, inputs):
            return tf.cast(tf.cast(super().call(inputs) * 100.0, tf.int32), tf.float32)

    model = on_top(k, (6,), Steps(3, name="steps"))
    plan = laq.uniform(model, "linear", 2, progress=False)
    assert np.abs(arrays(laq.apply(model, plan), FEATURES) - arrays(model, FEATURES)).max() > 0
