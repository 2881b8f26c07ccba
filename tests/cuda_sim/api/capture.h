// Stream capture and graphs. What is submitted to a captured stream becomes a node, which runs only when its graph is
// launched, and is ordered by the graph's edges alone: after the node before it on its stream in the capture, after
// events recorded in the capture, and after what came before the launch. So work that an eager run orders by a stream
// outside of the capture, or by nothing, is reported as unordered.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <thread>
#include <vector>

#include "tests/cuda_sim/api/gpu.h"

namespace ddp::sim {

struct Node {
  const char* name;
  Prepare prepare;
  std::vector<int> after;  // nodes
  int stream;              // index in the capture's streams
};

// From cudaStreamBeginCapture to cudaStreamEndCapture.
struct Capture {
  std::thread::id thread;             // may not synchronise, allocate or query meanwhile
  std::vector<cudaStream_t> streams;  // the first began it, the others waited for events recorded in it
  std::vector<Node> nodes;
  bool is_invalid = false, has_ended = false;
};

}  // namespace ddp::sim

// What a cudaGraph_t and a cudaGraphExec_t point to. The nodes live as long as either.
struct CUgraph_st {
  std::shared_ptr<const std::vector<ddp::sim::Node>> nodes;
  std::vector<int> ends;  // nodes that all others come before
};
struct CUgraphExec_st {
  CUgraph_st graph;
  ddp::sim::WorkPtr last;  // the end of the newest launch
};

namespace ddp::sim {

// True: the stream is being captured, and this is a node now (none where the capture is invalid).
bool add_node(cudaStream_t stream, const char* name, const Prepare& prepare);
// cudaSuccess where the stream is not being captured, or validly. Else 901.
cudaError_t capture_error(cudaStream_t stream);
// For what no capture allows: makes the one of the stream, or of this thread, invalid and returns 900; cudaSuccess
// where there is none.
cudaError_t refuse_in_capture(cudaStream_t stream);
cudaError_t refuse_in_capture();
// What a record and a wait mean where stream or event is part of a capture; false: neither is. A wait's errors: 902
// between two captures, 905 for an event from outside, 907 for one of a capture that has ended.
bool record_in_capture(cudaEvent_t event, cudaStream_t stream);
bool wait_in_capture(cudaStream_t stream, cudaEvent_t event, cudaError_t& result);
// Of a stream that is destroyed.
void leave_capture(cudaStream_t stream);

}  // namespace ddp::sim
