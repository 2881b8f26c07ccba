#!/usr/bin/env python3
"""Ranks that share a simulated GPU (DDP_SHARE_GPU=1), as tests on a machine with one GPU have them."""
import unittest

from simulated import GRAPHS, SimulatedTraining, main

STEPS = 4
MULTI_RANK_NCCL = "23003"  # from which on NCCL can be asked for it


class Sharing(SimulatedTraining):
    def test_ranks_that_share_a_gpu_give_the_bits_of_one_rank_alone_and_as_graphs(self):
        self.configure(steps=STEPS, deterministic="true")
        self.train("alone", "--gpus", "0")
        self.setenv("DDP_SHARE_GPU", "1")
        for gpus, *how in (["0,0"], ["0,0", *GRAPHS], ["0,0,0,0"], ["0,0,0,0", *GRAPHS]):
            name = " ".join([gpus, *how])
            with self.subTest(name):
                self.train(name, "--gpus", gpus, *how, streams="random")
                self.same_bits("alone", name, STEPS)

    def test_the_way_of_sharing_is_said_and_is_that_of_the_nccl_that_is_there(self):
        self.configure()
        self.setenv("DDP_SHARE_GPU", "1")
        for version, words in ((None, ("by a NCCL_HOSTID each", "-rank0")), (MULTI_RANK_NCCL, ("by NCCL_MULTI_RANK_GPU_ENABLE",))):
            self.setenv("DDP_SIM_NCCL", version)
            out = self.launch("--gpus", "1,1", "--output-dir", self.run_folder(str(version))).out
            for word in words:
                self.assertIn(word, out)

    def test_a_nccl_that_does_not_let_them_is_one_clear_line(self):
        self.configure()
        self.setenv("DDP_SHARE_GPU", "1")
        self.setenv("DDP_SIM_FAULT", "nccl-ignores-hostid")
        self.refused(["not possible with this NCCL", "Duplicate GPU detected"], "--gpus", "0,0", expect=69)

    def test_nothing_is_shared_where_the_variable_is_not_1(self):
        self.configure()
        for value in (None, "", "0"):
            self.setenv("DDP_SHARE_GPU", value)
            self.refused(["--gpus names GPU 0 twice"], "--gpus", "0,0")
        self.setenv("DDP_SHARE_GPU", "1")
        self.assertNotIn("NCCL_HOSTID", self.launch("--gpus", "0,1").out)


if __name__ == "__main__":
    main()
