"""The loss of labelled tokens alone is the loss of the full logits."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from training.fast_step import answer_loss as loss
from training.fast_step.answer_loss import LogProbabilities, pieces, project


@pytest.fixture
def given():
    torch.manual_seed(0)
    states = torch.randn(300, 16, requires_grad=True)  # more than are scored at once
    return states, torch.randn(1000, 16), torch.randint(1000, (300,))


def test_values_and_gradient_are_those_of_the_full_logits(given):
    states, weight, tokens = given
    steep = torch.rand(300)
    logs = (states @ weight.T).log_softmax(-1)
    wanted = logs.gather(1, tokens[:, None]).squeeze(1)
    (gradient,) = torch.autograd.grad((wanted * steep).sum(), states)
    told, entropy, likeliest = LogProbabilities.apply(states, weight, tokens)
    torch.testing.assert_close(told, wanted)
    torch.testing.assert_close(entropy, -(logs.exp() * logs).sum(-1))
    assert likeliest.equal(logs.argmax(-1) == tokens)
    (found,) = torch.autograd.grad((told * steep).sum(), states)
    torch.testing.assert_close(found, gradient)


def test_a_matrix_that_comes_in_slices_gives_the_same(given, monkeypatch):
    states, weight, tokens = given
    wanted = LogProbabilities.apply(states, weight, tokens)
    monkeypatch.setattr(loss, "pieces", lambda weight, _: weight.split(130))
    found = LogProbabilities.apply(states, weight, tokens)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    gradients = [torch.autograd.grad(logs[0].sum(), states)[0] for logs in (found, wanted)]
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(project(states, weight), states @ weight.T)


def test_a_matrix_elsewhere_comes_in_slices(monkeypatch):
    monkeypatch.setattr(loss, "ROWS", 3)
    weight = torch.arange(14.0).view(7, 2)
    assert [len(part) for part in pieces(weight, torch.device("cpu"))] == [7]
    elsewhere = list(pieces(weight, torch.device("cpu", 0)))  # not the device it is on, in name
    assert [len(part) for part in elsewhere] == [3, 3, 1]
    assert torch.cat(elsewhere).equal(weight)


def test_no_label_gives_no_loss_and_a_gradient_of_nothing():
    states = torch.randn(0, 4, requires_grad=True)
    told, *_ = LogProbabilities.apply(states, torch.randn(9, 4), torch.zeros(0, dtype=torch.long))
    told.sum().backward()
    assert told.shape == (0,) and states.grad.shape == (0, 4)


def test_trls_sum_over_them_is_cross_entropy(given):
    states, weight, tokens = given
    told, *_ = LogProbabilities.apply(states, weight, tokens)
    torch.testing.assert_close(-told.mean(), cross_entropy(states @ weight.T, tokens))
