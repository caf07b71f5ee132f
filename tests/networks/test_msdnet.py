import pytest
import torch
import torch.nn.functional as F
from reference_msdnet import reference_msdnet

from voxpick.errors import VoxpickError
from voxpick.networks import dense_blocks, dense_native, native
from voxpick.networks.msdnet import MSDNet

SHAPE = (12, 20, 28)
CONFIGURATIONS = {
    "two cycles and a bit": {"classes": 3, "depth": 7, "dilations": [1, 2, 3]},
    "less than a cycle": {"classes": 2, "depth": 2, "dilations": [1, 2, 3]},
    "three cycles, nine classes": {"classes": 9, "depth": 6, "dilations": [1, 2]},
    "two inputs": {"in_channels": 2, "depth": 4, "dilations": [1, 2]},
    "three inputs, width three": {"in_channels": 3, "classes": 2, "depth": 5, "width": 3, "dilations": [1, 2]},
    "five cycles and a half": {"classes": 2, "depth": 11, "dilations": [1, 2]},
    "one layer": {"depth": 1, "dilations": [1]},
}


def gradients(network, x, target, function):
    """Output, gradient of the input and of every parameter, of a smooth function of the logits."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    logits = function(x)
    (logits.float() * target).sum().backward()
    return [logits.detach().float(), x.grad] + [p.grad.clone() for p in network.parameters()]


def errors(found, expected):
    return [float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)]


@pytest.fixture(params=[*native.INSTRUCTIONS, "portable"])
def engine(request, monkeypatch):
    """The kernels compiled for each set of instructions that this processor has, and the engine without them."""
    name = request.param
    if name != "portable" and (name not in native.supported() or native.build(name) is None):
        pytest.skip(f"needs a processor with {name} and a C++ compiler")
    kernels = None if name == "portable" else native.build(name)
    monkeypatch.setattr(dense_native, "library", lambda: kernels)
    monkeypatch.setattr(dense_native, "has_bfloat16", lambda: name in ("amx", "avx512_bf16"))
    return name


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("shape", [SHAPE, (5, 9, 70), (6, 5, 97)])
def test_equals_the_reference_in_float32(engine, name, shape):
    torch.manual_seed(1)
    network = MSDNet(**CONFIGURATIONS[name])
    torch.nn.init.normal_(network.bias, std=0.1)
    x = torch.randn(2, network.layout.in_channels, *shape)
    target = torch.randn(2, network.classes, *shape)
    expected = gradients(network, x, target, lambda v: reference_msdnet(network, v))
    found = gradients(network, x, target, network)
    assert max(errors(found, expected)) < 1e-5


def test_the_reference_is_the_same_in_both_memory_layouts():
    """The benchmark's peer takes the faster one."""
    torch.manual_seed(1)
    network = MSDNet(**CONFIGURATIONS["two cycles and a bit"])
    x = torch.randn(2, 1, *SHAPE)
    found = reference_msdnet(network, x, memory_format=torch.channels_last_3d)
    torch.testing.assert_close(found, reference_msdnet(network, x), atol=1e-5, rtol=1e-5)


def test_sections_that_are_cut_into_strips_equal_the_reference(engine):
    torch.manual_seed(1)
    network = MSDNet(depth=5, dilations=[1, 3])
    torch.nn.init.normal_(network.bias, std=0.1)
    x = torch.randn(1, 1, 5, 210, 172)
    target = torch.randn(1, 2, 5, 210, 172)
    expected = gradients(network, x, target, lambda v: reference_msdnet(network, v))
    assert max(errors(gradients(network, x, target, network), expected)) < 1e-5


def test_images_of_a_batch_are_evaluated_alike_with_and_without_gradients(engine):
    torch.manual_seed(4)
    network = MSDNet(classes=3, depth=9, dilations=[1, 2, 3])
    x = torch.randn(3, 1, *SHAPE)
    with torch.no_grad():
        without = network(x)
        single = network(x[1:2])
    assert errors([without], [network(x).detach()])[0] < 1e-6
    assert errors([without[1:2]], [single])[0] < 1e-6


