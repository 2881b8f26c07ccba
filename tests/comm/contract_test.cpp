// The contract of a communicator. Sums are compared with the reference tree bit for bit; where the library adds in an
// order of its own, they are of whole numbers, which have no other result.
#include <catch2/catch.hpp>
#include <cmath>
#include <optional>

#include "tests/comm/contract.h"
#include "tests/comm/values.h"

using namespace ddp;
using namespace ddp::test;

namespace {

constexpr int64_t kSizes[] = {1, 7, 33, 1000, 65537};
constexpr int64_t kMargin = 8;  // elements on either side of a tensor, which must keep their values

// Values for one tensor, and its memory on the device: symmetric or private, at an odd element offset where asked, with
// guards on either side.
template <class T>
class Tensor {
 public:
  Tensor(RankContext& c, int64_t n, bool symmetric, int64_t shift = 0)
      : c_(c),
        n_(n),
        first_(kMargin + shift),
        before_(size_t(first_ + n + kMargin), from_f32<T>(-77)),
        after_(before_.size()) {
    if (symmetric) {
      memory_ = static_cast<T*>(c.comm.allocate_symmetric(bytes()));
    } else {
      own_.emplace(c.device, int64_t(before_.size()));
      memory_ = own_->data();
    }
  }
  T& operator[](int64_t i) { return before_[size_t(first_ + i)]; }
  T got(int64_t i) const { return after_[size_t(first_ + i)]; }
  TensorView view() { return {memory_ + first_, kDTypeOf<T>, {n_}}; }

  void upload() { c_.stream.copy(memory_, before_.data(), bytes()); }
  // Waits, and checks the guards.
  void download() {
    c_.stream.copy(after_.data(), memory_, bytes());
    c_.synchronize();
    for (int64_t i = 1; i <= kMargin; ++i)
      expect(got(-i) == from_f32<T>(-77) && got(n_ - 1 + i) == from_f32<T>(-77), "wrote outside a tensor of {}", n_);
  }

 private:
  int64_t bytes() const { return int64_t(before_.size() * sizeof(T)); }

  RankContext& c_;
  int64_t n_, first_;
  std::vector<T> before_, after_;
  std::optional<Buffer<T>> own_;
  T* memory_ = nullptr;
};

// What a rank adds.
template <class T>
T term(const RankContext& c, int rank, int64_t i) {
  if (c.adds_in_tree_order) return value_of<T>(rank, i);
  if constexpr (sizeof(T) == 2)
    return from_f32<T>(std::round(value_of<float>(rank, i)));  // at most 32: sums of 8 are exact in bf16 too
  else
    return std::round(1000 * value_of<T>(rank, i));
}

template <class T>
T sum_of_terms(const RankContext& c, int64_t i) {
  return reference_sum<T>(c.comm.size(), [&](int r) { return term<T>(c, r, i); });
}

template <class T>
void expect_same(const char* what, int64_t n, bool symmetric, int64_t i, T got, T want) {
  expect(got == want, "{} of {} in {}, symmetric {}: element {} is {}, not {}", what, n, dtype_name(kDTypeOf<T>),
         symmetric, i, widened(got), widened(want));
}

// body(type, n, symmetric, shift) for every type, size, placement and alignment.
template <class Body>
void for_each_tensor(const RankContext& c, Body body) {
  for (const int64_t n : kSizes)
    for (const bool symmetric : {true, false})
      for (const int64_t shift : {0, 3}) {
        body(float{}, n, symmetric, shift);
        body(double{}, n, symmetric, shift);
        if (!c.sums_16_bits) continue;
        body(Half{}, n, symmetric, shift);
        body(BFloat16{}, n, symmetric, shift);
      }
}

}  // namespace

TEST_CASE("all_reduce gives the sum over ranks, bit for bit, and touches nothing else") {
  in_every_world([](RankContext& c) {
    for_each_tensor(c, [&]<class T>(T, int64_t n, bool symmetric, int64_t shift) {
      Tensor<T> x(c, n, symmetric, shift);
      for (int64_t i = 0; i < n; ++i) x[i] = term<T>(c, c.comm.rank(), i);
      x.upload();
      c.comm.all_reduce(x.view(), c.stream);
      x.download();
      for (int64_t i = 0; i < n; ++i) expect_same("sum", n, symmetric, i, x.got(i), sum_of_terms<T>(c, i));
    });
  });
}

TEST_CASE("all_reduces enqueued one after another run in order") {
  in_every_world([](RankContext& c) {
    Tensor<float> x(c, 1000, true);
    for (int64_t i = 0; i < 1000; ++i) x[i] = 1;
    x.upload();
    float want = 1;
    for (int k = 0; k < 20; ++k) {
      c.comm.all_reduce(x.view(), c.stream);
      want *= float(c.comm.size());
    }
    x.download();
    for (int64_t i = 0; i < 1000; ++i) expect(x.got(i) == want, "element {} is {}, not {}", i, x.got(i), want);
  });
}

