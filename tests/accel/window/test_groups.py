"""Which weights share an operator, and that groups handled together are predicted as if each were alone."""

import numpy as np
import pytest
import torch
from torch import nn

from accel import DMD, Accelerator
from accel._window.groups import lay_out

KINDS = ["model", "layer", "node", "weight", 6, 1]


def walk(model, m, seed=0, scale=0.05):
    """Let every parameter spiral towards a limit, and yield after each of m steps."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        [torch.randn(p.shape, generator=generator, dtype=torch.float64) for _ in range(3)] for p in model.parameters()
    ]
    for k in range(m):
        with torch.no_grad():
            for p, (limit, one, two) in zip(model.parameters(), parts, strict=True):
                p.copy_(limit + scale * (0.9**k * one + 0.6**k * two))
        yield k


def net(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 9), nn.PReLU(), nn.Linear(9, 2)
    ).to(dtype)


def own_groups(model):
    return {"first": [model[0].weight, model[5].bias], "rest": [model[3].weight, model[3].bias, model[5].weight]}


def expected_groups(model, kind):
    """Each group as (name, list of (parameter, index into it)), written down independently of the layout."""
    if kind == "model":
        return [("model", [(p, ...) for p in model.parameters()])]
    if kind == "layer":
        return [(n, [(p, ...) for p in x.parameters()]) for n, x in model.named_children() if [*x.parameters()]]
    if kind == "node":
        return [
            (f"{name}[{row}]", [(p, row) for p in layer.parameters()])
            for name, layer in model.named_children()
            for row in range(len(next(layer.parameters(), [])))
        ]
    if kind == "weight":
        return [
            (f"{name}{list(index)}", [(p, index)])
            for name, p in model.named_parameters()
            for index in np.ndindex(*p.shape)
        ]
    if isinstance(kind, int):
        return [
            (f"{name}{place}", [(p, tuple(torch.from_numpy(axis) for axis in np.unravel_index(part, p.shape)))])
            for name, p in model.named_parameters()
            for place, part in _parts_of(p, kind)
        ]
    return [(name, [(p, ...) for p in group]) for name, group in kind.items()]


def _parts_of(parameter, most):
    """Place and flat indices of every part: rows of 27 weights in ninths, of 16 in quarters, of 9 in thirds."""
    length = parameter[0].numel()
    if parameter.dim() == 1:
        return [([k], np.array([k])) for k in range(len(parameter))]
    size = {27: 3, 16: 4, 9: 3}[length] if most == 6 else 1
    flat = np.arange(parameter.numel()).reshape(len(parameter), -1, size)
    return [([row, part], flat[row, part]) for row in range(flat.shape[0]) for part in range(flat.shape[1])]


@pytest.mark.parametrize("kind", [*KINDS, "own"])
@pytest.mark.parametrize("rule", [DMD(1e-7), DMD(rank=2, form="displacement"), DMD(1e-7, growth="clip")])
def test_every_group_is_predicted_as_if_alone(kind, rule, factor):
    model, m, s = net(), 5, 7
    kind = own_groups(model) if kind == "own" else kind
    accelerator = Accelerator(model, rule, m=m, s=s, group=kind)
    groups = expected_groups(model, kind)
    rows = [[] for _ in groups]
    before = [p.detach().clone() for p in model.parameters()]
    for _ in walk(model, m):
        for row, (_, parts) in zip(rows, groups, strict=True):
            row.append(torch.cat([p.detach()[index].reshape(-1) for p, index in parts]))
        before = {p: p.detach().clone() for p in model.parameters()}
        jump = accelerator.step()
    assert [(g.name, g.size) for g in jump.groups] == [
        (name, len(row[0])) for (name, _), row in zip(groups, rows, strict=True)
    ]
    assert accelerator.group_names == tuple(name for name, _ in groups)
    grouped = set()
    for (_, parts), row in zip(groups, rows, strict=True):
        w = torch.stack(row, dim=1).numpy()
        expected = w @ rule(factor(w), s).coefficients[0].numpy()
        found = torch.cat([p.detach()[index].reshape(-1) for p, index in parts]).numpy()
        # modes down to 1e-7 of the largest: eps / 1e-7 of the weights, which moved by 5e-2 of their size
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
        grouped |= {p for p, _ in parts}
    for p, value in before.items():
        assert torch.equal(p, value) == (p not in grouped)  # what no group names is left alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("inputs", [3, 6, 7, 40])  # fewer weights than snapshots, as many, more
def test_nodes_of_any_size_equal_the_textbook(dtype, inputs, textbook):
    model, m, s = nn.Linear(inputs, 300).to(dtype), 8, 4
    accelerator = Accelerator(model, DMD(1e-3), m=m, s=s, group="node")
    rows = []
    for _ in walk(model, m):
        rows.append(torch.cat([model.weight.detach(), model.bias.detach()[:, None]], dim=1).double().numpy())
        accelerator.step()
    found = torch.cat([model.weight.detach(), model.bias.detach()[:, None]], dim=1).double().numpy()
    for node in range(0, 300, 13):
        w = np.stack([row[node] for row in rows], axis=1)
        expected = textbook(w, s, 1e-3)
        # float32: Gram matrix to 1e-8 of a step at tolerance 1e-3, and half an ulp of the weights, 2e-7 of numbers <= 5
        assert np.abs(found[node] - expected).max() < (1e-10 if dtype == torch.float64 else 1e-6)


def test_groups_of_several_dtypes_share_one_operator(textbook):
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3).double())
    accelerator = Accelerator(model, DMD(1e-3), m=5, s=6, group="model")
    rows = []
    for _ in walk(model, 5):
        rows.append(np.concatenate([p.detach().double().reshape(-1).numpy() for p in model.parameters()]))
        jump = accelerator.step()
    w = np.stack(rows, axis=1)
    expected = textbook(w, 6, 1e-3)
    found = np.concatenate([p.detach().double().reshape(-1).numpy() for p in model.parameters()])
    assert [(g.name, g.size) for g in jump.groups] == [("model", 53)]
    assert [p.dtype for p in model.parameters()] == [torch.float32] * 2 + [torch.float64] * 2
    np.testing.assert_allclose(found[35:], expected[35:], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[:35], expected[:35], rtol=0, atol=1e-6)  # half an ulp of float32


def test_dtypes_apart_are_as_models_apart():
    both = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3).double())
    alone = [nn.Linear(6, 5), nn.Linear(5, 3).double()]
    for kind in ("layer", "node"):
        accelerators = [Accelerator(part, DMD(1e-3), m=4, s=6, group=kind) for part in alone]
        accelerator = Accelerator(both, DMD(1e-3), m=4, s=6, group=kind)
        for _ in walk(both, 4):
            with torch.no_grad():
                for p, q in zip([p for part in alone for p in part.parameters()], both.parameters(), strict=True):
                    p.copy_(q)
            jumps = [accelerator.step() for accelerator in (accelerator, *accelerators)]
        assert all(jump.accepted for jump in jumps)
        for p, q in zip([p for part in alone for p in part.parameters()], both.parameters(), strict=True):
            assert torch.equal(p, q)


def test_thousands_of_groups_in_chunks_are_the_same(monkeypatch):
    """Chunks bound the memory; where they end must not matter."""
    import accel._window.group_windows as windows

    found = []
    for chunk, batch in ((1 << 21, 1 << 16), (500, 7)):
        monkeypatch.setattr(windows, "_CHUNK", chunk)
        monkeypatch.setattr(windows, "_BATCH", batch)
        for kind in ("node", "weight"):
            model = nn.Linear(12, 50)
            accelerator = Accelerator(model, DMD(1e-4), m=4, s=3, group=kind)
            for _ in walk(model, 4):
                jump = accelerator.step()
            found.append((torch.cat([model.weight.flatten(), model.bias]).detach(), jump.groups))
    for (one, first), (two, second) in zip(found[:2], found[2:], strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)  # half an ulp, and sums in another order
        assert first.columns["rank"].tolist() == second.columns["rank"].tolist()


def test_one_call_of_the_rule_for_all_nodes_of_a_layer():
    shapes = []

    def rule(window, s):
        shapes.append(tuple(window.shape))
        return DMD(1e-4)(window, s)

    model = nn.Sequential(nn.Linear(12, 50), nn.Linear(50, 3))
    accelerator = Accelerator(model, rule, m=4, s=3, group="node")
    for _ in walk(model, 4):
        accelerator.step()
    assert shapes == [(53, 4, 4)]


def test_reports_of_many_groups_are_one_per_layer_on_request():
    model = nn.Sequential(nn.Linear(12, 50), nn.Linear(50, 3))
    accelerator = Accelerator(model, DMD(1e-4), m=4, s=3, group="node")
    for _ in walk(model, 4):
        jump = accelerator.step()
    assert len(jump.groups) == 53
    assert [(f.name, f.size) for f in jump.groups.families] == [("0", 13), ("1", 51)]
    for family, groups in zip(jump.groups.families, (jump.groups[:50], jump.groups[50:]), strict=True):
        for field in ("rank", "spectral_radius", "residual", "relative_move"):
            assert getattr(family, field) == max(getattr(group, field) for group in groups)
    assert jump.groups[-1].name == "1[2]"
    assert "of 53 groups" in repr(jump.groups)
    with pytest.raises(IndexError):
        jump.groups[53]


def test_transposed_convolutions_have_rows_of_input_channels():
    model = nn.ConvTranspose2d(4, 4, 3)
    names = [(f.name, f.shape, f.size) for f in lay_out(model, "node").families]
    assert names == [("model.weight", (4,), 36), ("model.bias", (4,), 1)]


def test_wrapped_models_have_the_groups_of_what_they_wrap():
    model = net()
    compiled = torch.compile(model, backend="eager")
    for kind in KINDS:
        assert lay_out(compiled, kind).families == lay_out(model, kind).families


def test_single_weights_that_stand_still_stay_bit_for_bit():
    model = nn.Linear(6, 5)
    accelerator = Accelerator(model, DMD(), m=4, s=50, group="weight")
    still = model.weight.detach().clone()
    for k in range(4):
        with torch.no_grad():
            model.bias.fill_(0.5**k)
        jump = accelerator.step()
    assert torch.equal(model.weight, still)
    assert [g.deficient for g in jump.groups] == [True] * 30 + [False] * 5
    torch.testing.assert_close(model.bias.detach(), torch.full((5,), 0.5**53), rtol=1e-6, atol=0)


def test_partitions_that_cannot_be():
    model, other = net(), nn.Linear(2, 2)
    for groups, message in (
        ({"a": [other.weight]}, r"trainable parameters of the model, got another one of shape \(2, 2\) in 'a'"),
        ({"a": [model[0].weight], "b": [model[0].weight]}, r"must not share .* in 'a' and in 'b'"),
        ({}, "at least one weight, got no group"),
        ({"a": [model[0].weight], "b": []}, "at least one weight, got b"),
    ):
        with pytest.raises(ValueError, match=message):
            Accelerator(model, DMD(), m=2, s=1, group=groups)
