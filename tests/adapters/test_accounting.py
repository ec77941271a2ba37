"""Every weight of a model is in the plan or left alone, by identity; what cannot be planned is refused by name."""

import collections

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tf_laq as laq
from tf_laq.adapters import adapter_of, kernels
from tf_laq.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    # Keras 3 with NumPy 2, and TFMOT.
    "ignore::DeprecationWarning",
    # Keras 3, of the input layer.
    "ignore:Layer .* does not have a `quantize` method:UserWarning",
)


def accounts(model):
    """Return the names of the planned weights, and the reasons of what is left alone by path; they must be all."""
    kinds = adapter_of(model).kinds
    tensors, left_alone = adapter_of(model).find_weights(model)
    layers = dict(kinds.walk(model))
    names = [(tensor.layer, tensor.weight) for tensor in tensors]
    planned = [id(kernels.attribute(layers[layer], weight)) for layer, weight in names]
    assert len(set(names)) == len(set(planned)) == len(planned)
    assert set(planned) <= {id(weight) for weight in model.weights}
    reasons = {line.layer: line.reason for line in left_alone}
    entries = {layer for layer, _ in names}
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    for weight in model.weights:
        holders = [path for path, layer in layers.items() if any(weight is held for held in layer.weights)]
        if id(weight) in planned or id(weight) in metrics:
            continue
        if not holders or (set(holders) <= entries and len(weight.shape) > 1):
            assert any(str(tuple(weight.shape)) in reason for reason in reasons.values()), weight
        else:
            assert set(holders) & (entries | reasons.keys()), weight
    return [f"{layer}.{weight}" for layer, weight in names], reasons


