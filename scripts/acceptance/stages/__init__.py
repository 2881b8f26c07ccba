"""The stages of the acceptance run, in the order of their worth."""
import collections

from . import curve, gate, memory, ops, sanitizer, share, speed, torch_compare

Stage = collections.namedtuple("Stage", "name title limit run")  # limit: seconds

STAGES = (
    Stage("gate", "libraries, GPU, a run of 3 steps", 45, gate.run),
    Stage("ops", "attention and all ops against double", 60, ops.run),
    Stage("curve", "loss curves of CPU and GPU, in every precision", 90, curve.run),
    Stage("speed", "GPT-2 small: tokens a second, and where the time goes", 90, speed.run),
    Stage("memory", "the plan's largest micro-batch runs", 45, memory.run),
    Stage("torch", "GPT-2 small beside PyTorch", 110, torch_compare.run),
    Stage("share", "2 and 4 ranks that share the GPU with the real NCCL", 60, share.run),
    Stage("sanitizer", "compute-sanitizer on our kernels", 60, sanitizer.run),
    Stage("compile", "GPT-2 small beside torch.compile", 90, torch_compare.run_compiled),
)
