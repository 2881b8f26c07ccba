// Files of tokens read as one: the samples of the first, then those of the second, and so on. No sample spans two
// files, and each file may have a width of its own.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/data/data_source.h"
#include "runtime/data/token_file.h"

namespace ddp {

// Sample i of a file: its tokens [i * stride, i * stride + tokens).
struct SampleWindow {
  int64_t stride = 1, tokens = 1;
};

class TokenFiles {
 public:
  // Those of the request, for the vocabulary of its input `tokens`. Errors: as TokenFile's, also where one holds less
  // than a sample; os_resource (71) where this process may not open so many.
  TokenFiles(const SourceRequest& request, TokenFormat format, SampleWindow window);

  const std::vector<TokenFile>& files() const { return files_; }
  int64_t num_samples() const { return first_sample_.back(); }
  // The window of `sample`. Thread-safe with a scratch per thread. Errors: as TokenFile::read.
  void read(int64_t sample, std::span<int32_t> out, std::vector<std::byte>& scratch) const;
  // Of one file that of TokenFile; of several their number, and a hash of all in their order. Errors: data (65), io
  // (74).
  std::string fingerprint() const;

 private:
  SampleWindow window_;
  std::vector<TokenFile> files_;
  std::vector<int64_t> first_sample_;  // of each file, and of one after the last
};

}  // namespace ddp
