#include "runtime/device/cpu_device.h"

#include <catch2/catch.hpp>
#include <vector>

#include "runtime/base/error.h"

using namespace ddp;

namespace {

constexpr WaitPolicy kPatient = {.timeout_ms = 60'000};  // of a busy machine

// A task of the stream that waits until the test lets it go on.
struct Gate {
  FutexWord open{0};
  void hold(Stream& stream) {
    cpu_enqueue(stream, [this](ThreadPool&) { wait_while_equal(open, 0, kPatient, "gate"); });
  }
  void release() {
    open.store(1);
    wake_all(open);
  }
};

}  // namespace

TEST_CASE("a stream runs its work in order") {
  const auto device = make_cpu_device({});
  Stream stream(*device, StreamRole::compute);
  std::vector<int> order;
  for (int i = 0; i < 5000; ++i) cpu_enqueue(stream, [&order, i](ThreadPool&) { order.push_back(i); });
  Event done(*device);
  done.record(stream);
  done.synchronize(kPatient);
  REQUIRE(order.size() == 5000);
  REQUIRE(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("streams run beside each other, and an event orders them") {
  const auto device = make_cpu_device({});
  Stream a(*device, StreamRole::compute), b(*device, StreamRole::communication);
  Gate gate;
  int value = 0, seen = -1;
  Event produced(*device), consumed(*device), free_running(*device);
  free_running.record(b);
  gate.hold(a);
  cpu_enqueue(a, [&](ThreadPool&) { value = 7; });
  produced.record(a);
  free_running.synchronize(kPatient);  // b is not held up by a
  b.wait(produced);
  cpu_enqueue(b, [&](ThreadPool&) { seen = value; });
  consumed.record(b);
  REQUIRE_FALSE(consumed.query());
  gate.release();
  consumed.synchronize(kPatient);
  REQUIRE(seen == 7);
  REQUIRE(consumed.query());
}

TEST_CASE("an event that was never recorded is done, and a stream that waits for it goes on") {
  const auto device = make_cpu_device({});
  Stream stream(*device, StreamRole::compute);
  Event never(*device), done(*device);
  REQUIRE(never.query());
  stream.wait(never);
  done.record(stream);
  done.synchronize(kPatient);
}

TEST_CASE("waiting for the device ends by the deadline and by the abort word") {
  const auto device = make_cpu_device({});
  Stream stream(*device, StreamRole::compute);
  Gate gate;
  gate.hold(stream);
  Event done(*device);
  done.record(stream);
  REQUIRE_THROWS_AS(done.synchronize({.timeout_ms = 1}), Error);
  FutexWord abort_word{1};
  REQUIRE_THROWS_AS(done.synchronize({.abort_word = &abort_word, .timeout_ms = kPatient.timeout_ms}), Aborted);
  gate.release();
  done.synchronize(kPatient);
}

TEST_CASE("the first error of device work reaches the host, later work is skipped, events still complete") {
  const auto device = make_cpu_device({});
  Stream a(*device, StreamRole::compute), b(*device, StreamRole::communication);
  bool ran_after = false;
  cpu_enqueue(a, [](ThreadPool&) { throw Error(ExitCode::data, "bad token"); });
  cpu_enqueue(a, [&](ThreadPool&) { ran_after = true; });
  Event on_a(*device), on_b(*device);
  on_a.record(a);
  b.wait(on_a);
  on_b.record(b);
  REQUIRE_THROWS_WITH(on_b.synchronize(kPatient), "bad token");
  REQUIRE_FALSE(ran_after);
}

TEST_CASE("allocations are aligned, counted and returned") {
  const auto device = make_cpu_device({});
  const int64_t before = device->num_allocations();
  {
    Buffer<float> small(*device, 3);
    Buffer<float> large(*device, 3'000'001);
    REQUIRE(reinterpret_cast<uintptr_t>(small.data()) % 256 == 0);
    REQUIRE(reinterpret_cast<uintptr_t>(large.data()) % 256 == 0);
    large.data()[3'000'000] = 1.0f;
    REQUIRE(device->num_allocations() == before + 2);
    REQUIRE(device->memory_info().in_use_bytes == 12 + 12'000'004);
    REQUIRE(device->memory_info().taken_bytes == 12 + 12'000'004);
    Buffer<float> moved = std::move(large);
    REQUIRE_FALSE(large);
    REQUIRE(moved.count() == 3'000'001);
  }
  REQUIRE(device->memory_info().in_use_bytes == 0);
}

TEST_CASE("copies and zero fills are stream-ordered") {
  const auto device = make_cpu_device({});
  Stream stream(*device, StreamRole::copy);
  Gate gate;
  Buffer<int32_t> buffer(*device, 4);
  std::vector<int32_t> source = {1, 2, 3, 4}, back(4, -1);
  gate.hold(stream);
  stream.zero(buffer.view());
  stream.copy(buffer.data(), source.data(), 8);
  stream.copy(back.data(), buffer.data(), buffer.bytes());
  source[0] = 9;  // read when the copy runs, not when it is enqueued
  gate.release();
  Event done(*device);
  done.record(stream);
  done.synchronize(kPatient);
  REQUIRE(back == std::vector<int32_t>{9, 2, 0, 0});
}

TEST_CASE("an event may be destroyed while a stream still has it queued") {
  const auto device = make_cpu_device({});
  Stream a(*device, StreamRole::compute), b(*device, StreamRole::communication);
  Gate gate;
  gate.hold(a);
  {
    Event short_lived(*device);
    short_lived.record(a);
    b.wait(short_lived);
  }
  Event done(*device);
  done.record(b);
  REQUIRE_FALSE(done.query());
  gate.release();
  done.synchronize(kPatient);
}