TEST_CASE("broadcast gives every rank the root's tensor, from each root") {
  in_every_world([](RankContext& c) {
    for_each_tensor(c, [&]<class T>(T, int64_t n, bool symmetric, int64_t shift) {
      Tensor<T> x(c, n, symmetric, shift);
      for (int root = 0; root < c.comm.size(); ++root) {
        for (int64_t i = 0; i < n; ++i) x[i] = value_of<T>(c.comm.rank() + 100 * root, i);
        x.upload();
        c.comm.broadcast(x.view(), root, c.stream);
        x.download();
        for (int64_t i = 0; i < n; ++i)
          expect(x.got(i) == value_of<T>(root + 100 * root, i), "root {} element {}", root, i);
      }
    });
  });
}

TEST_CASE("reduce_scatter gives each rank its rows of the sum") {
  in_every_world([](RankContext& c) {
    const int rank = c.comm.rank(), size = c.comm.size();
    for_each_tensor(c, [&]<class T>(T, int64_t n, bool symmetric, int64_t shift) {
      Tensor<T> in(c, size * n, symmetric, shift), out(c, n, false, shift);
      for (int64_t i = 0; i < size * n; ++i) in[i] = term<T>(c, rank, i);
      in.upload();
      out.upload();
      c.comm.reduce_scatter(in.view(), out.view(), c.stream);
      out.download();
      for (int64_t i = 0; i < n; ++i) {
        expect_same("row", n, symmetric, i, out.got(i), sum_of_terms<T>(c, rank * n + i));
      }
    });
  });
}

TEST_CASE("all_gather gives every rank all tensors in rank order") {
  in_every_world([](RankContext& c) {
    const int rank = c.comm.rank(), size = c.comm.size();
    for_each_tensor(c, [&]<class T>(T, int64_t n, bool symmetric, int64_t shift) {
      Tensor<T> in(c, n, symmetric, shift), out(c, size * n, false, shift);
      for (int64_t i = 0; i < n; ++i) in[i] = value_of<T>(rank, i);
      in.upload();
      out.upload();
      c.comm.all_gather(in.view(), out.view(), c.stream);
      out.download();
      for (int64_t i = 0; i < size * n; ++i)
        expect(out.got(i) == value_of<T>(int(i / n), i % n), "n {} element {}", n, i);
    });
  });
}

TEST_CASE("reduce_scatter and all_gather in place make an all_reduce") {
  in_every_world([](RankContext& c) {
    const int rank = c.comm.rank(), size = c.comm.size();
    constexpr int64_t n = 1000;
    for (const bool symmetric : {true, false}) {
      Tensor<float> x(c, size * n, symmetric);
      for (int64_t i = 0; i < size * n; ++i) x[i] = term<float>(c, rank, i);
      x.upload();
      const TensorView own = x.view().slice(rank * n, n);
      c.comm.reduce_scatter(x.view(), own, c.stream);
      c.comm.all_gather(own, x.view(), c.stream);
      x.download();
      for (int64_t i = 0; i < size * n; ++i) expect(x.got(i) == sum_of_terms<float>(c, i), "element {}", i);
    }
  });
}

TEST_CASE("work after a barrier sees the work of every rank before it") {
  in_every_world([](RankContext& c) {
    constexpr int kBarriers = 50;
    std::atomic<int64_t>* count = &c.board->ranks[0].step;
    std::vector<int64_t> seen;
    const std::function<void()> arrive = [&] { count->fetch_add(1, std::memory_order_relaxed); };
    const std::function<void()> look = [&] { seen.push_back(count->load(std::memory_order_relaxed)); };
    for (int k = 0; k < kBarriers; ++k) {
      enqueue_work(c.stream, arrive);
      c.comm.barrier(c.stream);
      enqueue_work(c.stream, look);
      c.comm.barrier(c.stream);
    }
    c.synchronize();
    for (int k = 0; k < kBarriers; ++k)
      expect(seen[size_t(k)] == int64_t(k + 1) * c.comm.size(), "{} of {} ranks came before barrier {}",
             seen[size_t(k)] - int64_t(k) * c.comm.size(), c.comm.size(), k);
  });
}

TEST_CASE("symmetric memory is aligned, zero, and limited to what was planned") {
  in_every_world([](RankContext& c) {
    for (const int64_t bytes : {1, 300, 4096}) {
      const void* memory = c.comm.allocate_symmetric(bytes);
      expect(reinterpret_cast<uintptr_t>(memory) % 256 == 0, "{} bytes are not aligned", bytes);
      std::vector<uint8_t> got(size_t(bytes), 1);
      c.stream.copy(got.data(), memory, bytes);
      c.synchronize();
      for (int64_t i = 0; i < bytes; ++i) expect(got[size_t(i)] == 0, "byte {} is not zero", i);
    }
    if (c.comm.size() == 1) return;
    try {
      c.comm.allocate_symmetric(kContractSymmetricBytes);
    } catch (const Error& error) {
      return expect(error.code() == ExitCode::os_resource, "{}", error.what());
    }
    expect(false, "more than the plan was given out");
  });
}