def learning_gradients(network, x, function):
    """As `gradients` for a cross-entropy: a target that x determines, so that gradients of voxels do not cancel."""
    network.zero_grad()
    target = (F.avg_pool3d(x[:, :1], 3, 1, 1) > 0.3)[:, 0].long()
    x = x.clone().requires_grad_()
    logits = function(x)
    F.cross_entropy(logits.float(), target).backward()
    return [logits.detach().float(), x.grad] + [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("name", [*CONFIGURATIONS, "localizer"])
def test_equals_the_reference_in_bfloat16(engine, name):
    """Against float32. A map that rounds across zero changes the slope there, so single voxels of the input's
    gradient may differ by much; the same network in plain bfloat16 has an error of 2e-2 to 6e-2 there."""
    if engine in ("avx512", "avx2"):
        pytest.skip("these kernels compute in float32 only; bfloat16 is left to the portable engine")
    torch.manual_seed(1)
    network = MSDNet(**CONFIGURATIONS.get(name, {}))
    torch.nn.init.normal_(network.out_weight, std=0.3)
    noise = torch.randn(2, 2, network.layout.in_channels, *SHAPE)
    x = 3 * F.avg_pool3d(noise[0], 3, 1, 1) + 0.2 * noise[1]
    expected = learning_gradients(network, x, lambda v: reference_msdnet(network, v))
    network.compute_dtype = torch.bfloat16
    found = learning_gradients(network, x, network)
    assert errors(found[:1], expected[:1])[0] < 1e-2
    assert errors(found[1:2], expected[1:2])[0] < 8e-2
    assert max(errors(found[2:], expected[2:])) < 2.5e-2
    together = [torch.cat([g.flatten() for g in some[2:]]) for some in (found, expected)]
    assert errors(together[:1], together[1:])[0] < 1e-2


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"depth": 37, "dilations": [1, 2], "classes": 3}, (6, 9, 20)),  # three groups of tiles
        ({"depth": 9, "dilations": [1, 3], "classes": 3}, (5, 210, 100)),  # rows in strips
        ({"depth": 9, "dilations": [1, 2, 3], "classes": 3}, (4, 11, 48)),  # a tile of three vectors
    ],
)
def test_bfloat16_equals_the_reference_in_other_shapes(engine, settings, shape):
    if engine in ("avx512", "avx2"):
        pytest.skip("these kernels compute in float32 only; bfloat16 is left to the portable engine")
    torch.manual_seed(5)
    network = MSDNet(**settings)
    noise = torch.randn(2, 2, 1, *shape)
    x = 3 * F.avg_pool3d(noise[0], 3, 1, 1) + 0.2 * noise[1]
    expected = learning_gradients(network, x, lambda v: reference_msdnet(network, v))
    network.compute_dtype = torch.bfloat16
    found = learning_gradients(network, x, network)
    assert errors(found[:1], expected[:1])[0] < 1e-2
    together = [torch.cat([g.flatten() for g in some[2:]]) for some in (found, expected)]
    assert errors(together[:1], together[1:])[0] < 2e-2


def test_paper_sized_localizer_equals_the_reference(engine):
    torch.manual_seed(2)
    network = MSDNet()
    x = torch.randn(1, 1, *SHAPE)
    target = torch.randn(1, 2, *SHAPE)
    expected = gradients(network, x, target, lambda v: reference_msdnet(network, v))
    assert max(errors(gradients(network, x, target, network), expected)) < 1e-5


def test_same_result_with_and_without_gradients_and_on_one_thread(engine):
    torch.manual_seed(3)
    network = MSDNet(classes=2, depth=9, dilations=[1, 2, 3])
    x = torch.randn(1, 1, *SHAPE)
    with_gradients = network(x).detach()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            without = network(x)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(with_gradients, without) or errors([without], [with_gradients])[0] < 1e-6


