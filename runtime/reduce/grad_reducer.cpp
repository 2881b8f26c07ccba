#include "runtime/reduce/grad_reducer.h"

#include <algorithm>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/reduce/lane_tree.h"

namespace ddp {
namespace {

static_assert(sizeof(LearningRates) % 16 == 0, "what ranks sum starts on 16 bytes");

// Of what begin_step copies to rates_: all but the statistics.
constexpr int64_t copied_bytes(int num_ranks) {
  return int64_t(sizeof(LearningRates)) + (kFirstMark + num_ranks) * int64_t(sizeof(double));
}

// Of the block at rates_.
constexpr int64_t block_bytes(const GradReducerOptions& options) {
  return symmetric_size(copied_bytes(kMaxRanks) + options.num_statistics * int64_t(sizeof(double)));
}

constexpr int64_t lane_sums(const GradReducerOptions& options) { return kNumTrainSums + options.num_statistics; }

bool sums_apart(const GradReducerOptions& options) { return options.type != DType::f32 && options.num_micro_steps > 1; }

}  // namespace

GradReducerBytes grad_reducer_bytes(const ParamLayout& layout, const GradReducerOptions& options) {
  const int64_t n = layout.flat_elements(), f32_grads = n * int64_t(sizeof(float));
  const int64_t more_lanes = num_lane_buffers(options.lanes_per_rank) - 1;
  const int64_t chunks = layout.num_chunks();
  return {.symmetric = symmetric_size(n * int64_t(dtype_bytes(options.type))) + block_bytes(options),
          .device = (sums_apart(options) ? f32_grads : 0) +
                    more_lanes * (f32_grads + lane_sums(options) * int64_t(sizeof(double))) +
                    (chunks + 1) * int64_t(sizeof(int64_t)) + 2 * chunks * int64_t(sizeof(double))};
}

GradReducer::GradReducer(Device& device, const OpTable& table, Communicator& comm, const ParamLayout& layout,
                         GradReducerOptions options)
    : device_(device),
      table_(table),
      comm_(comm),
      layout_(layout),
      options_(std::move(options)),
      buckets_(plan_buckets(layout, options_.bucket_bytes / int64_t(dtype_bytes(options_.type)))),
      grads_(comm.allocate_symmetric(layout.flat_elements() * int64_t(dtype_bytes(options_.type)))),
      rates_(static_cast<LearningRates*>(comm.allocate_symmetric(block_bytes(options_)))),
      vector_(reinterpret_cast<double*>(rates_ + 1)),
      chunk_begin_(device, layout.num_chunks() + 1),
      partials_(device, layout.num_chunks()),
      own_partials_(device, layout.num_chunks()),
      grads_ready_(device),
      reduced_(device),
      step_sources_{StepSource(device, comm.size()), StepSource(device, comm.size())},
      one_(device, 1),
      comm_stream_(device, StreamRole::communication),
      announced_(layout.params().size()),
      num_pending_(buckets_.size()) {
  const int lanes = options_.lanes_per_rank;
  DDP_CHECK(lanes >= 1 && std::has_single_bit(unsigned(lanes)) && options_.num_micro_steps % lanes == 0,
            "{} lanes for {} micro-steps", lanes, options_.num_micro_steps);
  DDP_CHECK(options_.type == DType::f32 || lanes == 1, "{} lanes of {} gradients", lanes, dtype_name(options_.type));
  for (size_t b = 0; b < buckets_.size(); ++b)
    bucket_of_.insert(bucket_of_.end(), size_t(buckets_[b].num_params), int(b));

  comm_stream_.copy(chunk_begin_.data(), layout.chunk_begin().data(), chunk_begin_.bytes());
  if (sums_apart(options_)) {
    sum_ = Buffer<float>(device, layout.flat_elements());
    comm_stream_.zero(sum_.view());  // the padding
  }
  const int more_lanes = num_lane_buffers(lanes) - 1;
  if (more_lanes > 0) {
    lane_sums_ = Buffer<double>(device, more_lanes * lane_sums(options_));
    comm_stream_.zero(lane_sums_.view());  // the padding
  }
  for (int i = 0; i < more_lanes; ++i) {
    lane_grads_.emplace_back(device, layout.flat_elements());
    comm_stream_.zero(lane_grads_.back().view());  // the padding
  }
  *one_.data() = 1.0;
  comm_stream_.synchronize(options_.wait);
}

TensorView GradReducer::grads(int buffer) const {
  if (buffer > 0) return lane_grads_[size_t(buffer - 1)].view();
  return sum_ ? sum_.view() : gradients();
}

TensorView GradReducer::sums(int buffer) const {
  double* sums = buffer == 0 ? vector_ : lane_sums_.data() + (buffer - 1) * lane_sums(options_);
  return {sums, DType::f64, {kNumTrainSums}};
}

TensorView GradReducer::statistics(int buffer) const {
  if (options_.num_statistics == 0) return {};
  double* statistics = buffer == 0 ? vector_ + num_head() : sums(buffer).as<double>() + kNumTrainSums;
  return {statistics, DType::f64, {options_.num_statistics}};
}

// Adds elements [begin, end) of the buffers of the subtrees that the end of the lane completes.
void GradReducer::combine_grads(int lane, int64_t begin, int64_t end, Stream& stream) {
  combine_lanes(lane, [&](int to, int from) {
    add_into({&table_, &stream},
             {.y = grads(to).slice(begin, end - begin), .x = grads(from).slice(begin, end - begin)});
  });
}

void GradReducer::combine_sums(int lane, Stream& stream) {
  const Exec exec{&table_, &stream};
  combine_lanes(lane, [&](int to, int from) {
    add_into(exec, {.y = sums(to), .x = sums(from)});
    if (options_.num_statistics > 0) add_into(exec, {.y = statistics(to), .x = statistics(from)});
  });
}

GradReducer::StepSource::StepSource(Device& device, int num_ranks)
    : block(device, copied_bytes(num_ranks)), copied(device) {}

void GradReducer::begin_step(const Votes& votes, const LearningRates& rates, Stream& compute) {
  DDP_CHECK(next_micro_step_ == 0, "a step begins after {} of {} micro-steps", next_micro_step_,
            options_.num_micro_steps);
  StepSource& source = step_sources_[size_t(num_steps_++ % 2)];
  source.copied.synchronize(options_.wait);  // of the step before the last: done long ago
  auto* const own_rates = new (source.block.data()) LearningRates(rates);
  auto* const values = reinterpret_cast<double*>(own_rates + 1);
  std::fill_n(values, num_head(), 0.0);
  values[kStopVotes] = double(votes.stop);
  values[kCheckpointVotes] = double(votes.checkpoint);
  compute.copy(rates_, source.block.data(), source.block.bytes());
  source.copied.record(compute);
}

void GradReducer::make_void(Stream& compute) {
  DDP_CHECK(next_micro_step_ < options_.num_micro_steps, "a step is made void after its last micro-step");
  compute.copy(vector_ + kVoidVotes, one_.data(), one_.bytes());
}

GradReducer::Target GradReducer::begin_micro_step(int i) {
  DDP_CHECK(i == next_micro_step_ && i < options_.num_micro_steps, "micro-step {}, expected {} of {}", i,
            next_micro_step_, options_.num_micro_steps);
  ++next_micro_step_;
  if (i == 0) {
    announced_.assign(announced_.size(), false);
    for (size_t b = 0; b < buckets_.size(); ++b) num_pending_[b] = buckets_[b].num_params;
    next_bucket_ = 0;
  }
  const int lane = lane_of(i), buffer = lane_buffer(lane);
  const bool first_of_lane = i == 0 || lane_of(i - 1) != lane;
  return {.grads = grads(buffer), .sums = sums(buffer), .statistics = statistics(buffer), .accumulate = !first_of_lane};
}

// Buckets launch in index order, never in completion order, so that every rank issues the same collectives.
void GradReducer::on_grad_ready(ParamId p, Stream& compute) {
  if (next_micro_step_ != options_.num_micro_steps) return;  // all but the last micro-step only accumulate
  DDP_CHECK(!announced_[size_t(p.index)], "gradient of {} announced twice in one step", layout_[p].name);
  announced_[size_t(p.index)] = true;
  --num_pending_[size_t(bucket_of_[size_t(p.index)])];
  for (; next_bucket_ < buckets_.size() && num_pending_[next_bucket_] == 0; ++next_bucket_)
    launch(buckets_[next_bucket_], compute);
}

void GradReducer::launch(const Bucket& bucket, Stream& compute) {
  order_after(compute);
  combine_grads(options_.lanes_per_rank - 1, bucket.begin, bucket.end, comm_stream_);
  const Exec exec{&table_, &comm_stream_};
  const TensorView slice = gradients().slice(bucket.begin, bucket.end - bucket.begin);
  if (sum_) cast(exec, {.y = slice, .x = sum_.view().slice(bucket.begin, bucket.end - bucket.begin)});
  const auto squares_into = [&](const TensorView& partials) {
    sum_squares(exec, {.partials = partials.slice(bucket.first_chunk, bucket.num_chunks),
                       .x = slice,
                       .chunk_begin = chunk_begin().slice(bucket.first_chunk, bucket.num_chunks + 1)});
  };
  if (comm_.size() > 1) squares_into(own_partials_.view());       // only names the rank; the sum decides
  if (options_.on_launch) options_.on_launch(int(next_bucket_));  // before a call in which the host may get stuck
  comm_.all_reduce(slice, comm_stream_);
  squares_into(partials());
}

// What follows on the communication stream runs after all that is enqueued on compute by now.
void GradReducer::order_after(Stream& compute) {
  grads_ready_.record(compute);
  comm_stream_.wait(grads_ready_);
}

void GradReducer::end_micro_step(Stream& compute) {
  const int lane = lane_of(next_micro_step_ - 1);
  // The last lane is combined bucket by bucket, right before the all-reduce.
  if (lane + 1 == options_.lanes_per_rank || lane_of(next_micro_step_) == lane) return;
  combine_grads(lane, 0, layout_.flat_elements(), compute);
  combine_sums(lane, compute);
}

void GradReducer::finish(Stream& compute) {
  DDP_CHECK(next_micro_step_ == options_.num_micro_steps, "finish after {} of {} micro-steps", next_micro_step_,
            options_.num_micro_steps);
  for (size_t i = 0; i < announced_.size(); ++i)
    DDP_CHECK(announced_[i], "gradient of {} never announced", layout_.params()[i].name);
  next_micro_step_ = 0;

  order_after(compute);  // the sums may have been written after the last bucket was launched
  combine_sums(options_.lanes_per_rank - 1, comm_stream_);
  if (comm_.size() > 1)
    find_non_finite({&table_, &comm_stream_},
                    {.mark = sums().slice(kFirstMark + comm_.rank(), 1), .partials = own_partials_.view()});
  comm_.all_reduce({vector_, DType::f64, {num_head() + options_.num_statistics}}, comm_stream_);
  reduced_.record(comm_stream_);
  compute.wait(reduced_);
}

int GradReducer::first_alike(int i) const {
  const int first_of_lane = lane_of(i) * (options_.num_micro_steps / options_.lanes_per_rank);
  const bool is_last_of_lane = i + 1 == options_.num_micro_steps || lane_of(i + 1) != lane_of(i);
  return i == first_of_lane || is_last_of_lane ? i : first_of_lane + 1;
}

void GradReducer::skip_micro_step(int i) {
  DDP_CHECK(i == next_micro_step_, "micro-step {} is skipped, expected {}", i, next_micro_step_);
  next_micro_step_ = (i + 1) % options_.num_micro_steps;
}

}  // namespace ddp
