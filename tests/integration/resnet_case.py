"""A small ResNet on made-up images, for the tests on CPU ranks and on simulated GPUs."""

CONFIG = """
model: {{name: resnet, block: {block}, blocks: [1, 1], width: 8, stem: {stem}, image_size: 16, classes: 8, label_smoothing: 0.1}}
data: {{format: synthetic, train: 4000, valid: 400}}
train: {{steps: {steps}, micro_batch: 4, global_batch: 16, seed: 3, deterministic: {deterministic}, bucket_mb: 0.01, clip_norm: 0}}
optimizer: {{name: sgd, lr: {lr}, momentum: 0.9, weight_decay: 1e-4}}
schedule: {{name: cosine, warmup_steps: {warmup}}}
eval: {{every: {eval_every}, samples: 32}}
checkpoint: {{every: 0}}
output_dir: {folder}/run
"""


def config(folder, steps, block="bottleneck", stem="imagenet", deterministic="true", lr=0.05, eval_every=0):
    return CONFIG.format(folder=folder, steps=steps, block=block, stem=stem, deterministic=deterministic, lr=lr, eval_every=eval_every,
                         warmup=min(20, steps))
