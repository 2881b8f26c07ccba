#include "tests/cuda_sim/api/capture.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace ddp::sim {
namespace {

std::mutex mutex;                                // of captures, and of what streams and events know of them
std::vector<std::shared_ptr<Capture>> captures;  // under way

bool done() { return true; }

// Returns its nodes, which nobody else keeps.
std::vector<Node> end(const std::shared_ptr<Capture>& capture) {
  for (const cudaStream_t stream : capture->streams) {
    stream->capture = nullptr;
    stream->ends.clear();
  }
  capture->has_ended = true;
  std::erase(captures, capture);
  return std::exchange(capture->nodes, {});
}

void add_missing(std::vector<int>& to, const std::vector<int>& nodes) {
  for (const int node : nodes)
    if (std::find(to.begin(), to.end(), node) == to.end()) to.push_back(node);
}

// Whether the newest work of every stream comes before `ends`.
bool is_joined(const Capture& capture, const std::vector<int>& ends) {
  std::vector<bool> before(capture.nodes.size());
  std::vector<int> open = ends;
  while (!open.empty()) {
    const int node = open.back();
    open.pop_back();
    if (before[size_t(node)]) continue;
    before[size_t(node)] = true;
    const std::vector<int>& after = capture.nodes[size_t(node)].after;
    open.insert(open.end(), after.begin(), after.end());
  }
  for (const cudaStream_t stream : capture.streams)
    for (const int node : stream->ends)
      if (!before[size_t(node)]) return false;
  return true;
}

cudaStream_t replay_stream(cudaStream_t stream, int index) {
  while (int(stream->replays.size()) <= index) stream->replays.push_back(gpu().create_stream(stream->priority));
  return stream->replays[size_t(index)];
}

// One launch of the same graph runs after the other.
void replay(CUgraphExec_st& exec, cudaStream_t stream) {
  std::vector<WorkPtr> before;
  if (exec.last) before.push_back(exec.last);
  const WorkPtr start = gpu().submit(stream, "graph launch", Run(done), std::move(before));
  std::vector<WorkPtr> work;
  for (const Node& node : *exec.graph.nodes) {
    std::vector<WorkPtr> after;
    if (node.after.empty()) after.push_back(start);
    for (const int other : node.after) after.push_back(work[size_t(other)]);
    work.push_back(gpu().submit(replay_stream(stream, node.stream), node.name, node.prepare, std::move(after)));
  }
  std::vector<WorkPtr> ends;
  for (const int node : exec.graph.ends) ends.push_back(work[size_t(node)]);
  exec.last = gpu().submit(stream, "graph end", Run(done), std::move(ends));
}

}  // namespace

bool add_node(cudaStream_t stream, const char* name, const Prepare& prepare) {
  const std::lock_guard lock(mutex);
  if (!stream->capture) return false;
  Capture& capture = *stream->capture;
  if (capture.is_invalid) return true;
  const auto at = std::find(capture.streams.begin(), capture.streams.end(), stream);
  capture.nodes.push_back({.name = name,
                           .prepare = prepare,
                           .after = std::exchange(stream->ends, {int(capture.nodes.size())}),
                           .stream = int(at - capture.streams.begin())});
  return true;
}

cudaError_t capture_error(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  return stream->capture && stream->capture->is_invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
}

cudaError_t refuse_in_capture(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  if (!stream->capture) return cudaSuccess;
  stream->capture->is_invalid = true;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t refuse_in_capture() {
  const std::lock_guard lock(mutex);
  cudaError_t result = cudaSuccess;
  for (const auto& capture : captures)
    if (capture->thread == std::this_thread::get_id()) {
      capture->is_invalid = true;
      result = cudaErrorStreamCaptureUnsupported;
    }
  return result;
}

bool record_in_capture(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  event->capture = stream->capture;
  event->nodes = stream->ends;
  return event->capture != nullptr;
}

bool wait_in_capture(cudaStream_t stream, cudaEvent_t event, cudaError_t& result) {
  const std::lock_guard lock(mutex);
  if (!stream->capture && !event->capture) return false;
  result = cudaSuccess;
  if (!event->capture) {
    stream->capture->is_invalid = true;
    result = cudaErrorStreamCaptureIsolation;
  } else if (event->capture->has_ended) {
    if (stream->capture) stream->capture->is_invalid = true;
    result = cudaErrorCapturedEvent;
  } else if (!stream->capture) {
    stream->capture = event->capture;
    stream->ends = event->nodes;
    stream->capture->streams.push_back(stream);
  } else if (stream->capture != event->capture) {
    stream->capture->is_invalid = event->capture->is_invalid = true;
    result = cudaErrorStreamCaptureMerge;
  } else {
    add_missing(stream->ends, event->nodes);
  }
  return true;
}

void leave_capture(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return;
  capture->is_invalid = true;
  if (capture->streams.front() == stream) end(capture);
  std::erase(capture->streams, stream);
}

}  // namespace ddp::sim

using namespace ddp::sim;

extern "C" {

// The project captures in no other mode: the others forbid calls of all threads, or none.
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (mode != cudaStreamCaptureModeThreadLocal) return cudaErrorNotSupported;
  const std::lock_guard lock(mutex);
  if (stream->capture) return cudaErrorIllegalState;
  stream->capture = std::make_shared<Capture>();
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->streams = {stream};
  captures.push_back(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  const std::lock_guard lock(mutex);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return cudaErrorIllegalState;
  if (capture->thread != std::this_thread::get_id()) return cudaErrorStreamCaptureWrongThread;
  if (capture->streams.front() != stream) {
    capture->is_invalid = true;
    return cudaErrorStreamCaptureUnmatched;
  }
  const bool joined = is_joined(*capture, stream->ends);
  const std::vector<int> ends = stream->ends;
  std::vector<Node> nodes = end(capture);
  if (capture->is_invalid) return cudaErrorStreamCaptureInvalidated;
  if (!joined) return cudaErrorStreamCaptureUnjoined;
  *graph = new CUgraph_st{std::make_shared<const std::vector<Node>>(std::move(nodes)), ends};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const std::lock_guard lock(mutex);
  *status = !stream->capture              ? cudaStreamCaptureStatusNone
            : stream->capture->is_invalid ? cudaStreamCaptureStatusInvalidated
                                          : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags) {
  // Without this flag the library runs every node at the priority of the launching stream.
  if (graph == nullptr || flags != cudaGraphInstantiateFlagUseNodePriority) return cudaErrorInvalidValue;
  *exec = new CUgraphExec_st{*graph, nullptr};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (exec == nullptr) return cudaErrorInvalidValue;
  if (const cudaError_t error = refuse_in_capture(stream); error != cudaSuccess) return error;  // no graphs in graphs
  replay(*exec, stream);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

// What was launched runs to its end.
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

}  // extern "C"
