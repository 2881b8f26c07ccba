#include "tests/cuda_sim/api/gpu.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "tests/cuda_sim/api/capture.h"
#include "tests/cuda_sim/api/counts.h"
#include "tests/cuda_sim/api/memory.h"
#include "tests/cuda_sim/report.h"

namespace ddp::sim {
namespace {

using namespace std::chrono_literals;
constexpr auto kPatience = 20ms;  // nobody waits, and still a real GPU gets on: peers may depend on it
constexpr auto kPeerPoll = 50us;

std::string_view text_of(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

void join(VectorClock& into, const VectorClock& other) {
  if (into.size() < other.size()) into.resize(other.size());
  for (size_t i = 0; i < other.size(); ++i) into[i] = std::max(into[i], other[i]);
}

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

uint64_t seed() {
  const std::string_view text = text_of("DDP_SIM_SEED");
  return text.empty() ? 1 : std::strtoull(text.data(), nullptr, 10);
}

bool is_planted(const char* fault) { return text_of("DDP_SIM_FAULT") == fault; }

Gpu& gpu() {
  static Gpu* const the_gpu = new Gpu;
  return *the_gpu;
}

Gpu::Gpu() : random_(uint32_t(seed())) {
  const std::string_view order = text_of("DDP_SIM_STREAMS");
  if (order == "random") order_ = Order::random;
  if (order == "eager") order_ = Order::eager;
  std::thread([this] { loop(); }).detach();
}

cudaStream_t Gpu::create_stream(int priority) {
  const std::lock_guard lock(mutex_);
  CUstream_st& stream = streams_.emplace_back();
  stream.priority = priority;
  if (!free_ids_.empty()) {
    stream.id = free_ids_.back();
    free_ids_.pop_back();
    stream.num_submitted = uint32_t(names_[size_t(stream.id)].size());
    return &stream;
  }
  stream.id = int(names_.size());
  if (stream.id >= kMaxStreams) report("simulator", "more than {} streams", kMaxStreams);
  names_.emplace_back();
  return &stream;
}

void Gpu::destroy_stream(cudaStream_t stream) {
  leave_capture(stream);
  wait(newest(stream));
  for (const cudaStream_t replay : stream->replays) destroy_stream(replay);
  const std::lock_guard lock(mutex_);
  free_ids_.push_back(stream->id);
  streams_.remove_if([&](const CUstream_st& s) { return &s == stream; });
}

WorkPtr Gpu::submit(cudaStream_t stream, const char* name, const Run& run, std::vector<WorkPtr> after) {
  return submit(stream, name, Prepare([run] { return run; }), std::move(after));
}

WorkPtr Gpu::submit(cudaStream_t stream, const char* name, const Prepare& prepare, std::vector<WorkPtr> after) {
  if (add_node(stream, name, prepare)) return nullptr;
  count_work(name);
  auto work = std::make_shared<Work>();
  work->name = name;
  work->run = prepare();
  const std::lock_guard lock(mutex_);
  if (stream->last && !stream->last->done) work->before = stream->last;
  work->after = std::move(after);
  work->stream = stream->id;
  work->number = ++stream->num_submitted;
  work->clock = host_clock_;
  names_[size_t(stream->id)].push_back(name);
  stream->queue.push_back(work);
  stream->last = work;
  work_came_.notify_one();
  return work;
}

WorkPtr Gpu::newest(cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  return stream->last;
}

// Work and all that must run before it.
void Gpu::mark_wanted(const WorkPtr& work) {
  std::vector<Work*> open = {work.get()};
  while (!open.empty()) {
    Work* w = open.back();
    open.pop_back();
    if (w == nullptr || w->done || w->wanted) continue;
    w->wanted = true;
    open.push_back(w->before.get());
    for (const WorkPtr& other : w->after) open.push_back(other.get());
  }
}

bool Gpu::is_done(const WorkPtr& work) {
  const std::lock_guard lock(mutex_);
  if (!work) return true;
  if (work->done) {
    join(host_clock_, work->clock);
    return true;
  }
  mark_wanted(work);
  work_came_.notify_one();
  return false;
}

void Gpu::wait(const WorkPtr& work) {
  if (!work) return;
  std::unique_lock lock(mutex_);
  mark_wanted(work);
  work_came_.notify_one();
  work_done_.wait(lock, [&] { return work->done; });
  join(host_clock_, work->clock);
}

void Gpu::wait_for_all() {
  std::vector<WorkPtr> newest;
  {
    const std::lock_guard lock(mutex_);
    for (const CUstream_st& stream : streams_) newest.push_back(stream.last);
  }
  for (const WorkPtr& work : newest) wait(work);
}

bool Gpu::came_before(int stream, uint32_t number) const {
  const VectorClock& clock = running_->clock;
  return size_t(stream) < clock.size() && clock[size_t(stream)] >= number;
}

// Runs one piece of work, if there is one that may run; false: there was none.
bool Gpu::run_one(std::unique_lock<std::mutex>& lock, bool wanted_only) {
  std::vector<CUstream_st*> candidates;
  for (CUstream_st& stream : streams_) {
    if (stream.queue.empty()) continue;
    const Work& work = *stream.queue.front();
    const auto is_done = [](const WorkPtr& other) { return other->done; };
    if ((work.wanted || !wanted_only) && std::all_of(work.after.begin(), work.after.end(), is_done))
      candidates.push_back(&stream);
  }
  if (order_ != Order::eager) std::shuffle(candidates.begin(), candidates.end(), random_);
  for (CUstream_st* stream : candidates) {
    running_ = stream->queue.front();
    Work& work = *running_;
    join(work.clock, stream->clock);
    for (const WorkPtr& other : work.after) join(work.clock, other->clock);
    if (work.clock.size() <= size_t(work.stream)) work.clock.resize(size_t(work.stream) + 1);
    work.clock[size_t(work.stream)] = work.number;
    lock.unlock();
    const bool finished = work.run();
    lock.lock();
    if (!finished) continue;  // it waits for a peer: others may run
    work.done = true;
    work.finished_ms = now_ms();
    work.before = nullptr;
    work.after.clear();
    work.run = nullptr;
    stream->clock = work.clock;
    stream->queue.pop_front();
    work_done_.notify_all();
    return true;
  }
  return false;
}

void Gpu::loop() {
  std::unique_lock lock(mutex_);
  auto idle_since = std::chrono::steady_clock::now();
  for (;;) {
    if (run_one(lock, order_ == Order::late)) {
      idle_since = std::chrono::steady_clock::now();
      continue;
    }
    work_came_.wait_for(lock, kPeerPoll);
    if (order_ == Order::late && std::chrono::steady_clock::now() - idle_since > kPatience && run_one(lock, false))
      idle_since = std::chrono::steady_clock::now();
  }
}

}  // namespace ddp::sim
