#!/usr/bin/env python3
"""BERT on CPU ranks, in both of its tasks: the same losses and accuracy on every number of ranks, whatever happens in between; and the way
from masked language modelling to fine-tuning."""
import json
import os
import shutil

import bert_case
from harness import IntegrationTest, main

STEPS = 24
FP16 = ("--set", "train.precision=fp16", "--set", "train.loss_scale_init=16777216", "--set", "train.loss_scale_interval=5")


class Bert(IntegrationTest):
    def setUp(self):
        super().setUp()
        bert_case.write_tokens(self.folder)
        bert_case.write_texts(self.folder)
        self.configure()

    def configure(self, steps=STEPS, **how):
        self.write("train.yaml", bert_case.config(self.folder, steps, eval_every=12, **how))

    def saved(self, name, steps=STEPS):
        return f"{self.run_folder(name)}/checkpoints/step-{steps:08d}/model.safetensors"

    def test_every_number_of_ranks_and_threads_gives_the_same_bits_in_every_precision(self):
        for task, *how in (("mlm",), ("classify", "--set", "train.precision=bf16"), ("mlm", *FP16), ("classify", *FP16)):
            with self.subTest(task=task, how=how):
                self.configure(task=task)
                names = [f"{task}-{len(how)}-{ranks}-{threads}" for ranks, threads in ((1, 3), (2, 1), (4, 1))]
                for name in names:
                    ranks, threads = name.split("-")[2:]
                    self.train_ranks(name, ranks, "--set", f"train.threads_per_rank={threads}", *how)
                for name in names[1:]:
                    self.assert_same_run_with_accuracy(name, names[0], STEPS)
                self.assertEqual("True" in self.column("skipped", names[0]), "train.precision=fp16" in how)

    def test_a_run_in_pieces_on_other_numbers_of_ranks_is_the_unbroken_run(self):
        for task in ("mlm", "classify"):
            self.configure(task=task)
            self.train_ranks(f"{task} whole", 2)
            self.train_ranks(f"{task} pieces", 1, "--stop-after", "7", expect=75)
            self.train_ranks(f"{task} pieces", 4, "--resume", "auto", "--stop-after", "15", "--set", "data.num_workers=3", expect=75)
            self.train_ranks(f"{task} pieces", 2, "--resume", "auto", "--set", "train.recompute=block")
            self.assert_same_run_with_accuracy(f"{task} pieces", f"{task} whole", STEPS)

    def test_both_tasks_learn(self):
        self.configure(steps=1000, lr=4e-3, dropout=0)
        self.train_ranks("mlm", 2)
        self.assertGreater(self.records("mlm", "eval")[-1]["top1"], 0.7)
        self.configure(steps=300, task="classify", lr=3e-3, dropout=0)
        self.train_ranks("classify", 2)
        self.assertGreater(self.records("classify", "eval")[-1]["top1"], 0.9)

    def test_a_classifier_starts_from_a_masked_model_and_from_a_classifier_of_other_classes(self):
        self.train_ranks("mlm", 2)
        names = self.tensor_names(self.saved("mlm"))
        self.assertIn("bert.encoder.layer.1.attention.self.key.bias", names)
        self.assertIn("cls.predictions.transform.LayerNorm.weight", names)
        self.assertNotIn("cls.predictions.decoder.weight", names)
        self.configure(task="classify")
        out = self.train_ranks("classes", 2, "--set", f"model.init_from={self.saved('mlm')}").out
        self.assertIn("starts anew: classifier.bias is missing", out)
        self.assertIn("classifier.weight", self.tensor_names(self.saved("classes")))
        out = self.train_ranks("others", 2, "--set", f"model.init_from={self.saved('classes')}", "--set", "model.classes=7").out
        self.assertIn("classifier.weight is [4, 32], the model's is [7, 32]", out)
        self.configure()
        out = self.train_ranks("back", 1, "--set", f"model.init_from={self.saved('classes')}").out
        self.assertIn("cls.predictions.bias is missing", out)
        line = self.train_ranks("wider", 1, "--set", f"model.init_from={self.saved('mlm')}", "--set", "model.width=48", expect=78).last_line
        self.assertIn("model.width is 48, and hidden_size is 32 in", line)

    def test_what_does_not_fit_is_one_clear_line(self):
        meta = os.path.join(self.folder, "meta.json")
        for settings, words in ((("data.format=bytes",), ("data.format bytes has no", "formats that have: tokens")),
                                (("data.format=labelled",), ("set model.task to classify",)),
                                (("model.task=classify",), ("model.task classify learns of labelled texts", "set model.task to mlm")),
                                (("model.vocab=40",), (f"{meta}", "model.vocab")),
                                (("model.predictions=15",), ("model.predictions 15", "14")),
                                (("model.heads=5",), ("model.width 32 is not a multiple of model.heads 5",)),
                                (("model.tie_embeddings=true",), ("model.tie_embeddings is a key of model gpt2",))):
            with self.subTest(settings=settings):
                line = self.train_ranks("run", 1, *(arg for s in settings for arg in ("--set", s)), expect=78).last_line
                for word in words:
                    self.assertIn(word, line)
        os.remove(meta)
        self.assertIn("prepare_text.py", self.train_ranks("run", 1, expect=66).last_line)

    def test_the_data_is_known_again_by_a_resume(self):
        self.train_ranks("run", 1, "--stop-after", "2", expect=75)
        shutil.copytree(self.folder, os.path.join(self.folder, "moved"), ignore=shutil.ignore_patterns("run", "moved"))
        self.train_ranks("run", 1, "--resume", "auto", "--stop-after", "3", "--set", f"data.train={self.folder}/moved/train.bin",
                         expect=75)
        meta = os.path.join(self.folder, "meta.json")
        with open(meta, encoding="utf-8") as file:
            text = json.load(file)
        text["special"]["mask"] = 1
        text["special"]["unk"] = 4
        with open(meta, "w", encoding="utf-8") as file:
            json.dump(text, file)
        self.assertIn("changed since", self.train_ranks("run", 1, "--resume", "auto", expect=65).last_line)

    def test_there_is_nothing_to_sample_from(self):
        self.train_ranks("run", 1, "--stop-after", "1", expect=75)
        process = self.launch("sample", self.run_folder(), "--prompt", "5 6 7", config="--tokens=3", expect=64)
        self.assertIn("is a run of bert, which writes no text", process.last_line)


if __name__ == "__main__":
    main()
