"""Rows become batches: every row once an epoch, alike in length, padded to their own longest."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from autopeft.base_models import load_tokenizer
from autopeft.tasks import Split, load_task
from workers.data import WINDOW, EncodedSplit, encode_split, encode_task

PAD = 7


def split(lengths, segments=False):
    """Rows of these lengths; each row's tokens and target are its own number."""
    ids = [[100 + row] * length for row, length in enumerate(lengths)]
    kinds = [[0] * (length // 2) + [1] * (length - length // 2) for length in lengths] if segments else None
    return EncodedSplit(ids, kinds, torch.arange(len(lengths)), PAD)


lengths = st.lists(st.integers(1, 30), min_size=1, max_size=90)


def test_a_batch_is_padded_to_its_longest_row_in_ids_mask_and_segments():
    batch = split([3, 1, 2], segments=True).batch([2, 0])
    assert batch.inputs["input_ids"].tolist() == [[102, 102, PAD], [100, 100, 100]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.inputs["token_type_ids"].tolist() == [[0, 1, 0], [0, 1, 1]]
    assert batch.targets.tolist() == [2, 0] and len(batch) == 2
    assert "token_type_ids" not in split([1]).batch([0]).inputs


@given(lengths, st.integers(1, 40))
def test_chunks_are_the_batch_in_order(of, rows):
    whole = split(of, segments=True).batch(range(len(of)))
    pieces = list(whole.chunks(rows))
    assert all(len(piece) == rows for piece in pieces[:-1]) and 1 <= len(pieces[-1]) <= rows
    assert torch.equal(torch.cat([p.targets for p in pieces]), whole.targets)
    for name, tensor in whole.inputs.items():
        assert torch.equal(torch.cat([p.inputs[name] for p in pieces]), tensor)


@given(of=lengths, cost=st.integers(0, 60))
def test_a_batch_is_cut_as_long_as_that_saves_tokens_where_it_takes_the_fewest(of, cost):
    batch = split(of, segments=True).batch(range(len(of)))

    def cut(lengths):
        """Return the rows of each piece, found by trying every cut."""
        tried = [
            (at * max(lengths[:at]) + (len(lengths) - at) * max(lengths[at:]), at) for at in range(1, len(lengths))
        ]
        fewest, at = min(tried, default=(math.inf, 0))
        if fewest + cost >= len(lengths) * max(lengths):
            return [len(lengths)]
        return [*cut(lengths[:at]), *cut(lengths[at:])]

    pieces = batch.cut(cost)
    assert [len(piece) for piece in pieces] == cut(of)
    assert [row for piece in pieces for row in piece.rows] == list(batch.rows)
    assert torch.equal(torch.cat([piece.targets for piece in pieces]), batch.targets)
    for piece in pieces:
        own = split(of, segments=True).batch(piece.rows)
        for name, tensor in piece.inputs.items():
            assert torch.equal(tensor, own.inputs[name])


@given(lengths, st.integers(1, 8), st.integers(0, 5))
def test_every_row_comes_once_an_epoch_in_an_order_that_the_seed_gives(of, batch_size, seed):
    rows = split(of)
    epoch = -(-len(of) // batch_size)

    def epochs():
        batches = [b.targets.tolist() for b in islice(rows.shuffled_batches(batch_size, _rng(seed)), 2 * epoch)]
        return batches[:epoch], batches[epoch:]

    for batches in epochs():
        assert sorted(row for batch in batches for row in batch) == list(range(len(of)))
        assert max(map(len, batches)) <= batch_size
    assert epochs() == epochs()


def _rng(seed):
    return np.random.default_rng(seed)


def test_epochs_and_seeds_differ():
    rows = split([5] * 60)
    batches = [b.targets.tolist() for b in islice(rows.shuffled_batches(4, _rng(0)), 30)]
    other = [b.targets.tolist() for b in islice(rows.shuffled_batches(4, _rng(1)), 15)]
    assert batches[:15] != batches[15:] and batches[:15] != other


def test_windows_are_sorted_by_length_so_that_little_is_padding():
    rng = _rng(3)
    of = rng.integers(1, 120, size=WINDOW * 8).tolist()
    batches = list(islice(split(of).shuffled_batches(8, _rng(0)), WINDOW))
    spans = sorted((min(of[i] for i in b.targets), max(of[i] for i in b.targets)) for b in batches)
    assert all(high <= low for (_, high), (low, _) in zip(spans, spans[1:], strict=False)), "one window, cut in order"
    many = rng.integers(1, 120, size=10 * WINDOW * 8).tolist()
    padded = sum(b.inputs["input_ids"].numel() for b in islice(split(many).shuffled_batches(8, _rng(0)), 10 * WINDOW))
    assert padded < 1.1 * sum(many)


def test_batches_of_several_seeds_side_by_side_need_little_padding():
    of = _rng(3).integers(1, 120, size=40 * WINDOW).tolist()
    epoch, rows = len(of) // 8, split(of)
    orders = [islice(rows.shuffled_batches(8, _rng(seed)), epoch) for seed in range(8)]
    lengths = np.array([[batch.inputs["input_ids"].shape[1] for batch in order] for order in orders])
    assert lengths.max(axis=0).sum() < 1.2 * lengths.mean(axis=0).sum()
    assert np.ptp(lengths[0]) > 80, "long ones and short ones take turns"


@given(lengths, st.integers(1, 40))
def test_sorted_batches_hold_every_row_once_by_length(of, batch_size):
    rows = split(of)
    seen = []
    for indices, batch in rows.sorted_batches(batch_size):
        assert batch.targets.tolist() == indices
        seen += indices
    assert sorted(seen) == list(range(len(of)))
    assert [of[i] for i in seen] == sorted(of)


def test_a_subset_is_the_same_for_everyone_keeps_the_order_and_grows():
    rows = split(list(range(1, 101)), segments=True)
    chosen = rows.subset(30)
    assert chosen.targets.tolist() == sorted(chosen.targets.tolist()) and len(chosen) == 30
    assert torch.equal(chosen.targets, rows.subset(30).targets)
    assert set(chosen.targets.tolist()) < set(rows.subset(60).targets.tolist())
    for index, row in enumerate(chosen.targets.tolist()):
        assert chosen.ids[index] == rows.ids[row] and chosen.segments[index] == rows.segments[row]
    assert chosen.targets.tolist()[:6] == [4, 5, 8, 9, 10, 11], "a release that draws others changes every score"
    for everything in (None, 100, 1000):
        assert rows.subset(everything) is rows


# -- from texts


@pytest.fixture(scope="module")
def tokenizer(model_folder):
    return AutoTokenizer.from_pretrained(model_folder)


def texts(first, second=None):
    return Split(tuple(first), None if second is None else tuple(second), np.zeros(len(first), dtype=np.int64))


def test_texts_are_cut_to_the_longest_allowed(tokenizer):
    encoded = encode_split(texts(["w1 " * 50, "w1"]), tokenizer, 8)
    assert [len(ids) for ids in encoded.ids] == [8, 3]
    assert encoded.segments is None and encoded.pad_id == tokenizer.pad_token_id


def test_pairs_have_segments_where_the_tokeniser_gives_them_and_are_cut_together(model_folder):
    names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = AutoTokenizer.from_pretrained(model_folder, model_input_names=names)
    assert encode_split(texts(["w1"]), tokenizer, 16).segments is None
    encoded = encode_split(texts(["w1 w2", "w1 " * 20], ["w3", "w4 " * 20]), tokenizer, 16)
    assert encoded.segments[0] == [0, 0, 0, 0, 1, 1]
    assert len(encoded.ids[1]) == len(encoded.segments[1]) == 16


def test_a_text_of_no_token_is_one_of_padding(model_folder):
    bare = AutoTokenizer.from_pretrained(model_folder)
    bare.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B")
    encoded = encode_split(texts([" ", "w1"]), bare, 8)
    assert encoded.ids[0] == [encoded.pad_id]
    assert encoded.batch([0]).inputs["attention_mask"].tolist() == [[1]]


def in_tokens(tokenizer, first, second=None):
    encoded = encode_split(texts(first, second), tokenizer, 32)
    assert encoded.segments is None or [*map(len, encoded.segments)] == [*map(len, encoded.ids)]
    return [tokenizer.convert_ids_to_tokens(ids) for ids in encoded.ids]


def test_a_text_that_holds_a_special_token_does_not_become_one(tokenizer):
    names = sorted({tokenizer.sep_token, tokenizer.cls_token, tokenizer.pad_token})
    (row,) = in_tokens(tokenizer, [f"w1 {' '.join(names)} w2"])
    assert [token for token in row if token in names] == [tokenizer.cls_token, tokenizer.sep_token]


def t5_tokenizer(pad="<pad>"):
    """As T5's: its special tokens are pieces, and the likeliest."""
    pieces = [(pad, 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [(letter, -5.0) for letter in "▁abcdes</>"]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token=pad, unk_token="<unk>")


def test_t5_ends_every_text_once_whatever_the_text_holds():
    held = ["a</s>b </s>", "<pad> a", "a é"]
    for rows in (in_tokens(t5_tokenizer(), held), in_tokens(t5_tokenizer(), ["a"] * 3, held)):
        assert len({row.count("</s>") for row in rows}) == 1
        assert all(row[-1] == "</s>" and "<pad>" not in row for row in rows)
        assert "<unk>" in rows[2] and "b" in rows[0]


def test_text_that_holds_no_special_token_is_tokenised_as_the_tokeniser_does_it(tokenizer):
    of_words = [" ".join(f"w{(i * j) % 40}" for j in range(1, 9)) + " é <b> [x]!" for i in range(50)]
    for made in (tokenizer, load_tokenizer("minilm"), t5_tokenizer(), t5_tokenizer(pad="!")):
        assert (
            encode_split(texts(of_words), made, 16).ids == made(of_words, truncation=True, max_length=16)["input_ids"]
        )


def test_a_regressions_training_targets_have_mean_zero_and_deviation_one_and_others_their_own_units(
    tokenizer, numbers
):
    data = load_task(numbers(factor=100, shift=-7))
    task = encode_task(data, tokenizer, 32)
    assert task.train.targets.mean().item() == pytest.approx(0, abs=1e-5)
    assert task.train.targets.std().item() == pytest.approx(1, abs=1e-5)
    back = task.train.targets * task.scale + task.center
    assert torch.allclose(back, torch.from_numpy(data.train.targets), atol=1e-3)
    assert torch.equal(task.holdout.targets, torch.from_numpy(data.holdout.targets))
    assert [task.part(name) for name in ("holdout", "validation", "test")] == [
        task.holdout,
        task.validation,
        task.test,
    ]


def test_classes_are_left_as_they_are(tokenizer, classes):
    task = encode_task(load_task(classes), tokenizer, 32)
    assert (task.center, task.scale) == (0.0, 1.0)
    assert set(task.train.targets.tolist()) == {0, 1}
