// The communicator of a run with one rank, and of the dry run: on any device, since it only copies.
#include "runtime/base/check.h"
#include "runtime/comm/symmetric_buffers.h"

namespace ddp {
namespace {

class SoloComm final : public Communicator {
 public:
  explicit SoloComm(Device& device) : device_(device), symmetric_(device) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }

  void* allocate_symmetric(int64_t bytes) override { return symmetric_.allocate(bytes, {}); }

  void all_reduce(const TensorView& x, Stream&) override { check_sum(x); }
  void broadcast(const TensorView&, int root, Stream&) override { DDP_CHECK(root == 0, "root {} of 1 rank", root); }
  void reduce_scatter(const TensorView& in, const TensorView& out, Stream& stream) override {
    check_sum(in);
    copy(in, out, stream);
  }
  void all_gather(const TensorView& in, const TensorView& out, Stream& stream) override { copy(in, out, stream); }
  void barrier(Stream&) override {}

 private:
  static void check_sum(const TensorView& x) {
    DDP_CHECK(kSummedTypes.has(x.dtype), "a sum of {}", dtype_name(x.dtype));
  }
  void copy(const TensorView& in, const TensorView& out, Stream& stream) {
    DDP_CHECK(in.dtype == out.dtype && in.numel() == out.numel(), "{} elements to {} on 1 rank", in.numel(),
              out.numel());
    if (in.data != out.data) stream.copy(out.data, in.data, in.bytes());
  }

  Device& device_;
  SymmetricBuffers symmetric_;
};

}  // namespace

std::unique_ptr<Communicator> make_solo_comm(Device& device) { return std::make_unique<SoloComm>(device); }

}  // namespace ddp
