// CUDA graphs under simulation: a replay does what the eager calls do, and each misuse of a capture is an error or a
// report.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/device/cuda_device.h"
#include "tests/cuda_sim/report.h"

using namespace ddp;
using Catch::Matchers::Contains;

namespace {

constexpr int64_t kCount = 8;

cudaStream_t raw(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle()); }
cudaEvent_t raw(const Event& event) { return static_cast<cudaEvent_t>(event.handle()); }

// Else an upload may have run before the host gets any further.
bool runs_late() {
  const char* order = std::getenv("DDP_SIM_STREAMS");
  return order == nullptr || std::string_view(order) == "late";
}

// A device with two streams, and some memory to move between.
struct Rig {
  std::unique_ptr<Device> device = make_cuda_device({.workspace_bytes = 1 << 10});
  Stream compute{*device, StreamRole::compute}, communication{*device, StreamRole::communication};
  Event fork{*device}, join{*device};
  Buffer<float> x{*device, kCount}, y{*device, kCount};
  HostBuffer<float> source{*device, kCount}, result{*device, kCount};

  void copy(void* to, const void* from, Stream& stream) { stream.copy(to, from, x.bytes()); }
  void finish() {
    fork.record(compute);
    join.record(communication);
    fork.synchronize(no_deadline(0));
    join.synchronize(no_deadline(0));
  }
  void fill_source(float value) { std::fill_n(source.data(), kCount, value); }
  std::vector<float> read(const Buffer<float>& buffer) {
    copy(result.data(), buffer.data(), compute);
    finish();
    return {result.data(), result.data() + kCount};
  }
  // What a capture of `enqueue` ends with.
  cudaError_t end_of_capture(const std::function<void()>& enqueue) {
    REQUIRE(cudaStreamBeginCapture(raw(compute), cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    enqueue();
    cudaGraph_t graph = nullptr;
    const cudaError_t error = cudaStreamEndCapture(raw(compute), &graph);
    CHECK((graph != nullptr) == (error == cudaSuccess));
    cudaGraphDestroy(graph);
    return error;
  }
};

}  // namespace

TEST_CASE("a captured call does not run, and runs at each launch") {
  Rig rig;
  rig.compute.zero(rig.y.view());
  Graph graph(rig.compute, [&] {
    rig.copy(rig.x.data(), rig.source.data(), rig.compute);
    rig.copy(rig.y.data(), rig.x.data(), rig.compute);
  });
  CHECK(rig.read(rig.y) == std::vector<float>(kCount, 0.0f));
  for (const float value : {1.0f, 2.0f}) {
    rig.fill_source(value);
    graph.launch(rig.compute);
    CHECK(rig.read(rig.y) == std::vector<float>(kCount, value));
  }
}

TEST_CASE("a stream that an event forks off a capture and another joins is part of the graph") {
  Rig rig;
  Graph graph(rig.compute, [&] {
    rig.copy(rig.x.data(), rig.source.data(), rig.compute);
    rig.fork.record(rig.compute);
    rig.communication.wait(rig.fork);
    rig.copy(rig.y.data(), rig.x.data(), rig.communication);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    CHECK(cudaStreamIsCapturing(raw(rig.communication), &status) == cudaSuccess);
    CHECK(status == cudaStreamCaptureStatusActive);
    rig.join.record(rig.communication);
    rig.compute.wait(rig.join);
    rig.copy(rig.x.data(), rig.y.data(), rig.compute);
  });
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
  CHECK(cudaStreamIsCapturing(raw(rig.communication), &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusNone);
  rig.fill_source(3.0f);
  for (int i = 0; i < 3; ++i) graph.launch(rig.compute);
  CHECK(rig.read(rig.x) == std::vector<float>(kCount, 3.0f));
}

TEST_CASE("work of a graph comes after what its stream did before the launch, and before what follows") {
  Rig rig;
  Graph graph(rig.compute, [&] { rig.copy(rig.y.data(), rig.x.data(), rig.compute); });
  rig.fill_source(4.0f);
  rig.copy(rig.x.data(), rig.source.data(), rig.compute);
  graph.launch(rig.compute);
  rig.copy(rig.x.data(), rig.y.data(), rig.compute);
  CHECK(rig.read(rig.x) == std::vector<float>(kCount, 4.0f));
}

TEST_CASE("two streams of a graph that no event orders are reported, though they were captured one after the other") {
  Rig rig;
  Graph graph(rig.compute, [&] {
    rig.fork.record(rig.compute);
    rig.communication.wait(rig.fork);
    rig.compute.zero(rig.x.view());
    rig.copy(rig.y.data(), rig.x.data(), rig.communication);  // reads what compute wrote
    rig.join.record(rig.communication);
    rig.compute.wait(rig.join);
  });
  const sim::ReportCollector collector;
  graph.launch(rig.compute);
  rig.finish();
  CHECK(collector.found("unordered access"));
}

TEST_CASE("a stream's work from before the capture does not order the graph") {
  Rig rig;
  Graph graph(rig.compute, [&] {
    rig.fork.record(rig.compute);
    rig.communication.wait(rig.fork);
    rig.copy(rig.y.data(), rig.x.data(), rig.communication);
    rig.join.record(rig.communication);
    rig.compute.wait(rig.join);
  });
  const sim::ReportCollector collector;
  rig.communication.zero(rig.x.view());  // the eager run is ordered by this
  graph.launch(rig.compute);
  rig.finish();
  CHECK(collector.found("unordered access"));
}

TEST_CASE("the source of a captured upload that the host changes after the launch is reported") {
  Rig rig;
  rig.fill_source(1.0f);
  Graph graph(rig.compute, [&] {
    rig.fork.record(rig.compute);
    rig.communication.wait(rig.fork);
    rig.copy(rig.x.data(), rig.source.data(), rig.communication);
    rig.join.record(rig.communication);
    rig.compute.wait(rig.join);
  });
  rig.fill_source(2.0f);  // before the launch: as it should be
  graph.launch(rig.compute);
  CHECK(rig.read(rig.x) == std::vector<float>(kCount, 2.0f));
  const sim::ReportCollector collector;
  graph.launch(rig.compute);
  rig.fill_source(3.0f);
  rig.finish();
  if (runs_late()) CHECK(collector.found("staging overwritten"));
}

TEST_CASE("what waits, asks or allocates is refused in a capture, which it makes invalid") {
  Rig rig;
  void* memory = nullptr;
  float pageable = 0;
  const std::function<cudaError_t()> calls[] = {
      [&] { return cudaMalloc(&memory, 4); },
      [&] { return cudaFree(rig.x.data()); },
      [&] { return cudaHostAlloc(&memory, 4, 0); },
      [&] { return cudaFreeHost(rig.source.data()); },
      [&] { return cudaEventQuery(raw(rig.fork)); },
      [&] { return cudaEventSynchronize(raw(rig.fork)); },
      [&] { return cudaStreamSynchronize(raw(rig.communication)); },
      [&] { return cudaDeviceSynchronize(); },
      [&] { return cudaMemcpyAsync(rig.x.data(), &pageable, 4, cudaMemcpyDefault, raw(rig.compute)); },
      [&] { return cudaMemcpyAsync(&pageable, rig.x.data(), 4, cudaMemcpyDefault, raw(rig.compute)); },
  };
  for (const auto& call : calls) {
    CHECK(rig.end_of_capture([&] {
      CHECK(call() == cudaErrorStreamCaptureUnsupported);
      CHECK(cudaMemsetAsync(rig.x.data(), 0, 4, raw(rig.compute)) == cudaErrorStreamCaptureInvalidated);
    }) == cudaErrorStreamCaptureInvalidated);
  }
}

TEST_CASE("a stream that is not joined is an error of the capture's end") {
  Rig rig;
  CHECK(rig.end_of_capture([&] {
    rig.fork.record(rig.compute);
    rig.communication.wait(rig.fork);
    rig.copy(rig.y.data(), rig.x.data(), rig.communication);
  }) == cudaErrorStreamCaptureUnjoined);
  CHECK(rig.end_of_capture([&] {
    rig.fork.record(rig.compute);
    rig.communication.wait(rig.fork);
    rig.join.record(rig.communication);
    rig.compute.wait(rig.join);
    rig.copy(rig.y.data(), rig.x.data(), rig.communication);  // after the join
  }) == cudaErrorStreamCaptureUnjoined);
}

TEST_CASE("a wait for an event from before the capture is an error") {
  Rig rig;
  rig.fork.record(rig.communication);
  CHECK(rig.end_of_capture([&] {
    CHECK(cudaStreamWaitEvent(raw(rig.compute), raw(rig.fork), 0) == cudaErrorStreamCaptureIsolation);
  }) == cudaErrorStreamCaptureInvalidated);
}

TEST_CASE("an event that was captured is no event of the run: it has no time and nobody can wait for it") {
  Rig rig;
  CHECK(rig.end_of_capture([&] { rig.fork.record(rig.compute); }) == cudaSuccess);
  rig.join.record(rig.compute);
  float ms = 0;
  CHECK(cudaEventQuery(raw(rig.fork)) == cudaErrorCapturedEvent);
  CHECK(cudaEventElapsedTime(&ms, raw(rig.fork), raw(rig.join)) == cudaErrorCapturedEvent);
  CHECK(cudaStreamWaitEvent(raw(rig.compute), raw(rig.fork), 0) == cudaErrorCapturedEvent);
  rig.fork.record(rig.compute);  // it is again
  rig.finish();
}

TEST_CASE("captures do not nest, merge or hold graphs") {
  Rig rig;
  Graph graph(rig.compute, [&] { rig.copy(rig.y.data(), rig.x.data(), rig.compute); });
  CHECK(rig.end_of_capture([&] {
    CHECK(cudaStreamBeginCapture(raw(rig.compute), cudaStreamCaptureModeThreadLocal) == cudaErrorIllegalState);
  }) == cudaSuccess);
  CHECK(rig.end_of_capture([&] { CHECK_THROWS_AS(graph.launch(rig.compute), Error); }) ==
        cudaErrorStreamCaptureInvalidated);
  CHECK(rig.end_of_capture([&] {
    REQUIRE(cudaStreamBeginCapture(raw(rig.communication), cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    rig.fork.record(rig.compute);
    CHECK(cudaStreamWaitEvent(raw(rig.communication), raw(rig.fork), 0) == cudaErrorStreamCaptureMerge);
    cudaGraph_t none = nullptr;
    CHECK(cudaStreamEndCapture(raw(rig.communication), &none) == cudaErrorStreamCaptureInvalidated);
  }) == cudaErrorStreamCaptureInvalidated);
}

TEST_CASE("an error of what is captured leaves the device as it was") {
  Rig rig;
  CHECK_THROWS_WITH(Graph(rig.compute, [&] { rig.device->allocate(4); }),
                    Contains("cudaErrorStreamCaptureUnsupported"));
  rig.fill_source(5.0f);
  rig.copy(rig.x.data(), rig.source.data(), rig.compute);
  CHECK(rig.read(rig.x) == std::vector<float>(kCount, 5.0f));
}

TEST_CASE("a communicator that is destroyed before the graph that holds its calls is reported") {
  Rig rig;
  ncclUniqueId id;
  REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  const auto settle = [&] {
    ncclResult_t state = ncclInProgress;
    while (state == ncclInProgress) REQUIRE(ncclCommGetAsyncError(comm, &state) == ncclSuccess);
    REQUIRE(state == ncclSuccess);
  };
  REQUIRE(ncclCommInitRankConfig(&comm, 1, id, 0, &config) == ncclInProgress);
  settle();
  std::optional<Graph> graph(std::in_place, rig.compute, [&] {
    REQUIRE(ncclAllReduce(rig.x.data(), rig.x.data(), kCount, ncclFloat32, ncclSum, comm, raw(rig.compute)) ==
            ncclInProgress);
    settle();
  });
  rig.fill_source(6.0f);
  rig.copy(rig.x.data(), rig.source.data(), rig.compute);
  graph->launch(rig.compute);
  graph->launch(rig.compute);
  CHECK(rig.read(rig.x) == std::vector<float>(kCount, 6.0f));
  {
    const sim::ReportCollector collector;
    CHECK(ncclCommDestroy(comm) != ncclSuccess);
    CHECK(collector.found("NCCL destroyed early"));
  }
  graph.reset();
  CHECK(ncclCommDestroy(comm) == ncclSuccess);
}
