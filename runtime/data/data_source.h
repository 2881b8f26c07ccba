// Where batches come from: the seam between the training loop and a kind of data. A source is a pure function from a
// position in the endless sample stream to a sample, so that a resume seeks in O(1) and any thread can prepare any
// batch. Host memory only; the trainer copies to the device.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/config/choices.h"
#include "runtime/state/batch.h"

namespace ddp {

// What a source's samples are for: training, shuffled anew each epoch, or evaluation, in one order and without random
// changes.
enum class Split : uint8_t { train, valid };

// The sample at a position of the stream. All that is random about it is a function of (seed, epoch, sample).
struct Draw {
  uint64_t epoch = 0;
  int64_t sample = 0;
};

// How all of the data is looked through.
struct DataCheck {
  std::filesystem::path verdict = {};  // a file of the run's folder, which remembers the outcome; empty: none does
  int threads = 1;
  std::function<void()> still_alive = [] {};  // as SourceRequest's
  const std::atomic<bool>* stop = nullptr;    // where set: whether to leave off
};

class DataSource {
 public:
  DataSource(Split split, uint64_t seed) : split_(split), seed_(seed) {}
  virtual ~DataSource() = default;

  Split split() const { return split_; }
  uint64_t seed() const { return seed_; }
  // Samples of an epoch.
  virtual int64_t num_samples() const = 0;
  // Position p of the stream: place p % n of epoch p / n, shuffled for training.
  Draw draw(uint64_t position) const;
  // Fills the batch with the samples at stream positions [first, first + B), but for sample ids and derived inputs. Any
  // number of threads may call it at once, each with a batch of its own. Errors: as fill_sample.
  void fill(HostBatch& batch, uint64_t first) const;

  // What a checkpoint keeps, to notice that the data changed between runs; one line. Errors: data (65), io (74).
  virtual std::string fingerprint() const = 0;
  // Bytes that check() has to read: of data whose values fill() may yet refuse. 0: there is none, or the file `verdict`
  // says that this very data is good. Errors: data (65), where it says what is not, and that is so.
  virtual int64_t unchecked_bytes([[maybe_unused]] const std::filesystem::path& verdict) const { return 0; }
  // Looks at all values that fill() may refuse. Errors: data (65) naming file, place and value; io (74).
  virtual void check([[maybe_unused]] const DataCheck& check) const {}
  // Bytes of the data that a target stands for on average; 0 where that is not known, or means nothing.
  virtual double bytes_per_target() const { return 0; }
  // What `sample` can go on from, as --prompt takes it; empty where there is no such thing.
  virtual std::string example_prompt() const { return {}; }
  // Files that were so far found to hold no sample, and whose places others took; each was named in the log.
  virtual int64_t num_corrupt() const { return 0; }

 protected:
  // Fills sample `i` of the batch. Errors: data (65) when the data is corrupt, naming file and place; io (74) for I/O.
  virtual void fill_sample(HostBatch& batch, int64_t i, const Draw& draw) const = 0;

 private:
  Split split_;
  uint64_t seed_;
};

struct SourceRequest {
  std::vector<std::filesystem::path> paths = {};  // one, but for a format that has shards
  Split split = Split::train;
  uint64_t seed = 0;
  const BatchLayout& batch;  // what is to be filled
  TokenBytes token_bytes = TokenBytes::automatic;
  Augment augment = Augment::none;  // not automatic
  OnCorrupt corrupt = OnCorrupt::skip;
  std::filesystem::path training = {};  // path of the training data: where folders are the classes, it numbers them
  // A file of the run's, which prepare() writes and open() reads. Empty: nothing is prepared, and open() looks itself.
  std::filesystem::path index = {};
  // Tells who watches the rank that it is at work; any thread may call it.
  std::function<void()> still_alive = [] {};

  const std::filesystem::path& path() const;  // the only one
};

// What opens data of a format; the caller passes a table of them as a value, so that a test's program has more.
struct SourceMaker {
  std::string_view format;  // a value of data.format
  // Errors: data (65), no_input (66).
  std::unique_ptr<DataSource> (*open)(const SourceRequest&);
  std::span<const std::string_view> inputs;  // that its samples fill
  // Where set: what one rank does, and has done before any rank opens. Errors: no_input (66), data (65), io (74).
  void (*prepare)(const SourceRequest&) = nullptr;
};

using SourceMakers = std::span<const SourceMaker>;
SourceMakers source_makers();  // of every format that a configuration may name (runtime/config/registry.h)

// That of `makers` for the format. Errors: config (78) where there is none, or where the model takes an input that the
// format does not fill.
const SourceMaker& find_maker(SourceMakers makers, std::string_view format, const BatchLayout& batch);

}  // namespace ddp
