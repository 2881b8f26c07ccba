// The contract of a communicator, over all of them. Sums are compared with the reference tree bit for bit.
#include <catch2/catch.hpp>

#include "runtime/device/cpu_device.h"
#include "tests/comm/rank_harness.h"
#include "tests/comm/values.h"

using namespace ddp;
using namespace ddp::test;

namespace {

const std::vector<World> kWorlds = {{RankKind::solo, 1},     {RankKind::threads, 2}, {RankKind::threads, 3},
                                    {RankKind::threads, 4},  {RankKind::threads, 8}, {RankKind::processes, 2},
                                    {RankKind::processes, 4}};
constexpr int64_t kSizes[] = {1, 7, 33, 1000, 65537};
constexpr int64_t kMargin = 8;  // elements on either side of a tensor, which must keep their values
constexpr int64_t kSymmetric = 16 << 20;

// Memory for one tensor: symmetric or private, at an odd element offset where asked, with guards on either side.
template <class T>
class Tensor {
 public:
  Tensor(Communicator& comm, int64_t n, bool symmetric, int64_t shift = 0) : n_(n), shift_(shift) {
    const int64_t total = n + shift + 2 * kMargin;
    if (symmetric) {
      all_ = static_cast<T*>(comm.allocate_symmetric(total * int64_t(sizeof(T))));
    } else {
      own_.resize(size_t(total));
      all_ = own_.data();
    }
    std::fill_n(all_, total, T(-77));
  }
  T& operator[](int64_t i) { return all_[kMargin + shift_ + i]; }
  TensorView view() { return {&(*this)[0], kDTypeOf<T>, {n_}}; }
  void expect_guards_intact() {
    for (int64_t i = 1; i <= kMargin; ++i)
      expect((*this)[-i] == T(-77) && (*this)[n_ - 1 + i] == T(-77), "wrote outside a tensor of {}", n_);
  }

 private:
  int64_t n_, shift_;
  std::vector<T> own_;
  T* all_ = nullptr;
};

void for_each_world(const RankBody& body) {
  for (const World& world : kWorlds) {
    INFO(world.name());
    CHECK(failures(run_world(world, {.symmetric_bytes = kSymmetric}, body)) == "");
  }
}

// body(type, n, symmetric, shift) for every size, placement and alignment.
template <class Body>
void for_each_tensor(Body body) {
  for (const int64_t n : kSizes)
    for (const bool symmetric : {true, false})
      for (const int64_t shift : {0, 3}) {
        body(float{}, n, symmetric, shift);
        body(double{}, n, symmetric, shift);
      }
}

}  // namespace

TEST_CASE("all_reduce gives the sum of the tree over ranks, bit for bit, and touches nothing else") {
  for_each_world([](RankContext& c) {
    const int rank = c.comm.rank(), size = c.comm.size();
    for_each_tensor([&]<class T>(T, int64_t n, bool symmetric, int64_t shift) {
      Tensor<T> x(c.comm, n, symmetric, shift);
      for (int64_t i = 0; i < n; ++i) x[i] = value_of<T>(rank, i);
      c.comm.all_reduce(x.view(), c.stream);
      c.synchronize();
      for (int64_t i = 0; i < n; ++i) {
        const T want = reference_tree(0, size, [i](int r) { return value_of<T>(r, i); });
        expect(x[i] == want, "n {} symmetric {}: element {} is {}, not {}", n, symmetric, i, x[i], want);
      }
      x.expect_guards_intact();
    });
  });
}

TEST_CASE("all_reduces enqueued one after another run in order") {
  for_each_world([](RankContext& c) {
    Tensor<float> x(c.comm, 1000, true);
    for (int64_t i = 0; i < 1000; ++i) x[i] = 1;
    float want = 1;
    for (int k = 0; k < 20; ++k) {
      c.comm.all_reduce(x.view(), c.stream);
      want *= float(c.comm.size());
    }
    c.synchronize();
    for (int64_t i = 0; i < 1000; ++i) expect(x[i] == want, "element {} is {}, not {}", i, x[i], want);
  });
}

TEST_CASE("broadcast gives every rank the root's tensor, from each root") {
  for_each_world([](RankContext& c) {
    for_each_tensor([&]<class T>(T, int64_t n, bool symmetric, int64_t shift) {
      Tensor<T> x(c.comm, n, symmetric, shift);
      for (int root = 0; root < c.comm.size(); ++root) {
        for (int64_t i = 0; i < n; ++i) x[i] = value_of<T>(c.comm.rank() + 100 * root, i);
        c.comm.broadcast(x.view(), root, c.stream);
        c.synchronize();
        for (int64_t i = 0; i < n; ++i)
          expect(x[i] == value_of<T>(root + 100 * root, i), "root {} element {}", root, i);
      }
      x.expect_guards_intact();
    });
  });
}