def test_an_outer_autocast_sets_the_format(engine):
    torch.manual_seed(3)
    network = MSDNet(classes=2, depth=5, dilations=[1, 2])
    x = torch.randn(1, 1, *SHAPE)
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            automatic = network(x)
        network.compute_dtype = torch.bfloat16
        assert torch.equal(automatic, network(x))
        assert automatic.dtype == torch.float32


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_gradients_nothing_is_kept(engine, monkeypatch, context, dtype):
    network, kept = MSDNet(classes=2, depth=5, dilations=[1, 2]), []
    network.compute_dtype = dtype
    for one in (dense_blocks, dense_native):

        def spy(*arguments, evaluate=one.evaluate, **options):
            found = evaluate(*arguments, **options)
            kept.append(found[1])
            return found

        monkeypatch.setattr(one, "evaluate", spy)
    with context():
        network(torch.randn(1, 1, *SHAPE))
    assert kept == [None]
    network(torch.randn(1, 1, *SHAPE))
    assert kept[1] is not None


def test_defaults_of_torch_do_not_change_the_result(engine):
    network, x = MSDNet(classes=2, depth=5, dilations=[1, 2]), torch.randn(1, 1, *SHAPE, requires_grad=True)
    expected = network(x)
    expected.square().sum().backward()
    gradient, x.grad = x.grad, None
    torch.set_default_dtype(torch.float64)
    try:
        found = network(x)
        found.square().sum().backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32 and torch.equal(found, expected) and errors([x.grad], [gradient])[0] < 1e-6


def test_second_derivatives_are_refused(engine):
    network, x = MSDNet(classes=2, depth=3, dilations=[1]), torch.randn(1, 1, 4, 5, 6, requires_grad=True)
    (slope,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_two_graphs_at_once_do_not_share_memory(engine):
    torch.manual_seed(4)
    network = MSDNet(classes=2, depth=5, dilations=[1, 2])
    x, y = torch.randn(2, 1, 1, *SHAPE)
    network(x).square().sum().backward()
    expected = network.weights[2].grad.clone()
    network.zero_grad()
    first = network(x)
    network(y)
    first.square().sum().backward()
    assert errors([network.weights[2].grad], [expected])[0] < 1e-6


def test_parameter_counts_of_the_paper():
    localizer = sum(p.numel() for p in MSDNet().parameters())
    classifier = sum(p.numel() for p in MSDNet(classes=13, depth=100, dilations=[1, 2, 3, 4, 5]).parameters())
    assert localizer == 129_952
    assert abs(localizer / 132_000 - 1) < 0.02
    assert classifier == 542_826
    assert abs(classifier / 551_000 - 1) < 0.02


def test_receptive_field_is_what_an_impulse_reaches():
    network = MSDNet(classes=1, depth=4, dilations=[1, 2])
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    side = network.receptive_field
    assert side == 1 + 2 * (1 + 2 + 1 + 2)
    x = torch.zeros(1, 1, side + 4, side + 6, side + 8)
    changed = x.clone()
    changed[0, 0, side // 2 + 2, side // 2 + 3, side // 2 + 4] = 1
    with torch.no_grad():
        reached = (network(changed) - network(x))[0, 0].abs() > 0
    assert [int(reached.flatten(1).any(1).sum()), int(reached.any(2).any(0).sum())] == [side, side]
    assert f"receptive_field={side}" in repr(network)


def test_bad_settings_are_refused():
    with pytest.raises(VoxpickError, match="leave holes"):
        MSDNet(dilations=[1, 2, 9])
    with pytest.raises(VoxpickError, match="depth is 0"):
        MSDNet(depth=0)
    with pytest.raises(VoxpickError, match=r"expected \(batch, 1"):
        MSDNet(depth=2, dilations=[1, 2])(torch.zeros(1, 2, 4, 5, 6))


def test_training_lowers_the_loss(engine):
    torch.manual_seed(5)
    network = MSDNet(classes=2, depth=6, dilations=[1, 2, 3])
    network.compute_dtype = torch.bfloat16
    x = torch.randn(1, 1, *SHAPE)
    target = (F.avg_pool3d(x, 3, 1, 1) > 0)[:, 0].long()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.69, abs=0.1)
    assert losses[-1] < 0.25
