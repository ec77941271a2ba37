"""Which layers the input reaches first."""

import pytest

from tf_laq.adapters import adapter_of, keras_module


def fed_by_input(model):
    return [tensor.layer for tensor in adapter_of(model).find_weights(model)[0] if tensor.fed_by_input]


@pytest.fixture(params=[2, 3])
def keras(request):
    return keras_module(request.param)


def test_both_branches_at_the_input_are_found_and_nothing_behind_them(keras):
    layers = keras.layers
    images = keras.Input((8, 8, 3))
    scaled = layers.Rescaling(2.0)(images)
    left = layers.Conv2D(4, 3, padding="same", name="left2")(layers.Conv2D(4, 3, padding="same", name="left1")(scaled))
    right = layers.Conv2D(4, 1, name="right")(images)
    model = keras.Model(images, layers.Dense(2, name="head")(layers.Flatten()(layers.Add()([left, right]))))
    assert sorted(fed_by_input(model)) == ["left1", "right"]


def test_nested_and_sequential_models_are_entered(keras):
    layers = keras.layers
    inner = keras.Sequential(
        [layers.Input((8,)), layers.Dense(4, name="first"), layers.Dense(4, name="second")], name="inner"
    )
    flat = layers.Flatten()
    model = keras.Sequential([layers.Input((2, 4)), flat, inner, layers.Dense(2, name="head")])
    assert fed_by_input(model) == ["inner/first"]


def test_a_layer_shared_with_another_model_does_not_lead_there(keras):
    layers = keras.layers
    flat, images = layers.Flatten(name="flat"), keras.Input((2, 4))
    keras.Model(images, layers.Dense(3, name="other")(flat(images)))
    model = keras.Model(images, layers.Dense(2, name="head")(flat(images)))
    assert fed_by_input(model) == ["head"]


def test_of_a_subclassed_model_it_is_the_first_layer_with_a_kernel(keras):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten, self.one, self.two = (
                keras.layers.Flatten(),
                keras.layers.Dense(3, name="one"),
                keras.layers.Dense(2, name="two"),
            )

        def call(self, images):
            return self.two(self.one(self.flatten(images)))

    model = Subclassed()
    model(keras.ops.ones((1, 4)) if hasattr(keras, "ops") else keras.backend.ones((1, 4)))
    assert fed_by_input(model) == ["one"]