TEST_CASE("reduce_scatter gives each rank its rows of the sum") {
  for_each_world([](RankContext& c) {
    const int rank = c.comm.rank(), size = c.comm.size();
    for_each_tensor([&]<class T>(T, int64_t n, bool symmetric, int64_t shift) {
      Tensor<T> in(c.comm, size * n, symmetric, shift), out(c.comm, n, false, shift);
      for (int64_t i = 0; i < size * n; ++i) in[i] = value_of<T>(rank, i);
      c.comm.reduce_scatter(in.view(), out.view(), c.stream);
      c.synchronize();
      for (int64_t i = 0; i < n; ++i) {
        const T want = reference_tree(0, size, [&](int r) { return value_of<T>(r, rank * n + i); });
        expect(out[i] == want, "n {} symmetric {}: element {} is {}, not {}", n, symmetric, i, out[i], want);
      }
      out.expect_guards_intact();
    });
  });
}

TEST_CASE("all_gather gives every rank all tensors in rank order") {
  for_each_world([](RankContext& c) {
    const int rank = c.comm.rank(), size = c.comm.size();
    for_each_tensor([&]<class T>(T, int64_t n, bool symmetric, int64_t shift) {
      Tensor<T> in(c.comm, n, symmetric, shift), out(c.comm, size * n, false, shift);
      for (int64_t i = 0; i < n; ++i) in[i] = value_of<T>(rank, i);
      c.comm.all_gather(in.view(), out.view(), c.stream);
      c.synchronize();
      for (int64_t i = 0; i < size * n; ++i) expect(out[i] == value_of<T>(int(i / n), i % n), "n {} element {}", n, i);
      out.expect_guards_intact();
    });
  });
}

TEST_CASE("reduce_scatter and all_gather in place make an all_reduce") {
  for_each_world([](RankContext& c) {
    const int rank = c.comm.rank(), size = c.comm.size();
    constexpr int64_t n = 1000;
    for (const bool symmetric : {true, false}) {
      Tensor<float> x(c.comm, size * n, symmetric);
      for (int64_t i = 0; i < size * n; ++i) x[i] = value_of<float>(rank, i);
      const TensorView own = x.view().slice(rank * n, n);
      c.comm.reduce_scatter(x.view(), own, c.stream);
      c.comm.all_gather(own, x.view(), c.stream);
      c.synchronize();
      for (int64_t i = 0; i < size * n; ++i)
        expect(x[i] == reference_tree(0, size, [i](int r) { return value_of<float>(r, i); }), "element {}", i);
    }
  });
}

TEST_CASE("work after a barrier sees the work of every rank before it") {
  for_each_world([](RankContext& c) {
    std::atomic<int64_t>* count = &c.board->ranks[0].step;
    const int size = c.comm.size();
    for (int k = 1; k <= 50; ++k) {
      cpu_enqueue(c.stream, [count](ThreadPool&) { count->fetch_add(1, std::memory_order_relaxed); });
      c.comm.barrier(c.stream);
      cpu_enqueue(c.stream, [count, k, size](ThreadPool&) {
        const int64_t seen = count->load(std::memory_order_relaxed);
        expect(seen == int64_t(k) * size, "{} of {} ranks came before barrier {}", seen - int64_t(k - 1) * size, size,
               k);
      });
      c.comm.barrier(c.stream);
    }
  });
}

TEST_CASE("symmetric memory is aligned, zero, and limited to what was planned") {
  for_each_world([](RankContext& c) {
    for (const int64_t bytes : {1, 300, 4096}) {
      const auto* memory = static_cast<const uint8_t*>(c.comm.allocate_symmetric(bytes));
      expect(reinterpret_cast<uintptr_t>(memory) % 256 == 0, "{} bytes are not aligned", bytes);
      for (int64_t i = 0; i < bytes; ++i) expect(memory[i] == 0, "byte {} is not zero", i);
    }
    if (c.comm.size() == 1) return;
    try {
      c.comm.allocate_symmetric(kSymmetric);
    } catch (const Error& error) {
      return expect(error.code() == ExitCode::os_resource, "{}", error.what());
    }
    expect(false, "more than the plan was given out");
  });
}
