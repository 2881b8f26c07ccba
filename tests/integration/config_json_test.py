#!/usr/bin/env python3
"""config.json of transformers beside weights: what it says stands in the resolved configuration, what contradicts it is refused with both
sides named, and a checkpoint is such a folder. Nothing here needs transformers, whose own folders scripts/parity_hf.py tries."""
import json
import os
import shutil
import unittest

import harness

OURS = ("model: {{name: gpt2, layers: 2, heads: 4, width: 16, mlp_width: 24, context: 12, vocab: 260, activation: relu, norm_eps: 0.01, "
        "dropout: 0, tie_embeddings: {tied}}}")
THEIRS = {"model_type": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 16, "n_inner": 24, "n_positions": 12, "vocab_size": 260,
          "activation_function": "relu", "layer_norm_epsilon": 0.01, "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
REST = """
data: {{format: bytes, train: {folder}/train.txt, valid: {folder}/valid.txt}}
train: {{steps: {steps}, micro_batch: 2, global_batch: 2, threads_per_rank: 1}}
optimizer: {{lr: 1e-2}}
eval: {{every: 1, samples: 8}}
output_dir: {folder}/{run}
"""


class ConfigJsonTest(harness.IntegrationTest):
    def setUp(self):
        super().setUp()
        self.weights = self.trained()

    def yaml(self, model, run="run", steps=1):
        return self.write(f"{run}.yaml", model + REST.format(folder=self.folder, run=run, steps=steps))

    def on_cpu(self, *args, config, expect=0):
        return self.launch(*args[:1], "--device", "cpu", "--nproc", "1", *args[1:], config=config, expect=expect)

    def trained(self, tied="true"):
        """The folder of a checkpoint of the model that is not as any default is."""
        run = f"first-{tied}"
        self.on_cpu("run", config=self.yaml(OURS.format(tied=tied), run))
        return os.path.dirname(self.model_file(1, run))

    def copy(self, name, json_text=None):
        """The weights in a folder of their own, with a config.json of this text, or of transformers' keys."""
        folder = os.path.join(self.folder, name)
        os.mkdir(folder)
        shutil.copy(os.path.join(self.weights, "model.safetensors"), folder)
        self.write(f"{name}/config.json", json.dumps(THEIRS) if json_text is None else json_text)
        return folder

    def started_from(self, folder, *keys, run="run"):
        return self.yaml(f"model: {{{', '.join((f'init_from: {folder}', *keys))}}}", run)

    def resolved(self, run="run"):
        with open(os.path.join(self.run_folder(run), "config.yaml")) as file:
            return {line.strip() for line in file}

    def refused(self, config, *args, verb="run"):
        line = self.on_cpu(verb, *args, config=config, expect=78).err.strip()
        self.assertEqual(len(line.splitlines()), 1, line)
        return line

    def test_what_the_yaml_leaves_out_is_as_beside_the_weights(self):
        for name, place in (("file", "model.safetensors"), ("folder", "")):
            folder = self.copy(name)
            self.on_cpu("run", config=self.started_from(os.path.join(folder, place), run=f"run-{name}"))
            resolved = self.resolved(f"run-{name}")
            for key in ("heads: 4", "mlp_width: 24", "context: 12", "vocab: 260", "activation: relu", "norm_eps: 0.01", "layers: 2"):
                self.assertIn(key, resolved)
            self.assertIn("dropout: 0", resolved, "what pre-training dropped is not dropped unasked")

    def test_the_weights_say_the_same_with_and_without_the_keys_of_the_yaml(self):
        config = self.started_from(self.copy("a"))
        with_file = json.loads(self.on_cpu("eval", "--json", config=config).out)
        of_the_run = self.records("first-true", "eval")[-1]["loss"]
        self.assertEqual(with_file["loss"], of_the_run)

    def test_a_link_to_nothing_is_no_missing_file(self):
        folder = self.copy("a")
        os.remove(os.path.join(folder, "config.json"))
        os.symlink("nowhere", os.path.join(folder, "config.json"))
        self.assertIn("config.json: No such file", self.on_cpu("run", config=self.started_from(folder), expect=66).last_line)

    def test_a_plan_reads_it(self):
        plan = lambda config: json.loads(self.on_cpu("plan", "--json", config=config).out)
        self.assertEqual(plan(self.started_from(self.copy("a"))), plan(self.yaml(OURS.format(tied="true"), "explicit")))

    def test_a_key_that_contradicts_it_names_both_sides(self):
        folder = self.copy("a")
        file = os.path.join(folder, "config.json")
        for key, value, theirs in (("layers", 3, "n_layer is 2"), ("heads", 2, "n_head is 4"), ("width", 32, "n_embd is 16"),
                                   ("mlp_width", 64, "n_inner is 24"), ("vocab", 300, "vocab_size is 260"),
                                   ("activation", "gelu", 'activation_function is "relu"'),
                                   ("norm_eps", 1e-05, "layer_norm_epsilon is 0.01"), ("context", 13, "n_positions is 12"),
                                   ("tie_embeddings", "false", "tie_word_embeddings is true where"), ("name", "bert", "model_type is gpt2")):
            config = self.started_from(folder, f"{key}: {value}")
            for verb in ("run", "plan", "eval"):
                line = self.refused(config, verb=verb)
                self.assertIn("run.yaml:1:", line)
                self.assertIn(f"model.{key} is {value}, and {theirs}", line)
                self.assertIn(file, line)
        line = self.refused(self.started_from(folder), "--set", "model.heads=2")
        self.assertIn("--set model.heads=2: model.heads is 2, and n_head is 4 in", line)
        line = self.refused(self.started_from(folder, "preset: gpt2-small"))
        self.assertIn("run.yaml:1:", line)
        self.assertIn("model.layers is 12, and n_layer is 2 in", line)

    def test_less_context_than_the_weights_have_is_no_contradiction(self):
        self.on_cpu("plan", config=self.started_from(self.copy("a"), "context: 7"))

    def test_keys_that_agree_are_no_contradiction(self):
        self.on_cpu("plan", config=self.started_from(self.copy("a"), "heads: 4", "norm_eps: 1e-2", "mlp_width: 24"))

    def test_a_file_of_another_model_or_of_none_is_refused_on_one_line(self):
        for name, text, words in (("llama", '{"model_type": "llama"}', 'model_type is "llama"; weights of these can be used: gpt2, bert'),
                                  ("vit", '{"model_type": "vit"}', 'model_type is "vit"'), ("three", '{"model_type": 3}', "model_type is 3"),
                                  ("empty", "", "no JSON at byte"), ("list", "[]", "not an object"), ("cut", '{"n_layer": ', "no JSON"),
                                  ("nan", '{"layer_norm_epsilon": NaN}', "no JSON"), ("text", '{"n_layer": "2"}', 'n_layer is "2"'),
                                  ("half", '{"n_head": 1.5}', "n_head is 1.5"), ("zero", '{"n_head": 0}', "n_head is 0"),
                                  ("twice", '{"n_head": 1, "n_head": 2}', '"n_head" is given twice'),
                                  ("deep", '{"a": ' + "[" * 9000 + "]" * 9000 + "}", "nested deeper"),
                                  ("huge", '{"a": "' + "x" * 5_000_000 + '"}', "the limit is"),
                                  ("silu", '{"activation_function": "silu"}', 'activation_function is "silu"'),
                                  ("scale", '{"scale_attn_by_inverse_layer_idx": true}', "scale_attn_by_inverse_layer_idx is true")):
            with self.subTest(name):
                folder = self.copy(name, text)
                line = self.refused(self.started_from(folder))
                self.assertIn(words, line)
                self.assertIn(os.path.join(folder, "config.json"), line)

    def test_a_key_that_nobody_knows_is_told_once_and_changes_nothing(self):
        told = self.on_cpu("plan", config=self.started_from(self.copy("a", json.dumps({**THEIRS, "rope_theta": 1e4, "use_cache": True}))))
        self.assertEqual([line for line in told.err.splitlines() if "rope_theta" in line],
                         [f'ddp-launch: {self.folder}/a/config.json: without effect, since ddp-launch does not know it: "rope_theta"'])
        self.assertNotIn("use_cache", told.err)

    def test_a_checkpoint_is_a_folder_to_start_from(self):
        for tied in ("true", "false"):
            weights = self.trained(tied) if tied == "false" else self.weights
            run = f"again-{tied}"
            self.on_cpu("run", "--set", "optimizer.lr=0", config=self.started_from(weights, run=run))
            self.assertIn(f"tie_embeddings: {tied}", self.resolved(run))
            self.assertEqual(self.weights_hash(1, run), self.weights_hash(1, f"first-{tied}"))
            with open(os.path.join(weights, "config.json")) as file:
                config = json.load(file)
            self.assertEqual({key: config[key] for key in THEIRS if not key.endswith("pdrop")},
                             {key: value for key, value in THEIRS.items() if not key.endswith("pdrop")})
            self.assertTrue(os.path.exists(os.path.join(weights, "generation_config.json")))

    def test_an_untied_file_has_one_prefix_and_a_tied_one_none(self):
        self.assertNotIn("transformer.wte.weight", self.tensor_names(self.model_file(1, "first-true")))
        self.trained("false")
        names = self.tensor_names(self.model_file(1, "first-false"))
        self.assertEqual({name for name in names if not name.startswith("transformer.")}, {"lm_head.weight"})

    def test_a_resume_reads_its_own_configuration_alone(self):
        folder = self.copy("a")
        config = self.started_from(folder)
        self.on_cpu("run", "--stop-after", "1", "--set", "train.steps=2", config=config, expect=75)
        self.write("a/config.json", json.dumps({**THEIRS, "n_layer": 7}))
        keys = [word for key in ("layers=2", "heads=4", "width=16", "mlp_width=24", "context=12", "vocab=260", "activation=relu", "norm_eps=0.01")
                for word in ("--set", f"model.{key}")]
        self.on_cpu("run", "--resume", "auto", "--set", "train.steps=2", *keys, config=config)

    def test_the_best_checkpoint_is_such_a_folder_and_a_changed_file_is_found(self):
        self.on_cpu("run", "--set", "checkpoint.best=loss", config=self.yaml(OURS.format(tied="true"), "best"))
        best = os.path.join(self.run_folder("best"), "checkpoints", "best")
        self.assertEqual(sorted(os.listdir(best)), sorted(os.listdir(self.weights)))
        self.write("first-true/checkpoints/step-00000001/config.json", "{}")
        line = self.on_cpu("run", "--resume", self.weights, config=self.yaml(OURS.format(tied="true"), "first-true"), expect=65).last_line
        self.assertIn("config.json has 2 bytes, its manifest says", line)


if __name__ == "__main__":
    harness.main()
