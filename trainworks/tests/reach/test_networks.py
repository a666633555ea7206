"""Every network of torchvision is built from a configuration, without a download, and takes a step."""

import math
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchvision.models import get_model_builder, list_models

from trainworks.cli.parser import Parser, parse_config
from trainworks.optim import build_optimizer

pytestmark = pytest.mark.reach

BY_NAME = "shufflenet_"  # reached by get_model alone: a default is a class whose arguments the parser would want
SIZES = {"alexnet": 64, "inception_v3": 75, "quantized_inception_v3": 75, "maxvit_t": 224, "vit_h_14": 28}
AUXILIARY = ("googlenet", "inception_v3")  # in training they return outputs of several layers, unless told not to
HUGE = ("regnet_y_128gf", "vit_h_14")
FREE_GB = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
RANDOM = torch.randn(2**20, generator=torch.Generator().manual_seed(0)) / 50


@pytest.fixture(autouse=True)
def _cheap_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fill weights with the same small random numbers again and again: seven billion fresh ones would take minutes."""

    def fill(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        with torch.no_grad():
            flat = tensor.view(-1)
            for start in range(0, len(flat), len(RANDOM)):
                part = flat[start : start + len(RANDOM)]
                part.copy_(RANDOM[: len(part)])
        return tensor

    for name in ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"):
        monkeypatch.setattr(nn.init, name, fill)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning uses old names
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", _no_download)
    yield


def _no_download(*_: Any, **__: Any) -> None:
    raise AssertionError("a download was tried")


def described(name: str, **arguments: Any) -> dict[str, Any]:
    builder = get_model_builder(name)
    if name.removeprefix("quantized_").startswith(BY_NAME):
        return {"class_path": "torchvision.models.get_model", "init_args": {"name": name}, "dict_kwargs": arguments}
    return {"class_path": f"{builder.__module__}.{builder.__name__}", "init_args": arguments}


def build(net: dict[str, Any]) -> LightningModule:
    parser = Parser()
    parser.add_subclass_arguments(LightningModule, "model")
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}}
    arguments = {"net": net, "loss": "torch.nn.CrossEntropyLoss", "optimizer": sgd}
    config = {"model": {"class_path": "trainworks.tests.examples.classifier.ClassifierModule", "init_args": arguments}}
    parsed = parse_config(parser, config)
    module: LightningModule = parser.instantiate_classes(parsed).model
    return module


def in_package(package: Any) -> list[str]:
    return list_models(module=package)


CLASSIFIERS = [*in_package(torchvision.models), *in_package(torchvision.models.quantization)]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_takes_a_step(name: str) -> None:
    if name in HUGE and FREE_GB < 7:
        pytest.skip("needs 6 GB of memory")
    size = SIZES.get(name, 32)
    arguments: dict[str, Any] = {"num_classes": 3}
    arguments |= {"image_size": size} if name.startswith("vit_") else {}
    auxiliary = name.removeprefix("quantized_") in AUXILIARY
    arguments |= {"aux_logits": False, "init_weights": False} if auxiliary else {}
    module = build(described(name, weights=None, **arguments)).train()
    loss, logits, _ = module.step((torch.rand(2, 3, size, size), torch.tensor([0, 2])))
    loss.backward()
    assert (logits.shape, math.isfinite(loss.detach())) == ((2, 3), True)
    weight = next(p for p in reversed(list(module.parameters())) if p.grad is not None and p.grad.any())
    before = weight.detach().clone()
    build_optimizer(partial(torch.optim.SGD, lr=0.01), module).step()
    assert torch.isfinite(weight).all()
    assert not torch.equal(weight, before)


@pytest.mark.parametrize("name", in_package(torchvision.models.segmentation))
def test_every_segmenter_is_built_and_called(name: str) -> None:
    module = build(described(name, weights=None, weights_backbone=None, num_classes=3)).eval()
    with torch.inference_mode():
        assert module(torch.rand(1, 3, 64, 64))["out"].shape == (1, 3, 64, 64)


@pytest.mark.parametrize("name", in_package(torchvision.models.detection))
def test_every_detector_is_built_and_called(name: str) -> None:
    sizes = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 64}
    net = described(name, weights=None, weights_backbone=None, num_classes=3)
    net["dict_kwargs"] = sizes
    module = build(net).eval()
    with torch.inference_mode():
        (found,) = module([torch.rand(3, 64, 64)])
    assert {"boxes", "labels", "scores"} <= set(found)
    assert found["boxes"].shape[1] == 4


@pytest.mark.parametrize("name", in_package(torchvision.models.optical_flow))
def test_every_optical_flow_network_is_built_and_called(name: str) -> None:
    module = build(described(name, weights=None)).eval()
    images = torch.rand(2, 1, 3, 128, 128)
    with torch.inference_mode():
        flows = module.net(*images, num_flow_updates=1)
    assert flows[-1].shape == (1, 2, 128, 128)


@pytest.mark.parametrize("name", in_package(torchvision.models.video))
def test_every_video_network_is_built(name: str) -> None:
    module = build(described(name, weights=None, num_classes=3))
    assert [p.shape[0] for p in module.parameters()][-1] == 3


def test_no_network_of_torchvision_is_left_out() -> None:
    packages = ("segmentation", "detection", "optical_flow", "video")
    others = [name for package in packages for name in in_package(getattr(torchvision.models, package))]
    assert sorted([*CLASSIFIERS, *others]) == sorted(list_models())


def test_a_builder_that_a_configuration_cannot_reach_says_so() -> None:
    with pytest.raises(Exception, match="inverted_residual"):
        build({"class_path": "torchvision.models.shufflenet_v2_x0_5", "init_args": {"weights": None}})


def test_networks_of_timm() -> None:
    pytest.importorskip("timm")
    arguments = {"model_name": "resnet10t", "pretrained": False}
    net = {"class_path": "timm.create_model", "init_args": arguments, "dict_kwargs": {"num_classes": 3, "in_chans": 1}}
    module = build(net)
    loss, logits, _ = module.step((torch.rand(2, 1, 32, 32), torch.tensor([0, 2])))
    loss.backward()
    assert (logits.shape, math.isfinite(loss.detach())) == ((2, 3), True)
