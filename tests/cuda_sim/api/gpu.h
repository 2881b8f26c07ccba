// The simulated GPU: streams of work, run by one thread in an order that is as unkind as streams and events allow. Late
// (the default): work runs only when somebody waits for it, or when nobody has for 20 ms; random: any
// work that may run; eager: as submitted. DDP_SIM_STREAMS=late|random|eager, DDP_SIM_SEED=n.
//
// What orders two pieces of work is tracked by vector clocks (one component a stream), so that an access that nothing
// orders is reported in whichever schedule it happens to run. Bookkeeping is linear: a piece of work is marked as
// wanted once, and forgotten when it is done.
#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace ddp::sim {

using VectorClock = std::vector<uint32_t>;  // by stream: how many pieces of its work came before

using Run = std::function<bool()>;     // false: not yet, it waits for a peer
using Prepare = std::function<Run()>;  // called when work is submitted: once, or at each launch of its graph

struct Work;
using WorkPtr = std::shared_ptr<Work>;

struct Work {
  const char* name = "";
  Run run;
  WorkPtr before;              // in its stream; empty once that is done
  std::vector<WorkPtr> after;  // what it waits for in other streams
  int stream = 0;
  uint32_t number = 0;  // in its stream, from 1
  VectorClock clock;    // at submission the host's; when it runs, of all that came before, itself included
  bool done = false, wanted = false, is_upload_of_pinned = false;
  double finished_ms = 0;
};

struct Capture;

}  // namespace ddp::sim

// What a cudaStream_t and a cudaEvent_t point to.
struct CUstream_st {
  int id = 0;
  int priority = 0;
  std::list<ddp::sim::WorkPtr> queue;  // not yet done
  ddp::sim::WorkPtr last;              // the newest, done or not
  uint32_t num_submitted = 0;
  ddp::sim::VectorClock clock;  // of the newest done

  // While it is being captured: the nodes that the next one comes after.
  std::shared_ptr<ddp::sim::Capture> capture;
  std::vector<int> ends;
  std::vector<cudaStream_t> replays;  // hidden streams of the graphs launched here: one for each stream of a capture
};
struct CUevent_st {
  bool has_timing = true;
  ddp::sim::WorkPtr record;  // the newest
  int stream_priority = 0;   // of the stream that it was recorded on

  // Where the newest record was captured: the nodes that it stands for.
  std::shared_ptr<ddp::sim::Capture> capture;
  std::vector<int> nodes;
};

namespace ddp::sim {

class Gpu {
 public:
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  cudaStream_t create_stream(int priority);
  void destroy_stream(cudaStream_t stream);
  // Nothing is returned where the stream is being captured: the work is then part of a graph. The second is for work
  // that can run again as it is.
  WorkPtr submit(cudaStream_t stream, const char* name, const Prepare& prepare, std::vector<WorkPtr> after = {});
  WorkPtr submit(cudaStream_t stream, const char* name, const Run& run, std::vector<WorkPtr> after = {});
  // The host asks: what it asks for is then wanted, and once done, comes before all that the host submits later.
  bool is_done(const WorkPtr& work);
  void wait(const WorkPtr& work);
  void wait_for_all();
  WorkPtr newest(cudaStream_t stream);

  // For work that is running.
  const Work& running() const { return *running_; }
  bool came_before(int stream, uint32_t number) const;
  const char* name_of(int stream, uint32_t number) const { return names_[size_t(stream)][number - 1]; }

 private:
  friend Gpu& gpu();
  enum class Order : uint8_t { late, random, eager };

  Gpu();
  void loop();
  bool run_one(std::unique_lock<std::mutex>& lock, bool wanted_only);
  static void mark_wanted(const WorkPtr& work);

  std::mutex mutex_;
  std::condition_variable work_came_, work_done_;
  std::list<CUstream_st> streams_;
  std::vector<std::vector<const char*>> names_;  // by stream and number
  std::vector<int> free_ids_;  // of streams that are gone: the host has waited for their work, so their numbers go on
  VectorClock host_clock_;
  WorkPtr running_;
  std::mt19937 random_;
  Order order_ = Order::late;
};

// Of this process; made by the first call, which comes after any fork. Never destroyed: its thread may be at work when
// the process ends.
Gpu& gpu();

uint64_t seed();                     // DDP_SIM_SEED, 1 where not set
bool is_planted(const char* fault);  // DDP_SIM_FAULT names it

}  // namespace ddp::sim