def with_parts(k, make, run=None, name="holder", shape=(4,)):
    """Return a functional model of one layer that holds what `make` gives it, all of it applied in turn."""

    class Holder(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            make(self)

        def call(self, inputs):
            return run(self, inputs) if run else applied(vars(self)["parts"], inputs)

    def applied(parts, inputs):
        if callable(parts):
            return parts(inputs)
        for part in parts.values() if isinstance(parts, dict) else parts:
            inputs = applied(part, inputs)
        return inputs

    inputs = k.Input(shape)
    return k.Model(inputs, Holder(name=name)(inputs))


def dense(k, count=1, units=4):
    made = [k.layers.Dense(units) for _ in range(count)]
    return made if count > 1 else made[0]


def own_weight(k, layer, name, shape):
    return layer.add_weight(name=name, shape=shape, initializer="glorot_uniform")


def test_every_weight_of_the_zoo_is_accounted_for(named_model):
    accounts(named_model[1])


CONTAINERS = {
    "a list of dicts": (
        lambda k: [{"left": dense(k), "right": dense(k)}, {"left": dense(k)}],
        ["0.left", "0.right", "1.left"],
    ),
    "a dict of lists": (lambda k: {"wide": dense(k, 2), "deep": [dense(k)]}, ["wide.0", "wide.1", "deep.0"]),
    "a dict of dicts of tuples": (lambda k: {"a": {"b": (dense(k), dense(k))}}, ["a.b.0", "a.b.1"]),
    "a tuple with a dict": (lambda k: (dense(k), {"gate": dense(k)}), ["0", "1.gate"]),
    "an ordered dict": (lambda k: collections.OrderedDict(z=dense(k), a=dense(k)), ["z", "a"]),
    "keys that are no identifiers": (
        lambda k: {"3x3 conv": dense(k), "7": dense(k), "": dense(k), "class": dense(k)},
        ["3x3 conv", "7", "", "class"],
    ),
    "keys that are no strings": (lambda k: {("a", 1): dense(k), ("b", 2): dense(k)}, ["('a', 1)", "('b', 2)"]),
    "keys that are numbers": (lambda k: {7: dense(k), 11: dense(k)}, ["7", "11"]),
    "composite layers in a dict": (
        lambda k: {"rnn": k.layers.TimeDistributed(dense(k)), "both": dense(k)},
        ["rnn.layer", "both"],
    ),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_layers_in_containers_are_found_and_their_paths_lead_to_them(kind, keras):
    make, ways = CONTAINERS[kind]
    run = None
    if kind == "composite layers in a dict":

        def run(holder, inputs):
            return holder.parts["both"](keras.layers.Flatten()(holder.parts["rnn"](inputs[:, None])))

    model = with_parts(keras, lambda holder: setattr(holder, "parts", make(keras)), run)
    planned, left_alone = accounts(model)
    assert planned == [f"holder.parts.{way}.kernel" for way in ways]
    assert not left_alone
    plan, batch = laq.uniform(model, "linear", 2), np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    assert np.array_equal(laq.apply(model, plan)(batch), laq.bake(model, plan)(batch))
    holder = model.get_layer("holder")
    for variable in planned:
        path = variable.removeprefix("holder.")
        owner, name = kernels.holder(holder, path)
        assert getattr(owner, name) is kernels.attribute(holder, path)


def test_a_key_with_a_dot_is_refused(keras):
    for parts, way in (({"v1.0": dense(keras)}, "parts"), ([{"v1.0": dense(keras)}], r"parts\.0")):
        model = with_parts(keras, lambda holder, parts=parts: setattr(holder, "parts", parts))
        with pytest.raises(
            InputError, match=rf"layer 'holder': expected .*without a dot.*'v1\.0' in {way}\..*another key"
        ):
            laq.search(model)


def test_an_attribute_with_a_dot_is_refused(keras):
    model = with_parts(
        keras, lambda holder: setattr(holder, "v1.0", dense(keras)), lambda holder, x: getattr(holder, "v1.0")(x)
    )
    with pytest.raises(InputError, match=r"layer 'holder': .*'v1\.0' in its attributes"):
        laq.search(model)


def test_keys_that_read_the_same_are_refused():
    # Keras 2 itself cannot hold them.
    parts = {0: dense(keras3), "0": dense(keras3)}
    with pytest.raises(InputError, match=r"layer 'holder': expected different names.*'0' in parts"):
        laq.search(with_parts(keras3, lambda holder: setattr(holder, "parts", parts)))


def test_a_key_with_a_dot_does_no_harm_where_no_kernel_is(keras):
    model = with_parts(keras, lambda holder: setattr(holder, "parts", [{"v1.0": keras.layers.ReLU()}, dense(keras)]))
    assert accounts(model)[0] == ["holder.parts.1.kernel"]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_the_second_matrix_of_a_reversible_embedding_is_found_if_it_has_one(inside, tied):
    layers, tokens = keras3.layers, keras3.Input((3,), dtype="int32")

    def run(embedding, inputs):
        return embedding(embedding(inputs), reverse=True)

    if inside:

        class Language(layers.Layer):
            def __init__(self, **options):
                super().__init__(**options)
                self.words = {"table": layers.ReversibleEmbedding(9, 5, tie_weights=tied)}

            def call(self, inputs):
                return run(self.words["table"], inputs)

        model, place = keras3.Model(tokens, Language(name="language")(tokens)), "language.words.table"
    else:
        model, place = keras3.Model(tokens, run(layers.ReversibleEmbedding(9, 5, tied, name="words"), tokens)), "words"
    names = ["embeddings"] if tied else ["embeddings", "reverse_embeddings"]
    assert accounts(model)[0] == [f"{place}.{name}" for name in names]


def three_levels(k):
    block = k.Sequential([k.Input((4,)), k.layers.Dense(4, name="c")], name="b")
    outer = k.Sequential([k.Input((4,)), block], name="a")
    inputs = k.Input((4,))
    return k.Model(inputs, k.layers.Dense(3, name="a/b/c")(outer(inputs)))


def subclassed(k, *parts, shape=(4,)):
    class Subclassed(k.Model):
        def __init__(self):
            super().__init__()
            self.parts = list(parts)

        def call(self, inputs):
            for part in self.parts:
                inputs = part(inputs)
            return inputs

    model = Subclassed()
    model(np.ones((1, *shape), np.float32))
    return model


SAME_PATHS = {
    "three levels": (three_levels, "a/b/c"),
    "two kinds in a subclassed model": (
        lambda k: subclassed(k, k.layers.Conv1D(4, 1, name="x"), k.layers.Dense(3, name="x"), shape=(2, 4)),
        "x",
    ),
    "a layer without weights": (lambda k: subclassed(k, k.layers.Dense(3, name="x"), k.layers.ReLU(name="x")), "x"),
    "a model and a layer": (
        lambda k: subclassed(k, k.Sequential([k.layers.Dense(4)], name="x"), k.layers.Dense(3, name="x")),
        "x",
    ),
    "two models": (
        lambda k: subclassed(k, *(k.Sequential([k.layers.Dense(4, name="y")], name="x") for _ in range(2))),
        "x/y",
    ),
}


@pytest.mark.parametrize("kind", SAME_PATHS)
def test_layers_under_one_path_are_refused_by_name(kind, keras):
    build, path = SAME_PATHS[kind]
    if kind == "three levels" and keras is keras3:
        pytest.skip("Keras 3 accepts no slash in a name")
    with pytest.raises(InputError, match=rf"layer '{path}': expected a path of its own.*Layer\(\.\.\., name=\.\.\.\)"):
        laq.search(build(keras))


def test_layers_without_kernels_may_share_a_path_and_a_layer_may_be_used_twice(keras):
    layers = keras.layers
    shared = layers.Dense(4, name="shared")
    model = subclassed(keras, layers.ReLU(name="x"), shared, layers.Softmax(name="x"), shared)
    assert accounts(model)[0] == ["shared.kernel"]


def decoder(k, source, **options):
    class Decoder(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.source = source

        def build(self, shape):
            self.scale = own_weight(k, self, "scale", (4, 3))
            self.built = True

        def call(self, inputs):
            return tf.matmul(inputs, tf.convert_to_tensor(self.source.kernel), transpose_b=True) @ self.scale

    return Decoder(**options)


def tied_in_a_graph(k):
    encoder, inputs = k.layers.Dense(6, name="encoder"), k.Input((4,))
    return k.Model(inputs, decoder(k, encoder, name="decoder")(encoder(inputs)))


def tied_in_two_holders(k):
    inner = dense(k)
    holders = [with_parts(k, lambda holder: setattr(holder, "parts", [inner]), name=name) for name in ("one", "two")]
    inputs = k.Input((4,))
    return k.Model(inputs, holders[1](holders[0](inputs)))


def tied_by_assignment(k):
    model = k.Sequential([k.Input((4,)), k.layers.Dense(4, name="first"), k.layers.Dense(4, name="second")])
    first, second = model.layers
    object.__setattr__(second, "kernel" if k is tf_keras else "_kernel", first.kernel)
    return model


def tied_beside_its_holder(k):
    inner = k.layers.Dense(4, name="inner")
    return subclassed(k, inner, with_parts(k, lambda holder: setattr(holder, "parts", {"again": inner})))


TIED = {
    tied_in_a_graph: "encoder.kernel",
    tied_in_two_holders: "one.parts.0.kernel",
    tied_beside_its_holder: "inner.kernel",
    tied_by_assignment: "first.kernel",
}


@pytest.mark.parametrize("build", TIED, ids=lambda build: build.__name__)
def test_a_tied_kernel_is_one_entry_at_its_first_place(build, keras):
    planned, left_alone = accounts(build(keras))
    first = TIED[build]
    assert [name.rpartition("/")[2] for name in planned] == [first]
    (reason,) = [reason for reason in left_alone.values() if reason.startswith("shares its kernels")]
    assert first in reason
    assert ("scale (4, 3)" in reason) == (build is tied_in_a_graph)


def positions_in_a_model(k):
    class Positions(k.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = dense(k)

        def build(self, shape):
            self.table = own_weight(k, self, "table", (3, 4))
            self.dense.build(shape)
            self.built = True

        def call(self, inputs):
            return self.dense(inputs + self.table)

    model = Positions(name="positions")
    model(np.ones((1, 3, 4), np.float32))
    return model


def weight_beside_a_kernel(k):
    class WithTable(k.layers.Layer):
        def build(self, shape):
            self.kernel = own_weight(k, self, "kernel", (4, 4))
            self.table = own_weight(k, self, "table", (1, 4))
            self.built = True

        def call(self, inputs):
            return tf.matmul(inputs + self.table, self.kernel)

    inputs = k.Input((4,))
    return k.Model(inputs, WithTable(name="layer")(inputs))


def normalization_of_two_axes_in_a_layer(k):
    parts = [k.layers.Dense(4), k.layers.LayerNormalization(axis=(1, 2))]
    return with_parts(k, lambda holder: setattr(holder, "parts", parts), name="block", shape=(3, 4))


def spectral_normalization_in_a_layer(k):
    parts = [k.layers.SpectralNormalization(k.layers.Dense(4)), k.layers.Dense(4)]
    return with_parts(k, lambda holder: setattr(holder, "parts", parts))


def positions_in_a_nested_model(k):
    inputs = k.Input((3, 4))
    return k.Model(inputs, k.layers.Dense(2)(positions_in_a_model(k)(inputs)))


BESIDE = {
    positions_in_a_model: ("positions", "table (3, 4)"),
    positions_in_a_nested_model: ("positions", "table (3, 4)"),
    weight_beside_a_kernel: ("layer", "table (1, 4)"),
    normalization_of_two_axes_in_a_layer: ("block", "gamma (3, 4), beta (3, 4)"),
    spectral_normalization_in_a_layer: ("holder", "kernel (4, 4)"),
}


@pytest.mark.parametrize("build", BESIDE, ids=lambda build: build.__name__)
def test_weights_beside_kernels_are_named_with_their_shapes(build, keras):
    planned, left_alone = accounts(build(keras))
    path, named = BESIDE[build]
    assert len(planned) == (2 if build is positions_in_a_nested_model else 1)
    assert named in left_alone[path]
    assert "float32" in left_alone[path]


@pytest.mark.parametrize("compiled", [False, True])
def test_counters_of_metrics_are_no_weights(compiled, keras):
    class WithMetric(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.tracker = dense(keras), keras.metrics.Mean(name="loss")

        def call(self, inputs):
            return self.dense(inputs)

    model, batch = WithMetric(), np.ones((2, 4), np.float32)
    model(batch)
    if compiled:
        model.compile("sgd", "mse", metrics=["mae"])
        model.fit(batch, batch, verbose=0)
    planned, left_alone = accounts(model)
    assert len(planned) == 1
    assert not left_alone


def test_a_kernel_that_the_model_does_not_list_is_refused(keras):
    with pytest.raises(InputError, match=r"include all kernels.*second\.kernel.*attributes") as refused:
        model = keras.Sequential([keras.Input((4,)), dense(keras), keras.layers.Dense(4, name="second")])
        strange = tf.Variable(np.ones((4, 4), np.float32)) if keras is tf_keras else keras.Variable(np.ones((4, 4)))
        object.__setattr__(model.layers[-1], "kernel" if keras is tf_keras else "_kernel", strange)
        laq.search(model)
    assert "dense.kernel" not in str(refused.value)


def in_a_dict(layer):
    return with_parts(keras3, lambda holder: setattr(holder, "parts", {"a": [layer]}))


def quantized(model, mode):
    model.quantize(mode)
    return model


def with_lora(model, layer):
    layer.enable_lora(2)
    return model


def lora_in_attention():
    inputs = keras3.Input((5, 8))
    attention = keras3.layers.MultiHeadAttention(2, 4, name="attention")
    model = keras3.Model(inputs, attention(inputs, inputs))
    return with_lora(model, attention._query_dense)


def lora_in_a_dict():
    inner = keras3.layers.Dense(4, name="inner")
    return with_lora(in_a_dict(inner), inner)


def lora_in_an_embedding():
    model = keras3.Sequential([keras3.Input((3,), dtype="int32"), keras3.layers.Embedding(9, 5, name="words")])
    return with_lora(model, model.layers[-1])


def small(k):
    return k.Sequential([k.Input((4,)), k.layers.Dense(3, activation="relu", name="first"), k.layers.Dense(2)])


def nested_model_by_keras():
    inputs = keras3.Input((4,))
    return keras3.Model(inputs, keras3.layers.Dense(2)(quantized(small(keras3), "int8")(inputs)))


BY_KERAS = {
    "int4": (lambda: quantized(small(keras3), "int4"), r"Dense 'first', which Keras has quantized \(int4\)"),
    "float8": (lambda: quantized(small(keras3), "float8"), r"quantized \(float8\).*before model\.quantize"),
    "in a dict": (lambda: quantized(in_a_dict(keras3.layers.Dense(4)), "int8"), r"layer 'holder'.*quantized \(int8\)"),
    "in a nested model": (nested_model_by_keras, r"layer '\w+/first'.*quantized \(int8\)"),
    "lora in attention": (lora_in_attention, "layer 'attention'.*EinsumDense 'query', with LoRA enabled.*save_weights"),
    "lora in a dict": (lora_in_a_dict, "layer 'holder'.*Dense 'inner', with LoRA"),
    "lora in an embedding": (lora_in_an_embedding, "layer 'words'.*Embedding 'words', with LoRA"),
}


@pytest.mark.parametrize("kind", BY_KERAS)
def test_what_keras_3_has_quantized_or_adapted_is_refused_with_the_cure(kind):
    build, message = BY_KERAS[kind]
    with pytest.raises(InputError, match=message):
        laq.search(build())


def test_a_plan_from_before_is_not_applied_to_what_keras_has_quantized():
    model = small(keras3)
    plan = laq.uniform(model, "linear", 4)
    model.quantize("int8")
    with pytest.raises(InputError, match=r"quantized \(int8\)"):
        laq.apply(model, plan)


def test_the_cure_for_lora_merges_it(tmp_path):
    model, plain = small(keras3), small(keras3)
    model.layers[0].enable_lora(2)
    model.layers[0].lora_kernel_b.assign(np.ones((2, 3)))
    batch = np.ones((2, 4), np.float32)
    model.save_weights(tmp_path / "model.weights.h5")
    plain.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(plain(batch), model(batch), atol=1e-6)
    assert len(accounts(plain)[0]) == 2


@pytest.fixture
def tools():
    """The parts of TFMOT that prepare tf_keras models."""
    adapter_of(small(tf_keras))
    from tensorflow_model_optimization.python.core.clustering.keras import cluster, cluster_config
    from tensorflow_model_optimization.python.core.quantization.keras import quantize
    from tensorflow_model_optimization.python.core.sparsity.keras import prune

    return {"cluster": cluster, "cluster_config": cluster_config, "quantize": quantize, "prune": prune}


def pruned(tools):
    return tools["prune"].prune_low_magnitude(small(tf_keras))


def one_layer_pruned(tools):
    layer = tools["prune"].prune_low_magnitude(tf_keras.layers.Dense(3, name="first"))
    return tf_keras.Sequential([tf_keras.Input((4,)), layer, tf_keras.layers.Dense(2)])


def clustered(tools):
    centroids = tools["cluster_config"].CentroidInitialization.LINEAR
    return tools["cluster"].cluster_weights(small(tf_keras), 4, centroids)


def quantize_model(tools):
    return tools["quantize"].quantize_model(small(tf_keras))


def annotated(tools):
    return tools["quantize"].quantize_annotate_model(small(tf_keras))


def pruned_in_a_nested_model(tools):
    inputs = tf_keras.Input((4,))
    return tf_keras.Model(inputs, tf_keras.layers.Dense(2)(pruned(tools)(inputs)))


BY_TFMOT = {
    pruned: r"PruneLowMagnitude '\w+', which TFMOT has pruned.*strip_pruning",
    one_layer_pruned: r"PruneLowMagnitude '\w+', which TFMOT has pruned.*strip_pruning",
    pruned_in_a_nested_model: r"PruneLowMagnitude '\w+', which TFMOT has pruned.*strip_pruning",
    clustered: r"ClusterWeights '\w+', which TFMOT has clustered.*strip_clustering",
    quantize_model: r"Quantize\w+ '\w+', which TFMOT has quantized.*Start from the float model",
    annotated: r"QuantizeAnnotate '\w+', which TFMOT has quantized.*Start from the float model",
}


@pytest.mark.parametrize("build", BY_TFMOT, ids=lambda build: build.__name__)
def test_what_tfmot_has_prepared_is_refused_with_the_cure(build, tools):
    with pytest.raises(InputError, match=BY_TFMOT[build]):
        laq.search(build(tools))


def test_what_tfmot_has_prepared_is_planned_after_the_cure(tools):
    for plain in (tools["prune"].strip_pruning(pruned(tools)), tools["cluster"].strip_clustering(clustered(tools))):
        assert len(accounts(plain)[0]) == 2


@pytest.mark.parametrize("inside", [False, True])
def test_a_saved_model_is_left_alone_by_name(inside, tmp_path):
    small(keras3).export(tmp_path / "exported", verbose=False)
    layer = keras3.layers.TFSMLayer(tmp_path / "exported", call_endpoint="serve", name="saved")
    inputs = keras3.Input((4,))
    middle = in_a_dict(layer) if inside else layer
    model = keras3.Model(inputs, keras3.layers.Dense(2, name="head")(middle(inputs)))
    planned, left_alone = accounts(model)
    assert planned == ["head.kernel"]
    if not inside:
        assert left_alone["saved"] == "a SavedModel; its weights stay as they are"


def test_a_hub_layer_is_left_alone_by_name(keras):
    # TensorFlow Hub itself is no requirement; its layer is told by its name and module.
    class KerasLayer(keras.layers.Layer):
        __module__ = "tensorflow_hub.keras_layer"

        def build(self, shape):
            self.kernel = own_weight(keras, self, "kernel", (4, 4))
            self.built = True

        def call(self, inputs):
            return tf.matmul(inputs, self.kernel)

    inputs = keras.Input((4,))
    planned, left_alone = accounts(keras.Model(inputs, dense(keras)(KerasLayer(name="hub")(inputs))))
    assert len(planned) == 1
    assert left_alone["hub"] == "a SavedModel; its weights stay as they are"


def adapted(layer, data):
    layer.adapt(data)
    return layer


LOOKUPS = {
    "StringLookup": (lambda L: adapted(L.StringLookup(output_mode="one_hot"), np.array(["a", "b"])), "string"),
    "IntegerLookup": (lambda L: adapted(L.IntegerLookup(output_mode="multi_hot"), np.array([3, 5])), "int64"),
    "TextVectorization": (
        lambda L: adapted(L.TextVectorization(output_mode="multi_hot"), np.array(["a b", "c"])),
        "string",
    ),
    "tf-idf": (lambda L: adapted(L.TextVectorization(output_mode="tf_idf"), np.array(["a b", "c"])), "string"),
    "Hashing": (lambda L: L.Hashing(7, output_mode="one_hot"), "string"),
    "Discretization": (
        lambda L: adapted(L.Discretization(num_bins=3, output_mode="one_hot"), np.arange(9.0, dtype="float32")),
        "float32",
    ),
}


@pytest.mark.parametrize("kind", LOOKUPS)
def test_lookup_tables_are_no_weights(kind, keras):
    make, dtype = LOOKUPS[kind]
    layer = make(keras.layers)
    inputs = keras.Input((1,), dtype=dtype)
    outputs = keras.layers.Dense(2, name="head")(keras.layers.Flatten()(layer(inputs)))
    model = keras.Model(inputs, outputs)
    tensors, left_alone = adapter_of(model).find_weights(model)
    assert [tensor.layer for tensor in tensors] == ["head"]
    assert layer.name in {line.layer for line in left_alone}


def test_a_layer_may_call_its_own_layers_layers():
    @keras3.saving.register_keras_serializable("tests_accounting")
    class Block(keras3.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.layers = [keras3.layers.Dense(4), keras3.layers.Dense(4)]

        def build(self, shape):
            for layer in self.layers:
                layer.build(shape)

        def call(self, inputs):
            return self.layers[1](self.layers[0](inputs))

    @keras3.saving.register_keras_serializable("tests_accounting")
    class Whole(keras3.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.block, self.head = Block(name="block"), keras3.layers.Dense(2, name="head")

        def build(self, shape):
            self.block.build(shape)
            self.head.build(shape)

        def call(self, inputs):
            return self.head(self.block(inputs))

    model = Whole()
    model(np.ones((1, 4), np.float32))
    plan = laq.uniform(model, "linear", 3)
    found = adapter_of(model).quantized_weights(laq.apply(model, plan))
    assert list(found) == [(entry.layer, entry.weight) for entry in plan.entries]
    assert ("block", "layers.1.kernel") in found
