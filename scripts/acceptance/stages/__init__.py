"""The stages of the acceptance run, in the order of their worth."""
import collections
from functools import partial

from models import BERT_128, BERT_512, GPT2, RESNET50

from . import backends, curve, gate, memory, ops, pointwise, sanitizer, share, speed, torch_compare

# limit: seconds. is_usual: without --stages it is run. convolves: it is nothing without cuDNN.
Stage = collections.namedtuple("Stage", "name title limit run is_usual convolves", defaults=(True, False))

STAGES = (
    Stage("gate", "libraries, GPU, a run of 3 steps", 45, gate.run),
    Stage("ops", "attention and all ops against double", 60, ops.run),
    Stage("curve-gpt2", "loss curves of a small GPT-2 on CPU and GPU, in every precision", 60, curve.run_gpt2),
    Stage("curve-bert", "loss curves of a small BERT, in both of its tasks", 60, curve.run_bert),
    Stage("curve-resnet", "loss curves of a small ResNet", 60, curve.run_resnet, convolves=True),
    Stage("backends", "the backends of CUDA 12 and 13: the ops, their own bits, and each other's losses", 60, backends.run),
    Stage("speed-gpt2", "GPT-2 small: a step, and where its time goes", 60, partial(speed.run, measured=[GPT2], num_precisions=3)),
    Stage("speed-bert", "BERT-base, T = 128 and 512: the same", 60, partial(speed.run, measured=[BERT_128, BERT_512], num_precisions=2)),
    Stage("speed-resnet", "ResNet-50: the same, and the plans that cuDNN chose", 60,
          partial(speed.run, measured=[RESNET50], num_precisions=2), convolves=True),
    Stage("memory-gpt2", "GPT-2 small: the plan's largest micro-batch runs", 45,
          partial(memory.run, variants=[(GPT2, "fp16"), (GPT2, "fp32")], toy_budget=41_000_000)),
    Stage("memory-bert", "BERT-base: the same", 45,
          partial(memory.run, variants=[(BERT_128, "fp16"), (BERT_512, "fp16")], toy_budget=41_000_000)),
    Stage("memory-resnet", "ResNet-50: the same", 45,
          partial(memory.run, variants=[(RESNET50, "fp16"), (RESNET50, "fp32")], toy_budget=14_000_000), convolves=True),
    Stage("pointwise", "1x1 convolutions of ResNet-50 by cuBLASLt and by cuDNN", 30, pointwise.run, convolves=True),
    Stage("torch-resnet", "ResNet-50 beside PyTorch", 60, partial(torch_compare.run, measured=[RESNET50], num_precisions=2),
          convolves=True),
    Stage("torch-bert", "BERT-base beside PyTorch, T = 128 and 512", 60,
          partial(torch_compare.run, measured=[BERT_128, BERT_512], num_precisions=1)),
    Stage("torch-gpt2", "GPT-2 small beside PyTorch", 60, partial(torch_compare.run, measured=[GPT2], num_precisions=2)),
    Stage("share", "2 and 4 ranks that share the GPU with the real NCCL", 60, share.run, is_usual=False),
    Stage("sanitizer", "compute-sanitizer on our kernels", 60, sanitizer.run, is_usual=False),
    Stage("compile", "GPT-2 small beside torch.compile", 90, torch_compare.run_compiled, is_usual=False),
)
